"""Files that one process at a time has, on all machines that see them.

A lock ends with the process that holds it, however that ends; where a machine
vanishes, a server of network files keeps its locks for a while. On a file
system without locks a warning says so, and nothing is kept apart.
"""

import contextlib
import errno
import logging
import os
import pathlib
import time
from collections.abc import Iterator
from typing import BinaryIO

from dualrs_jax import folders
from dualrs_jax.runtime import preemption

try:
  import fcntl
except ImportError:  # not a POSIX system: no lock
  fcntl = None

logger = logging.getLogger(__name__)

#: How long to wait for whoever has a file. Servers of NFS version 4 keep the
#: locks of a machine that vanished for 90 s, unless they are told otherwise.
PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.1

#: What file systems without locks say, and those that gave the lock away.
_NO_LOCKS = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


class InUse(RuntimeError):
  """Another process has the file."""


def open_locked(
  path: pathlib.Path, *, refusal: str, patience: float | None = None
) -> BinaryIO:
  """Opens a file for appending, and has it until it is closed.

  Args:
    path: the file; created if it is missing.
    refusal: what to say where another process has it.
    patience: for how many seconds to wait for the other one before;
      `PATIENCE_SECONDS` by default.

  Returns:
    The file, unbuffered: the one that has this name when the call returns.

  Raises:
    InUse: another process has the file.
  """
  patience = PATIENCE_SECONDS if patience is None else patience
  deadline = time.monotonic() + patience
  waiting = False
  while True:
    file = path.open('ab', buffering=0)
    try:
      trouble = _lock(file)
      if trouble is None and _is_at(file, path):
        return file
    except BaseException:
      file.close()
      raise
    over = time.monotonic() >= deadline
    if trouble is not None and _gives_no_locks(trouble, over):
      logger.warning('%s cannot be locked: %s', path, trouble)
      return file
    file.close()
    if trouble is None:
      continue  # somebody removed or replaced it meanwhile
    if over:
      raise InUse(refusal)
    if not waiting:
      logger.warning('%s: waiting %g s for it to end', refusal, patience)
    waiting = True
    preemption.raise_if_noted(f'waiting for {path}')
    time.sleep(_POLL_SECONDS)


def check_free(path: pathlib.Path, *, refusal: str) -> None:
  """Waits until no process has a file, if there is one.

  Raises:
    InUse: another process has the file, after `PATIENCE_SECONDS`.
  """
  if path.exists():
    open_locked(path, refusal=refusal).close()


@contextlib.contextmanager
def exclusively(
  path: str | os.PathLike, *, refusal: str, patience: float | None = None
) -> Iterator[None]:
  """No other process is between here and the end of the block.

  Args:
    path: a file that stands for the lock, and is there only while it is taken.
    refusal: what to say where another process is there.
    patience: as in `open_locked`.

  Raises:
    InUse: another process is there.
  """
  path = folders.expand(path)
  with open_locked(path, refusal=refusal, patience=patience):
    try:
      yield
    finally:
      path.unlink(missing_ok=True)


def _is_at(file: BinaryIO, path: pathlib.Path) -> bool:
  """Whether an open file is still the one of this name."""
  try:
    return os.path.samestat(os.fstat(file.fileno()), path.stat())
  except FileNotFoundError:
    return False


def _lock(file: BinaryIO) -> OSError | None:
  """Takes the file until it is closed, or says why not."""
  if fcntl is None:
    return None
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as error:
    if error.errno not in {*_TAKEN, *_NO_LOCKS, errno.ENOLCK}:
      raise
    return error
  return None


def _gives_no_locks(trouble: OSError, asked_long: bool) -> bool:
  """Whether this is a file system without locks.

  ENOLCK is said by a server that is too busy, and by one that has no locks.
  """
  if trouble.errno == errno.ENOLCK:
    return asked_long
  return trouble.errno in _NO_LOCKS
