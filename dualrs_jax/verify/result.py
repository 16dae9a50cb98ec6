"""A file of rows, checked row by row."""

import csv
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dualrs_jax import folders
from dualrs_jax.verify import (
  check,
  cohen,
  images,
  methods,
  notes,
  record,
  rows,
  settings,
)
from dualrs_jax.verify.errors import Unverifiable


class Problem(NamedTuple):
  """A row that does not follow.

  Attributes:
    line: Its number in the file, from 1.
    reason: Why, in one sentence.
  """

  line: int
  reason: str

  def __str__(self) -> str:
    return f'line {self.line}: {self.reason}'


@dataclasses.dataclass(frozen=True)
class Report:
  """What was found.

  Attributes:
    rows: The number of rows.
    problems: Those that do not follow; a row may have several.
    notes: Sentences on what was checked and what was not.
    record: What may be published of the result, see docs/verifying.md; none
      where a row does not follow.
  """

  rows: int
  problems: Sequence[Problem]
  notes: Sequence[str]
  record: Mapping[str, Any] | None


def verify(
  path: str | os.PathLike,
  *,
  settings_path: str | os.PathLike | None = None,
  radii: Sequence[float] | None = None,
  votes: cohen.Votes | None = None,
) -> Report:
  """Computes every row of a result again.

  Rows with vote counts follow from them and the settings of their run: the
  level, the class, the radii, the abstention and its reason. Rows of Cohen's
  format have no counts; what can be said of them is in `cohen`.

  Args:
    path: The file of rows.
    settings_path: The settings of their run; settings.json beside it by
      default. Not looked at where there are no counts.
    radii: Radii of the record, by default those of the run.
    votes: How rows without counts were voted on, if that is known.

  Raises:
    Unverifiable: If the file is no result, its settings lack something, or
      its method is none that is known here.
  """
  path = folders.expand(path)
  content, columns, lines = _read(path)
  identity = {'file': path.name, 'sha256': hashlib.sha256(content).hexdigest()}
  if not rows.is_counted(columns):
    found, problems, told = cohen.check(columns, lines, votes)
    problems = [Problem(*problem) for problem in problems]
    made = None
    if not problems:
      made = record.of_stated(found, identity, told, votes, radii)
    return Report(len(lines), problems, told, made)
  if votes is not None:
    raise Unverifiable(
      'rows with vote counts are checked by their settings: leave out --sigma,'
      ' --n and --alpha'
    )
  if settings_path is None:
    settings_path = path.with_name(settings.NAME)
  known = settings.read(folders.expand(settings_path))
  _check_columns(path, columns, known)
  problems = []
  last: dict[int, tuple[int, rows.Row]] = {}
  for number, line in lines:
    try:
      row = _row(columns, line, known)
    except ValueError as error:
      problems.append(Problem(number, str(error)))
      continue
    reasons = [*check.problems(row, known)]
    if row.idx in last:
      line_before, before = last[row.idx]
      reason = images.reason_against(row, before, line_before, known)
      reasons = [reason, *reasons] if reason else reasons
    last[row.idx] = number, row
    problems += [
      Problem(number, f'image {row.idx}: {reason}') for reason in reasons
    ]
  asked = record.asked(known)
  missing = sorted(set(asked) - set(last))
  beyond = set(last) - set(asked) if asked else set()
  told = [*notes.of(known, missing, asked, beyond)]
  made = None
  if not problems:
    counted = [row for _, row in last.values() if row.idx not in beyond]
    made = record.of_counted(counted, identity, told, known, missing, radii)
  return Report(len(lines), problems, told, made)


def _read(path: pathlib.Path) -> tuple[bytes, list[str], list[tuple[int, str]]]:
  """The contents, the names of the columns, and the lines after them."""
  try:
    content = path.read_bytes()
    text = content.decode('utf-8-sig')
  except (OSError, UnicodeDecodeError) as error:
    raise Unverifiable(f'{path} cannot be read as text: {error}') from None
  lines = [
    (number, line)
    for number, line in enumerate(text.splitlines(), start=1)
    if line.strip()
  ]
  if not lines:
    raise Unverifiable(f'{path} is empty')
  columns = cohen.columns(lines[0][1])
  if columns is None:
    raise Unverifiable(
      f'{path} has no rows of results: its first line is {lines[0][1][:80]!r},'
      ' and the columns idx, label, predict, radius and correct are expected,'
      ' separated by tabs'
    )
  if cohen.is_header(lines[0][1]):
    lines = lines[1:]
  if not lines:
    raise Unverifiable(f'{path} has a header and no rows')
  return content, columns, lines


def _check_columns(path, columns: list[str], known: Mapping[str, Any]) -> None:
  """Raises Unverifiable unless the columns are those of the run."""
  wanted = [*rows.COLUMNS[methods.of(known).columns]]
  if settings.FINGERPRINT in known:
    wanted.append(rows.OF_SETTINGS)
  if columns != wanted:
    lost = [name for name in wanted if name not in columns]
    more = [name for name in columns if name not in wanted]
    reasons = [f'{", ".join(lost)} missing'] if lost else []
    reasons += [f'{", ".join(more)} not known'] if more else []
    raise Unverifiable(
      f'{path} has other columns than the rows of its settings:'
      f' {" and ".join(reasons or ["they are in another order"])}'
    )


def _row(columns: list[str], line: str, known: Mapping[str, Any]) -> rows.Row:
  [fields] = csv.reader([line], delimiter='\t', quoting=csv.QUOTE_NONE)
  if len(fields) != len(columns):
    raise ValueError(
      f'{len(fields)} columns of {len(columns)}: the line is cut short, or not'
      ' of this file'
    )
  texts = dict(zip(columns, fields, strict=True))
  name = texts.get(rows.OF_SETTINGS)
  if name != known.get(settings.FINGERPRINT):
    raise ValueError(
      f'the row is of other settings ({name}) than these'
      f' ({known.get(settings.FINGERPRINT)})'
    )
  return rows.read(texts)
