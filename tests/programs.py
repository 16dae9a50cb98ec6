"""Python programs in processes of their own, over loopback, on CPU devices."""

import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[1]


class Ended(NamedTuple):
  """How a program ended, what it printed and what it logged."""

  status: int | None
  printed: str
  log: str


class Program:
  """A program that runs, from the root of the repository."""

  def __init__(self, *arguments, devices=1, environment=None):
    # Unlike pipes, files never fill up.
    self._printed = tempfile.TemporaryFile('w+')  # noqa: SIM115
    self._log = tempfile.TemporaryFile('w+')  # noqa: SIM115
    self._process = subprocess.Popen(
      [sys.executable, *map(str, arguments)],
      cwd=ROOT,
      env=os.environ
      | {
        'JAX_PLATFORMS': 'cpu',
        'JAX_NUM_CPU_DEVICES': f'{devices}',
        'PYTHONPATH': f'{ROOT}',
      }
      | (environment or {}),
      stdout=self._printed,
      stderr=self._log,
    )

  def send(self, number: int) -> None:
    """Sends a signal."""
    self._process.send_signal(number)

  def until(self, there: Callable[[], object], timeout=300) -> None:
    """Waits for something that the program does before it ends."""
    deadline = time.monotonic() + timeout
    while not there():
      if self._process.poll() is not None:
        raise AssertionError(f'{self.end()}')
      assert time.monotonic() < deadline
      time.sleep(0.005)

  def end(self, timeout=300) -> Ended:
    """Waits for its end; a program that is late is killed."""
    try:
      status = self._process.wait(timeout)
    except subprocess.TimeoutExpired as error:
      raise AssertionError(f'late: {self._said(None)}') from error
    else:
      return self._said(status)
    finally:
      self.kill()

  def _said(self, status: int | None) -> Ended:
    self._printed.seek(0)
    self._log.seek(0)
    return Ended(status, self._printed.read(), self._log.read())

  def kill(self) -> None:
    self._process.kill()
    self._process.wait()
    self._printed.close()
    self._log.close()


def end_all(programs: Sequence[Program], timeout=300) -> list[Ended]:
  """Waits for the end of all; if one is late, all are killed."""
  try:
    return [program.end(timeout) for program in programs]
  finally:
    for program in programs:
      program.kill()


def check(ended: Sequence[Ended], statuses: Sequence[int]) -> None:
  """Asserts how programs ended, and else shows what they said at last."""
  said = [f'{program.printed}\n{program.log}'[-3000:] for program in ended]
  assert [program.status for program in ended] == statuses, '\n'.join(said)


def free_address() -> str:
  """An address of this machine that nobody uses, for a coordinator."""
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    return f'127.0.0.1:{probe.getsockname()[1]}'


def places(count: int, *, joined: bool = True) -> list[list[str]]:
  """The flags of each of several processes, which join in a run or do not."""
  flags = [
    [f'--num_processes={count}', f'--process_id={k}'] for k in range(count)
  ]
  if joined:
    address = free_address()
    flags = [[f'--coordinator_address={address}', *own] for own in flags]
  return flags
