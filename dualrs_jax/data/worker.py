"""Processes that decode images, and the memory they share with their owner.

They are started afresh, not forked: a fork of a process that runs JAX may
hang. They import this package and nothing of the program that uses it, so they
need no `__main__` guard there and work from a notebook. When their owner ends,
for whatever reason, so do they.
"""

import contextlib
import mmap
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing import connection as connections
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from dualrs_jax.data.source import StoredImages

#: What schedulers and terminals send to all processes, for the owner to handle.
_OWNERS_SIGNALS = {signal.SIGINT, signal.SIGTERM}


class WorkerDied(RuntimeError):
  """A worker has ended without being told to."""


class Task(NamedTuple):
  """What one worker does for one batch.

  Attributes:
    slot: where the batch is in the shared memory.
    rows: which rows of the batch the worker fills.
    positions: the images for these rows.
    stream: as in `Source.gather`.
  """

  slot: int
  rows: slice
  positions: Int[np.ndarray, ' rows']
  stream: Sequence[int] | None


class Pool:
  """Workers that fill batches in shared memory; use it in a `with`.

  Args:
    images: what they read.
    workers: how many there are.
    slots: how many batches the shared memory holds.
    batch_size: rows of a batch.
  """

  def __init__(
    self, images: StoredImages, *, workers: int, slots: int, batch_size: int
  ):
    shape = (slots, batch_size, *images.shape[1:])
    # Without a name in the file system, so that nothing can be left over.
    if hasattr(os, 'memfd_create'):
      self._file = open(os.memfd_create('batches'), 'r+b')  # noqa: SIM115
    else:
      self._file = tempfile.TemporaryFile()  # noqa: SIM115
    self._file.truncate(int(np.prod(shape)))
    self._memory = _map(self._file.fileno(), shape)
    self._ends: list[Any] = []
    self._processes: list[subprocess.Popen] = []
    try:
      for _ in range(workers):
        self._start()
      everything = pickle.dumps((images, shape))
      for worker in range(workers):
        with self._alive(worker):
          self._ends[worker].send_bytes(everything)
    except BaseException:
      self.close()
      raise

  def __enter__(self) -> 'Pool':
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def send(
    self,
    slot: int,
    positions: Int[np.ndarray, ' batch'],
    stream: Sequence[int] | None,
  ) -> None:
    """Has a slot filled; `receive` must have emptied it before."""
    workers = len(self._ends)
    for worker, end in enumerate(self._ends):
      rows = slice(worker, len(positions), workers)
      with self._alive(worker):
        end.send(Task(slot, rows, positions[rows], stream))

  def receive(
    self, slot: int, rows: int
  ) -> UInt8[np.ndarray, 'batch height width channels']:
    """Waits for the oldest batch that was sent and copies it out of its slot.

    Raises:
      WorkerDied: a worker was killed.
      Exception: what a worker raised.
    """
    for worker, end in enumerate(self._ends):
      with self._alive(worker):
        error = end.recv()
      if error is not None:
        raise error
    return np.array(self._memory[slot, :rows])

  def close(self) -> None:
    """Ends the workers; what they were doing is lost."""
    for end in self._ends:
      end.close()
    for process in self._processes:
      process.kill()
      process.wait()
    self._file.close()

  def _start(self) -> None:
    own, theirs = Pipe()
    with theirs:
      descriptors = theirs.fileno(), self._file.fileno()
      code = f'from dualrs_jax.data import worker; worker.serve{descriptors}'
      search = os.pathsep.join(path or os.getcwd() for path in sys.path)
      self._ends.append(own)
      # The worker takes over what is blocked, and never unblocks it.
      before = signal.pthread_sigmask(signal.SIG_BLOCK, _OWNERS_SIGNALS)
      try:
        self._processes.append(
          subprocess.Popen(
            [sys.executable, '-c', code],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            # An accelerator belongs to the owner.
            env={**os.environ, 'PYTHONPATH': search, 'JAX_PLATFORMS': 'cpu'},
          )
        )
      finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

  @contextlib.contextmanager
  def _alive(self, worker: int) -> Iterator[None]:
    """Says which worker was gone, where talking to it fails."""
    try:
      yield
    except (EOFError, OSError) as error:
      status = self._processes[worker].wait()
      advice = ''
      if status == -signal.SIGKILL:
        advice = (
          ', which is to say it was killed, mostly because memory ran out: use'
          ' fewer workers or smaller batches'
        )
      raise WorkerDied(
        f'data worker {worker} ended with status {status}{advice}'
      ) from error


def serve(connection: int, memory: int) -> None:
  """What a worker does until its owner closes the connection.

  Args:
    connection: file descriptor to receive tasks from, and to answer to with
      None or an exception.
    memory: file descriptor of the shared memory.
  """
  with connections.Connection(connection) as owner:
    try:
      images, shape = owner.recv()
      batches = _map(memory, shape)
      while True:
        task = owner.recv()
        owner.send(_fill(images, batches, task))
    except (EOFError, ConnectionError):
      return


def _fill(
  images: StoredImages, batches: np.ndarray, task: Task
) -> Exception | None:
  try:
    if task.stream is None:
      rows = images[task.positions]
    else:
      rows = images.augmented(task.positions, task.stream)
    batches[task.slot, task.rows] = rows
  except Exception as error:
    return _portable(error)
  return None


def _portable(error: Exception) -> Exception:
  """The error, or where it cannot be sent to another process, its text."""
  try:
    pickle.loads(pickle.dumps(error))
  except Exception:
    return RuntimeError(f'{type(error).__name__}: {error}')
  return error


def _map(descriptor: int, shape: tuple[int, ...]) -> np.ndarray:
  """The shared memory as an array."""
  return np.frombuffer(mmap.mmap(descriptor, 0), np.uint8).reshape(shape)
