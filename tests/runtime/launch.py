"""Runs of several processes on this machine, over loopback."""

import json
import os
import pathlib
import socket
import subprocess
import sys
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
MEMBER = pathlib.Path(__file__).with_name('member.py')


class Member(NamedTuple):
  """A process that has ended."""

  status: int
  seen: Any
  log: str


def free_port():
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    return probe.getsockname()[1]


def launch(what, folder, *, count=2, timeout=90):
  """Runs `member.py` in processes of their own, until all of them ended."""
  environment = os.environ | {
    'JAX_PLATFORMS': 'cpu',
    'JAX_NUM_CPU_DEVICES': '1',
    'PYTHONPATH': str(ROOT),
  }
  address = f'127.0.0.1:{free_port()}'
  running, logs = [], []
  try:
    for index in range(count):
      logs.append((folder / f'{index}.log').open('w+'))
      running.append(
        subprocess.Popen(
          [
            sys.executable,
            MEMBER,
            what,
            folder,
            address,
            f'{count}',
            f'{index}',
          ],
          env=environment,
          stdout=logs[-1],
          stderr=subprocess.STDOUT,
        )
      )
    statuses = [process.wait(timeout) for process in running]
  finally:
    for process in running:
      process.kill()
      process.wait()
    for log in logs:
      log.close()
  return [
    Member(status, _seen(folder, index), (folder / f'{index}.log').read_text())
    for index, status in enumerate(statuses)
  ]


def _seen(folder, index):
  path = folder / f'{index}.json'
  return json.loads(path.read_text()) if path.exists() else None
