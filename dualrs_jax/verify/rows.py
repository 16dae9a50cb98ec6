"""Rows with vote counts, as text and as what they say."""

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

#: Votes by class, or by level.
Votes = tuple[int, ...]

_FIRST = ('idx', 'label', 'predict', 'radius', 'correct', 'time')
_WITHOUT_RADIUS = tuple(name for name in _FIRST if name != 'radius')
_LEVEL = ('sigma', 'sigma_index')
_ESTIMATOR = ('estimator_selection', 'estimator_estimation', 'estimator_cast')
_CLASSIFIER = tuple(
  name.replace('estimator', 'classifier') for name in _ESTIMATOR
)

#: The columns of a file, by the name of their kind.
COLUMNS = {
  'certify': (
    *(*_FIRST, *_LEVEL, 'estimator_radius', 'classifier_radius'),
    *('radius_full', *_ESTIMATOR, *_CLASSIFIER, 'status'),
  ),
  'cascade': (
    *(*_FIRST, *_LEVEL, 'earlier_radius', 'classifier_radius', 'radius_full'),
    *(*_CLASSIFIER, 'status'),
  ),
  'distance': (
    *(*_FIRST, *_LEVEL, 'distance', 'classifier_radius', 'radius_full'),
    *(*_CLASSIFIER, 'status'),
  ),
  'predict at a distance': (
    *(*_WITHOUT_RADIUS, *_LEVEL, 'distance', *_CLASSIFIER[1:], 'status'),
  ),
  'predict': (
    *(*_WITHOUT_RADIUS, *_LEVEL, *_ESTIMATOR[1:], *_CLASSIFIER[1:], 'status'),
  ),
  'predict adaptively': (
    *(*_WITHOUT_RADIUS, *_LEVEL, *_ESTIMATOR, *_CLASSIFIER, 'status'),
  ),
}
#: A further one, in files whose settings say by which name they are known.
OF_SETTINGS = 'settings'


class Row(NamedTuple):
  """What a row says, see docs/evaluating.md; 0 or nothing without a column.

  Votes of an estimator are by level, those of a classifier by class for each
  level that was sampled; what was cast is a pair, selection and estimation.

  Attributes:
    idx: The number of the image.
    label: Its class.
    predict: The answer, or -1.
    correct: 1 where the answer is the class, else 0.
    time: Seconds that the row took.
    sigma: The selected noise level, in pixel units.
    sigma_index: Its number, from 0.
    classifier_estimation: Votes that bound the classifier.
    classifier_cast: How many votes it cast at each level.
    status: How the row was decided, or why it was given up.
    radius: The certified radius, rounded down as it is printed.
    radius_full: The same, not rounded.
    estimator_radius: Within it the estimator keeps its level.
    classifier_radius: Within it the classifier there keeps its class.
    earlier_radius: Within it no level before that answers another class.
    distance: Of the image to the training images.
    estimator_selection: Votes that choose the level.
    estimator_estimation: Votes that bound the estimator.
    estimator_cast: How many votes the estimator cast.
    classifier_selection: Votes that choose the class.
  """

  idx: int
  label: int
  predict: int
  correct: int
  time: float
  sigma: float
  sigma_index: int
  classifier_estimation: Mapping[int, Votes]
  classifier_cast: Mapping[int, Votes]
  status: str
  radius: float = 0.0
  radius_full: float = 0.0
  estimator_radius: float = 0.0
  classifier_radius: float = 0.0
  earlier_radius: float = 0.0
  distance: float = 0.0
  estimator_selection: Votes = ()
  estimator_estimation: Votes = ()
  estimator_cast: Votes = (0, 0)
  classifier_selection: Mapping[int, Votes] = {}


def is_counted(columns: list[str]) -> bool:
  """Whether the columns of a file are those of rows with vote counts."""
  return any(name.endswith(('_estimation', '_cast')) for name in columns)


def read(texts: Mapping[str, str]) -> Row:
  """What the texts of a row say.

  Raises:
    ValueError: If one of them cannot be said so; the message names it.
  """
  values = {}
  for name, kind in Row.__annotations__.items():
    if name in texts:
      try:
        values[name] = READERS.get(name, READERS[kind])(texts[name])
      except ValueError:
        raise unreadable(
          name, texts[name], WORDS.get(name, WORDS[kind])
        ) from None
  return Row(**values)


def seconds(text: str) -> float:
  """A time, in seconds or as hours:minutes:seconds, with days before them."""
  days, _, clock = text.rpartition(',')
  parts = [float(part) for part in clock.split(':')]
  found = sum(
    part * unit for part, unit in zip(parts[::-1], (1, 60, 3600), strict=False)
  )
  if len(parts) > 3 or not (math.isfinite(found) and min(parts) >= 0):
    raise ValueError(text)
  if days:
    found += dt.timedelta(days=int(days.split()[0])).total_seconds()
  return found


def number(text: str) -> float:
  """A number that is not NaN; an infinite one may be said."""
  found = float(text)
  if math.isnan(found):
    raise ValueError(text)
  return found


def votes(text: str) -> Votes:
  """Vote counts, separated by commas."""
  return tuple(int(count) for count in text.split(',')) if text else ()


def _by_level(text: str) -> dict[int, Votes]:
  found = {}
  for part in text.split(';') if text else ():
    level, separator, counts = part.partition(':')
    if not separator or int(level) in found:
      raise ValueError(text)
    found[int(level)] = votes(counts)
  return found


def unreadable(name: str, text: str, kind: str) -> ValueError:
  """The error of a text that is not what its column should be."""
  return ValueError(f'{name} is {text!r}, which is no {kind}')


#: By the name of a column, or the type of what is in it.
READERS: Mapping[Any, Any] = {
  'time': seconds,
  int: int,
  float: number,
  str: str,
  Votes: votes,
  Mapping[int, Votes]: _by_level,
}
#: What a column should hold, in words, by its name or its type.
WORDS: Mapping[Any, str] = {
  'time': 'time in seconds or as h:mm:ss',
  int: 'whole number',
  float: 'number',
  str: 'text',
  Votes: 'list of votes',
  Mapping[int, Votes]: 'list of votes by level',
}
