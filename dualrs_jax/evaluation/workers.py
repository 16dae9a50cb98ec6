"""Sharing the images of a certification out to processes; merging their rows.

Processes that share a certification need not know of each other. Each has a
file of its own in the folder of the run, `rows-<index>-of-<count>.tsv`, and
takes its part of the images that had no row before. One process alone appends
to `rows.tsv`, into which the others are merged at the end, in the order of the
dataset indices.

A row is in one of these files from when it is written, and at no time in none:
a merge replaces `rows.tsv` before it removes what it merged. Whoever reads
`rows.tsv` last therefore sees every row, and some of them twice. Where images
are missing, or a process is at work, a merge removes nothing, so that each
process keeps its share.
"""

import contextlib
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dualrs_jax.evaluation import continuing, marks, tsv
from dualrs_jax.evaluation.records import Record
from dualrs_jax.runtime import files as files_lib
from dualrs_jax.runtime import locks, shards
from dualrs_jax.runtime import settings as settings_lib
from dualrs_jax.runtime.processes import Place
from dualrs_jax.runtime.shards import Shard

#: The rows of a run, by the name of their file.
Files = Mapping[str, Sequence[Record]]

#: Name of the file of all rows of a run.
ROWS = 'rows.tsv'
_SHARD = re.compile(r'rows-\d+-of-(\d+)\.tsv')
_LOCK = 'merge.lock'
_MERGE_SECONDS = 600.0


def open_own(
  directory: pathlib.Path, settings: Mapping[str, Any], place: Place
) -> Shard[Record]:
  """Opens the file to which a process appends its rows.

  Raises:
    InUse: If another process has it, or one of another number of processes is
      at work in the folder: both would deal out the same images.
    CorruptShard: If it is damaged before its last line.
  """
  for path in [*_paths(directory), directory / ROWS]:
    if _count(path.name) != place.count:
      refusal = (
        f'{path} is being written to: all processes that share the images must'
        ' be given the same num_processes'
      )
      locks.check_free(path, refusal=refusal)
  name = ROWS
  if place.count > 1:
    name = f'rows-{place.index}-of-{place.count}.tsv'
  return _open(directory / name, settings)


def read(directory: pathlib.Path, settings: Mapping[str, Any]) -> Files:
  """Reads the rows of all processes; others may be adding to theirs.

  Args:
    directory: The folder of the run.
    settings: Those of the run.

  Raises:
    CorruptShard: If a file is damaged before its last line.
  """
  files = {}
  for path in [*_paths(directory), directory / ROWS]:
    with contextlib.suppress(FileNotFoundError):  # merged meanwhile
      files[path.name] = tsv.read(path, settings)
  return files


def check_adoption(
  directory: pathlib.Path, settings: Mapping[str, Any]
) -> None:
  """Refuses rows of unknown settings in a folder without a settings file.

  Args:
    directory: The folder of the run.
    settings: Those that are about to be written to it.

  Raises:
    SettingsMismatch: If there are rows, and they do not say that they are of
      these settings.
  """
  try:
    read(directory, settings)
  except shards.CorruptShard as error:
    if (directory / marks.SETTINGS).exists():  # another process was faster
      return
    raise settings_lib.SettingsMismatch(
      f'{directory} holds rows without the {marks.SETTINGS} that says how they'
      ' were computed, and they are not known to be of these settings: they go'
      ' on if that file is put back'
    ) from error


def together(files: Files, settings: Mapping[str, Any]) -> dict[int, Record]:
  """The rows of all files, by dataset index; of one image that of most votes.

  Raises:
    CorruptShard: If two files do not agree on an image.
  """
  rows: dict[int, Record] = {}
  for name, found in files.items():
    for row in found:
      other = rows.setdefault(row.idx, row)
      if continuing.extends(row, other, settings):
        rows[row.idx] = row
      elif other._replace(time=row.time) != row and not continuing.extends(
        other, row, settings
      ):
        raise shards.CorruptShard(
          f'image {row.idx} has another row in {name} than in another file of'
          ' the folder'
        )
  return rows


def share(asked: Sequence[int], files: Files, place: Place) -> list[int]:
  """The images whose rows a process has to add.

  Those that had no row before these processes began are dealt out in turn;
  what one of them has written since changes nothing for the others, which may
  begin later, or once more. Another number of processes shares out anew what is
  missing.

  Args:
    asked: The dataset indices that are asked for, without repetition.
    files: The rows that there are.
    place: Of the process.
  """
  ours = {n: rows for n, rows in files.items() if _count(n) == place.count}
  done, own = _indices(files), _indices(ours)
  before = done - own
  dealt = [idx for idx in asked if idx not in before]
  return [idx for idx in dealt[place.index :: place.count] if idx not in done]


def _indices(files: Files) -> set[int]:
  return {row.idx for rows in files.values() for row in rows}


def merge(
  directory: pathlib.Path,
  settings: Mapping[str, Any],
  asked: Sequence[int],
  *,
  partly: bool,
) -> list[int]:
  """Moves the rows of processes that have ended into `rows.tsv`.

  Of several that merge at once one does it. The file is replaced as a whole:
  interrupted, it can be done again.

  Args:
    directory: The folder of the run.
    settings: Those of the run.
    asked: The dataset indices that are asked for.
    partly: Whether to merge even where some of these are missing. The files
      of the processes then stay as they are.

  Returns:
    Those that are missing.

  Raises:
    CorruptShard: If a file is damaged before its last line.
    InUse: If another process merges, and does not end.
  """
  rows = together(read(directory, settings), settings)
  missing = [idx for idx in asked if idx not in rows]
  if _paths(directory) and (partly or not missing):
    with locks.exclusively(
      directory / _LOCK,
      refusal=f'another process is merging the rows of {directory}',
      patience=_MERGE_SECONDS,
    ):
      _merge(directory, settings, remove=not missing)
  return missing


def _merge(
  directory: pathlib.Path, settings: Mapping[str, Any], *, remove: bool
) -> None:
  with contextlib.ExitStack() as opened:
    free = [
      opened.enter_context(shard)
      for path in [*_paths(directory), directory / ROWS]
      for shard in _unused(path, settings)
    ]
    if len(free) < 2 or free[-1].path.name != ROWS:
      return  # nothing to merge, or a process is writing to where it belongs
    rows = together({shard.path.name: shard.rows for shard in free}, settings)
    lines = [tsv.file_header(settings)]
    lines += [tsv.file_line(rows[idx], settings) for idx in sorted(rows)]
    files_lib.write_atomic(directory / ROWS, '\n'.join(lines) + '\n')
    everybody_ended = len(free) == 1 + len(_paths(directory))
    for shard in free[:-1] if remove and everybody_ended else ():
      shard.remove()


def _unused(
  path: pathlib.Path, settings: Mapping[str, Any]
) -> Iterator[Shard[Record]]:
  """A file to merge, unless a process has it: that one will merge it."""
  with contextlib.suppress(locks.InUse):
    yield _open(path, settings, patience=0.0)


def _open(
  path: pathlib.Path,
  settings: Mapping[str, Any],
  *,
  patience: float | None = None,
) -> Shard[Record]:
  header = tsv.file_header(settings)
  shard = Shard(path, header, tsv.parser(settings), patience=patience)
  try:
    shard.rows = continuing.last_rows(shard.rows, settings, path)
  except BaseException:
    shard.close()
    raise
  return shard


def hold_rows(directory: pathlib.Path) -> bool:
  """Whether a folder has a file of rows, be it empty."""
  return bool(_paths(directory)) or (directory / ROWS).exists()


def _paths(directory: pathlib.Path) -> list[pathlib.Path]:
  """The files of processes that share the run, or did."""
  return sorted(p for p in directory.glob('rows-*') if _count(p.name) > 1)


def _count(name: str) -> int:
  """Among how many processes a file is; 1 if it is not one of several."""
  found = _SHARD.fullmatch(name)
  return int(found[1]) if found else 1
