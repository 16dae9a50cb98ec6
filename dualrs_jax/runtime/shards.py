"""Rows of text, appended one at a time, that survive any crash.

A shard is a text file: one header line, then one line per result. A row is on
the disk before `append` returns. Whatever kills the process, or the machine,
can only damage the last line; opening the shard again drops that line and
hands back all the others.
"""

import contextlib
import itertools
import logging
import os
import pathlib
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

from dualrs_jax import folders
from dualrs_jax.runtime import files, locks

logger = logging.getLogger(__name__)

Row = TypeVar('Row')


class CorruptShard(ValueError):
  """A shard is damaged in a way that no crash explains."""


def read(
  path: str | os.PathLike, header: str, parse: Callable[[str], Row]
) -> list[Row]:
  """Reads a shard without changing it, as it may still be written to.

  Args:
    path: the file.
    header: the expected first line, without its line end.
    parse: turns one line into a row. It raises ValueError if it cannot, and
      CorruptShard for a whole row that does not belong there, which is then no
      torn line, though it may be the last one.

  Returns:
    The rows in the order of the file; a torn last line is left out.

  Raises:
    CorruptShard: the header is another one, a line that is not the last one
      cannot be parsed, or a row does not belong there. The message names the
      line.
  """
  rows, _ = _scan(folders.expand(path), header, parse)
  return rows


class Shard(Generic[Row]):
  """An append-only file of rows, opened by one process at a time.

  Attributes:
    path: where it is.
    rows: what the file held when it was opened, in its order.

  Example:
    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / 'squares.tsv'
    >>> with Shard(path, 'square', int) as shard:
    ...   shard.append('16')
    >>> with Shard(path, 'square', int) as shard:
    ...   print(shard.rows)
    [16]
  """

  def __init__(
    self,
    path: str | os.PathLike,
    header: str,
    parse: Callable[[str], Row],
    *,
    patience: float | None = None,
  ):
    """Opens a shard, or creates it; a torn last line is cut off.

    Args:
      path: the file. Its directory is created if it is missing.
      header: the first line, without its line end.
      parse: turns one line into a row, see `read`.
      patience: for how many seconds to wait for a process that has the shard,
        see `locks.open_locked`.

    Raises:
      CorruptShard: see `read`. The file is left as it is.
      InUse: another process has opened the shard.
    """
    path = folders.expand(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    self.path = path
    refusal = f'another process is writing to {path}'
    self._file = locks.open_locked(path, refusal=refusal, patience=patience)
    try:
      self.rows, self._good = _scan(path, header, parse)
      self._file.truncate(self._good)
      if self._good == 0:
        self.append(header)
        files.sync_directory(path.parent)
    except BaseException:
      self._file.close()
      raise

  def append(self, line: str) -> None:
    """Writes one line durably.

    Args:
      line: the row, without its line end.

    Raises:
      ValueError: the text holds a line end.
      OSError: the disk is full, or failed. The lines before are there.
    """
    if '\n' in line or '\r' in line:
      raise ValueError(f'a row must be a single line, got {line!r}')
    rest = whole = f'{line}\n'.encode()
    try:
      with files.naming(self.path):
        while rest:
          rest = rest[self._file.write(rest) :]
        os.fsync(self._file.fileno())
    except OSError:
      with contextlib.suppress(OSError):
        self._file.truncate(self._good)
      raise
    self._good += len(whole)

  def remove(self) -> None:
    """Deletes the file, once its rows are on the disk elsewhere."""
    self.path.unlink()

  def close(self) -> None:
    """Closes the file and lets other processes open it."""
    self._file.close()

  def __enter__(self) -> 'Shard[Row]':
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    self.close()


def _scan(
  path: pathlib.Path, header: str, parse: Callable[[str], Row]
) -> tuple[list[Row], int]:
  """Returns the rows and the number of bytes up to the last good line."""
  *lines, torn = path.read_bytes().split(b'\n')
  if not lines and header.encode().startswith(torn):
    return [], 0
  if not lines or lines[0] != header.encode():
    found = (lines or [torn])[0].decode(errors='replace')
    raise CorruptShard(f'{path}, line 1: {_difference(found, header)}')
  rows = []
  good = len(lines[0]) + 1
  dropped = torn or None
  for number, line in enumerate(lines[1:], start=2):
    try:
      rows.append(parse(line.decode()))
    except ValueError as error:
      whole = isinstance(error, CorruptShard)
      if whole or number < len(lines) or torn:
        raise CorruptShard(f'{path}, line {number}: {error}') from error
      dropped = line
    else:
      good += len(line) + 1
  if dropped is not None:
    logger.warning(
      '%s: dropping its last line, which is damaged or incomplete: %r',
      path,
      dropped[:200].decode(errors='replace'),
    )
  return rows, good


def _difference(found: str, header: str) -> str:
  """Which is the first column by which a header is not the one expected."""
  columns = itertools.zip_longest(found.split('\t'), header.split('\t'))
  number, there, wanted = next(
    (number, *pair)
    for number, pair in enumerate(columns, start=1)
    if pair[0] != pair[1]
  )
  if there is None:
    return f'expected the header to go on with {wanted!r}, found its end'
  wanted = 'its end' if wanted is None else repr(wanted)
  return (
    f'expected the header with {wanted} as column {number}, found'
    f' {there[:200]!r}'
  )
