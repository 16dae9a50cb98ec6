"""Files that are there as a whole or not at all, and errors that name them."""

import contextlib
import os
import pathlib
import secrets
from collections.abc import Iterator

from dualrs_jax import folders


def write_atomic(path: str | os.PathLike, content: str | bytes) -> None:
  """Replaces the contents of a file, durably, so that no reader sees a part.

  When the call returns, the contents survive a crash of the process and of the
  machine; when it is interrupted, the file is as it was before. A link stays
  one, to the new contents; a device or a pipe is written to and not replaced.

  Args:
    path: the file to write. Its directory is created if it is missing.
    content: the new contents; text is written as UTF-8.

  Raises:
    OSError: it cannot be written; the error names the file.
  """
  path = folders.expand(path)
  if path.exists() and not path.is_file():
    with naming(path), path.open('wb') as file:
      file.write(_encoded(content))
    return
  path = path.resolve() if path.is_symlink() else path
  with durable_temporary(path, content) as temporary, naming(path):
    os.replace(temporary, path)
  sync_directory(path.parent)


@contextlib.contextmanager
def durable_temporary(
  path: pathlib.Path, content: str | bytes
) -> Iterator[pathlib.Path]:
  """Writes a file beside `path`; removes it unless it was renamed meanwhile.

  Args:
    path: the file that it is to become. Its directory is created.
    content: what is written; text as UTF-8.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'.{path.name}.{secrets.token_hex(4)}')
  try:
    with naming(path), temporary.open('xb') as file:
      file.write(_encoded(content))
      file.flush()
      os.fsync(file.fileno())
    yield temporary
  finally:
    temporary.unlink(missing_ok=True)


def _encoded(content: str | bytes) -> bytes:
  return content.encode() if isinstance(content, str) else content


def sync_directory(path: str | os.PathLike) -> None:
  """Makes the names of the files in a directory survive a machine crash."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
  """Names a file in the errors of the system, in place of what they name.

  They name nothing where a write fails, and otherwise a file that is about to
  take the place of this one.

  Args:
    path: what is written to.
  """
  try:
    yield
  except OSError as error:
    if error.errno is None:
      raise
    raise type(error)(error.errno, error.strerror, str(path)) from error
