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

try:
  import fcntl
except ImportError:  # not a POSIX system: no lock
  fcntl = None

logger = logging.getLogger(__name__)

#: How long to wait for whoever has a file. Servers of NFS version 4 keep the
#: locks of a machine that vanished for 90 s, unless they are told otherwise.
PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.1

#: What file systems without locks say; some servers are only too busy.
_NO_LOCKS = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_BUSY = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.ENOLCK}


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
      taken = _lock(file, path)
      if taken and _is_at(file, path):
        return file
    except BaseException:
      file.close()
      raise
    file.close()
    if taken:
      continue  # somebody removed or replaced it meanwhile
    if time.monotonic() >= deadline:
      raise InUse(refusal)
    if not waiting:
      logger.info('%s: waiting %g s for it to end', refusal, patience)
    waiting = True
    time.sleep(_POLL_SECONDS)


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
  path = pathlib.Path(path)
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


def _lock(file: BinaryIO, path: pathlib.Path) -> bool:
  """Takes the file for this process until it is closed, if it is free."""
  if fcntl is None:
    return True
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as error:
    if error.errno in _BUSY:
      return False
    if error.errno not in _NO_LOCKS:
      raise
    logger.warning('%s cannot be locked: %s', path, error)
  return True
