"""Files of Cohen's format and of its descendants, which have no vote counts.

Their columns are idx, label, predict, radius, correct and time, or more. What
follows from nothing but the rest of the row is checked: that images, classes
and radii are such, that no image is there twice, that an abstention has radius
0, and what `correct` says: of the row, or of all rows so far. If it is known
how the votes were cast, no radius may be larger than all of them allow.

References:
  Cohen, Rosenfeld and Kolter (2019), Certified adversarial robustness via
  randomized smoothing, https://github.com/locuslab/smoothing.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dualrs_jax.verify import bounds, rows
from dualrs_jax.verify.claims import ABSTAIN

_NAMES = ('idx', 'label', 'predict', 'radius', 'correct', 'time')
_NEEDED = _NAMES[:5]
_TRUTHS = {'true': 1.0, 'false': 0.0}


class Votes(NamedTuple):
  """How rows were voted on.

  Attributes:
    sigma: The noise level.
    n: The number of estimation votes.
    alpha: Failure probability.
  """

  sigma: float
  n: int
  alpha: float

  @property
  def largest(self) -> float:
    """The radius that n unanimous votes give."""
    return self.sigma * bounds.exactly(self.n, self.n, self.alpha)


class Stated(NamedTuple):
  """What a row says.

  Attributes:
    idx: The number of the image.
    label: Its class.
    predict: The answer, or -1.
    radius_full: The certified radius in pixel units.
    correct: 1 where the answer is the class, else 0.
    time: Seconds that the row took.
  """

  idx: int
  label: int
  predict: int
  radius_full: float
  correct: float
  time: float


def is_header(line: str) -> bool:
  """Whether a line names columns."""
  return line.split('\t')[0].strip().lower() == 'idx'


def columns(line: str) -> list[str] | None:
  """The columns by the first line of a file, or None if it is no such file.

  Without a header they are those of Cohen's, as far as they go.
  """
  fields = [field.strip() for field in line.split('\t')]
  if is_header(line):
    names = [name if name in _COUNTED else name.lower() for name in fields]
    if rows.is_counted(names) or set(_NEEDED) <= set(names):
      return names
    return None
  if len(fields) not in (len(_NEEDED), len(_NAMES)):
    return None
  try:
    list(map(int, fields[:3]))
  except ValueError:
    return None
  return list(_NAMES[: len(fields)])


_COUNTED = {name for names in rows.COLUMNS.values() for name in names}


def check(
  columns: list[str],
  lines: Sequence[tuple[int, str]],
  votes: Votes | None,
) -> tuple[list[Stated], list[tuple[int, str]], list[str]]:
  """Checks what can be checked.

  Args:
    columns: Their names.
    lines: Their numbers and texts.
    votes: How the rows were voted on, if that is known.

  Returns:
    The rows, what is wrong with lines, and sentences on what was checked.
  """
  found, numbers, problems = [], [], []
  first: dict[int, int] = {}
  for number, line in lines:
    try:
      row = _stated(columns, line)
    except ValueError as error:
      problems.append((number, str(error)))
      continue
    found.append(row)
    numbers.append(number)
    reasons = _reasons(row, votes)
    if row.idx in first:
      reasons.insert(0, f'it is already in line {first[row.idx]}')
    first.setdefault(row.idx, number)
    problems += [(number, f'image {row.idx}: {reason}') for reason in reasons]
  notes = ['the file has no vote counts: its radii are taken as they are']
  if not problems:
    kind, wrong = _correct(found)
    problems += [(numbers[at], reason) for at, reason in wrong]
    if kind and not wrong:
      notes.append(kind)
  if votes is None:
    notes.append(
      'not checked: whether n votes can give such radii; --sigma, --n and'
      ' --alpha say how they were cast'
    )
  else:
    notes.append(
      f'checked: no radius is above {votes.largest:.6g}, which {votes.n:,}'
      f' unanimous votes at sigma = {votes.sigma:g} give'
    )
  more = [name for name in columns if name not in _NAMES]
  if more:
    notes.append(f'not looked at: the columns {", ".join(more)}')
  if 'time' not in columns:
    notes.append('there are no times')
  return found, problems, notes


def _stated(columns: list[str], line: str) -> Stated:
  fields = [field.strip() for field in line.split('\t')]
  if len(fields) != len(columns):
    raise ValueError(
      f'{len(fields)} columns of {len(columns)}: the line is cut short, or not'
      ' of this file'
    )
  texts = dict(zip(columns, fields, strict=True))
  texts['correct'] = str(
    _TRUTHS.get(texts['correct'].lower(), texts['correct'])
  )
  values = []
  for name in _NAMES:
    kind = int if name in _NAMES[:3] else 'time' if name == 'time' else float
    text = texts.get(name, '0')
    try:
      values.append(rows.READERS[kind](text))
    except ValueError:
      raise rows.unreadable(name, text, rows.WORDS[kind]) from None
  return Stated(*values)


def _reasons(row: Stated, votes: Votes | None) -> list[str]:
  reasons = []
  if row.idx < 0:
    reasons.append(f'idx is {row.idx}, and images are numbered from 0')
  if row.label < 0:
    reasons.append(f'label is {row.label}, and classes are numbered from 0')
  if row.predict < ABSTAIN:
    reasons.append(
      f'predict is {row.predict}, and classes are numbered from 0, or -1 for'
      ' none'
    )
  radius = row.radius_full
  if not 0 <= radius < math.inf:
    reasons.append(f'radius is {radius}, which is no radius')
  elif row.predict == ABSTAIN and radius > 0:
    reasons.append(f'radius is {radius}, and an abstention has none')
  elif votes is not None and radius > _rounded_up(votes.largest):
    reasons.append(
      f'radius is {radius}, and {votes.n:,} votes at alpha = {votes.alpha:g}'
      f' can give {votes.largest:.6g} at most'
    )
  return reasons


def _rounded_up(radius: float) -> float:
  """The largest that three digits of a radius may say."""
  return max(radius, float(f'{radius:.3}'))


def _correct(found: Sequence[Stated]) -> tuple[str, list[tuple[int, str]]]:
  """What `correct` is a count of, and the rows where it is not."""
  right = np.array([row.predict == row.label for row in found], float)
  said = np.array([row.correct for row in found])
  totals = np.cumsum(right)
  means = totals / np.arange(1, len(found) + 1)
  meanings = {
    '': (right, 0),
    'correct is a running total: computed again from predict and label': (
      totals,
      0,
    ),
    'correct is a running mean: computed again from predict and label': (
      means,
      5e-3,
    ),
  }
  wrong = {
    kind: np.flatnonzero(np.abs(said - values) > tolerance)
    for kind, (values, tolerance) in meanings.items()
  }
  kind = min(wrong, key=lambda name: len(wrong[name]))
  values, _ = meanings[kind]
  name = kind.split(':')[0] or 'correct is of the row'
  return kind, [
    (
      at,
      f'image {found[at].idx}: correct is {said[at]:g}, and predict and label'
      f' make it {values[at]:g} ({name})',
    )
    for at in wrong[kind].tolist()
  ]
