"""Result rows as text: tab-separated files that old scripts can read.

The first columns are those of locuslab/smoothing, so its `analyze.py` and
everything built on it reads our files. The columns after them hold the radius
in full and the vote counts; in a file, the last one says of which settings a
row is, see `marks`.

References:
  Cohen, Rosenfeld and Kolter (2019), Certified adversarial robustness via
  randomized smoothing, https://github.com/locuslab/smoothing.
"""

import datetime as dt
import decimal
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from dualrs_jax.evaluation import continuing, marks, records
from dualrs_jax.evaluation.records import STATUSES, Record, Votes
from dualrs_jax.runtime import shards

_COUNTS = (
  'estimator_selection',
  'estimator_estimation',
  'estimator_cast',
  'classifier_selection',
  'classifier_estimation',
  'classifier_cast',
)
_COLUMNS = {
  'certify': (
    *('idx', 'label', 'predict', 'radius', 'correct', 'time'),
    *('sigma', 'sigma_index', 'estimator_radius', 'classifier_radius'),
    'radius_full',
    *_COUNTS,
    'status',
  ),
  # Without an estimator, and with what the levels before the answer allow.
  'cascade': (
    *('idx', 'label', 'predict', 'radius', 'correct', 'time'),
    *('sigma', 'sigma_index', 'earlier_radius', 'classifier_radius'),
    'radius_full',
    *(name for name in _COUNTS if name.startswith('classifier')),
    'status',
  ),
  # Without an estimator, at a level that the distance gives.
  'distance': (
    *('idx', 'label', 'predict', 'radius', 'correct', 'time'),
    *('sigma', 'sigma_index', 'distance', 'classifier_radius', 'radius_full'),
    *(name for name in _COUNTS if name.startswith('classifier')),
    'status',
  ),
  'predict at a distance': (
    *('idx', 'label', 'predict', 'correct', 'time'),
    *('sigma', 'sigma_index', 'distance'),
    *('classifier_estimation', 'classifier_cast', 'status'),
  ),
  'predict': (
    *('idx', 'label', 'predict', 'correct', 'time'),
    *('sigma', 'sigma_index', 'estimator_estimation', 'estimator_cast'),
    *('classifier_estimation', 'classifier_cast', 'status'),
  ),
  'predict adaptively': (
    *('idx', 'label', 'predict', 'correct', 'time'),
    *('sigma', 'sigma_index', *_COUNTS, 'status'),
  ),
}

#: Columns whose field of a record has another name.
_FIELDS = {'earlier_radius': 'estimator_radius'}


def layout(settings: Mapping[str, Any]) -> str:
  """The name of the columns of a run: of those above.

  Args:
    settings: Those of the run.
  """
  at_distance = settings['smoothing'] == 'distance'
  if settings['task'] == 'predict':
    if at_distance:
      return 'predict at a distance'
    fixed = settings['goal'] is None
    return 'predict' if fixed else 'predict adaptively'
  if at_distance:
    return 'distance'
  return 'cascade' if settings['smoothing'] == 'cascade' else 'certify'


def header(layout: str) -> str:
  """The first line of a file of rows, see `layout`."""
  return '\t'.join(_COLUMNS[layout])


def to_line(record: Record, layout: str) -> str:
  """A row as text, without its line end."""
  return '\t'.join(_text(record, name) for name in _COLUMNS[layout])


def from_line(line: str, layout: str) -> Record:
  """Reads a row.

  Raises:
    ValueError: If the line is not one that `to_line` could have written.
  """
  fields = line.split('\t')
  columns = _COLUMNS[layout]
  if len(fields) != len(columns):
    raise ValueError(f'{len(fields)} columns instead of {len(columns)}')
  texts = dict(zip(columns, fields, strict=True))
  values = {
    'radius': 0.0,
    # Where there is nothing to choose, and no radius at all.
    'estimator_radius': math.inf if 'radius' in texts else 0.0,
    'classifier_radius': 0.0,
    'estimator_selection': (),
    'estimator_estimation': (),
    'estimator_cast': (0, 0),
    'classifier_selection': {},
  }
  for name, text in texts.items():
    field = _FIELDS.get(name, name)
    if field in _READERS:
      values[field] = _READERS[field](text)
  if 'radius_full' in texts:
    values['radius'] = float(texts['radius_full'])
  record = Record(**values)
  for name, text in texts.items():
    if _text(record, name) != text:
      raise ValueError(
        f'{name} is {text!r} where the rest of the row makes it'
        f' {_text(record, name)!r}'
      )
  return record


def file_header(settings: Mapping[str, Any]) -> str:
  """The first line of a file of rows of a run."""
  return marks.to_header(header(layout(settings)), settings)


def file_line(record: Record, settings: Mapping[str, Any]) -> str:
  """A row as a line of the file of its run, without its line end."""
  return marks.to_line(to_line(record, layout(settings)), settings)


def parser(settings: Mapping[str, Any]) -> Callable[[str], Record]:
  """Makes the function that reads and checks the rows of a run.

  Args:
    settings: Those of the run, see `records.recompute`.

  Returns:
    A function of a line; it raises ValueError if the line is damaged, and
    CorruptShard if it is whole, but one of other settings, or does not say
    what its votes amount to.
  """

  def parse(line: str) -> Record:
    row = marks.from_line(line, settings)
    record = from_line(row, layout(settings))
    try:
      records.check(record, settings)
    except ValueError as error:
      raise shards.CorruptShard(str(error)) from error
    return record

  return parse


def read(path: str | os.PathLike, settings: Mapping[str, Any]) -> list[Record]:
  """Reads a file of rows, which may still be written to.

  Args:
    path: The file.
    settings: Those of its run.

  Raises:
    CorruptShard: If a line is damaged, of other settings, or does not agree
      with its votes, or an image is in two rows that are not those of votes
      added to it.
  """
  rows = shards.read(path, file_header(settings), parser(settings))
  return continuing.last_rows(rows, settings, path)


def round_down(radius: float) -> str:
  """Three significant digits that are never read as more than the radius.

  Rounding to nearest would print .49953 as 0.5 and claim what was not
  certified. Where it is harmless it is done: the float .3 is a little less
  than three tenths, but its text is read as the same float.

  Example:
    >>> round_down(0.49953), round_down(1.2999), round_down(0.3)
    ('0.499', '1.29', '0.3')
  """
  exact = decimal.Decimal(radius)
  if not exact:
    return '0.0'
  nearest = f'{radius:.3}'
  if float(nearest) <= radius:
    return str(float(nearest))
  last_digit = decimal.Decimal(1).scaleb(exact.adjusted() - 2)
  return str(float(exact.quantize(last_digit, decimal.ROUND_DOWN)))


def _text(record: Record, name: str) -> str:
  if name == 'radius':
    return round_down(record.radius)
  if name == 'radius_full':
    return repr(record.radius)
  if name == 'time':
    return str(dt.timedelta(seconds=record.time))
  value = getattr(record, _FIELDS.get(name, name))
  if isinstance(value, tuple):
    return _votes_text(value)
  if isinstance(value, dict):
    return ';'.join(f'{k}:{_votes_text(v)}' for k, v in value.items())
  return str(value)


def _votes_text(votes: Votes) -> str:
  return ','.join(map(str, votes))


def _read_votes(text: str) -> Votes:
  return tuple(int(count) for count in text.split(',')) if text else ()


def _read_levels(text: str) -> dict[int, Votes]:
  levels = {}
  for part in text.split(';') if text else ():
    level, votes = part.split(':')
    levels[int(level)] = _read_votes(votes)
  return levels


def _read_status(text: str) -> str:
  if text not in STATUSES:
    raise ValueError(f'status {text!r} is none of {STATUSES}')
  return text


def _read_time(text: str) -> float:
  days, comma, clock = text.rpartition(', ')
  hours, minutes, seconds = clock.split(':')
  return dt.timedelta(
    days=int(days.split(' ')[0]) if comma else 0,
    hours=int(hours),
    minutes=int(minutes),
    seconds=float(seconds),
  ).total_seconds()


_READERS = {
  **dict.fromkeys(('idx', 'label', 'predict', 'sigma_index'), int),
  **dict.fromkeys(('sigma', 'estimator_radius', 'classifier_radius'), float),
  'distance': float,
  **{name: _read_votes for name in _COUNTS if name.startswith('estimator')},
  **{name: _read_levels for name in _COUNTS if name.startswith('classifier')},
  'time': _read_time,
  'status': _read_status,
}
