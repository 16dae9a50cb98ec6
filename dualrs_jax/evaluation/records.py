"""Result rows: what is said about each image, and how to check it again.

A row holds the vote counts of every stage. Together with the settings of the
run they determine it: `recompute` derives it anew, in float64, from nothing
else.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from dualrs_jax.base import ABSTAIN, Cast, Counts
from dualrs_jax.evaluation import methods, run_plans
from dualrs_jax.evaluation.methods import VoteCounts

#: What a row says about itself, see `Record.status`.
STATUSES = ('certified', 'predicted', *methods.CAUSES)

#: How much radii of other versions of SciPy may differ.
_VERSIONS_TOLERANCE = 1e-9

#: Votes by class, or by level.
Votes = tuple[int, ...]


class Record(NamedTuple):
  """One result row.

  Attributes:
    idx: Dataset index of the image.
    label: Its class.
    predict: The predicted class, -1 for an abstention.
    radius: Certified l2 radius in pixel units, float64, never above what the
      votes prove; 0 for an abstention, and where no radius was asked for.
    time: Seconds spent on the image. The only field that may differ when the
      row is computed again.
    sigma: The selected noise level, 0 if the estimator predicted none.
    sigma_index: Its index in the candidates, or -1.
    estimator_radius: Within it the estimator keeps this level; infinite where
      there is nothing to choose, 0 where no radius was asked for. In a cascade
      no level before this one answers another class within it.
    classifier_radius: Within it the classifier at this level keeps its class;
      0 where no radius was asked for.
    estimator_selection: The estimator's selection votes for each level.
    estimator_estimation: Its votes for the bound, or for the prediction.
    estimator_cast: How many votes it cast for either, invalid ones included.
    classifier_selection: The classifier's selection votes for each class, by
      level; levels that were not sampled are absent.
    classifier_estimation: Its votes for the bound, or for the prediction.
    classifier_cast: How many votes it cast for either, by level.
    status: 'certified' ('predicted' where no radius was asked for), or what
      was undecided after all its votes: 'estimator', 'classifier', 'both',
      'earlier' for a level before the one that answers; or
      'hopeless' if adaptive certification gave up before.
    distance: That to the nearest training images, where the level follows from
      it; otherwise 0.
  """

  idx: int
  label: int
  predict: int
  radius: float
  time: float
  sigma: float
  sigma_index: int
  estimator_radius: float
  classifier_radius: float
  estimator_selection: Votes
  estimator_estimation: Votes
  estimator_cast: Votes
  classifier_selection: Mapping[int, Votes]
  classifier_estimation: Mapping[int, Votes]
  classifier_cast: Mapping[int, Votes]
  status: str
  distance: float = 0.0

  @property
  def correct(self) -> int:
    """1 if the prediction is the label, else 0, as for an abstention."""
    return int(self.predict == self.label)


def of_votes(
  votes: VoteCounts,
  settings: Mapping[str, Any],
  *,
  idx: int,
  label: int,
  time: float,
) -> Record:
  """Makes a row of votes.

  Args:
    votes: The votes on the image. Those of an estimator are not looked at in
      plain smoothing, nor those that select in a prediction.
    settings: Those of the run, see `methods.result`.
    idx: Dataset index of the image.
    label: Its class.
    time: Seconds spent on it.

  Returns:
    The row. Its radius carries the guarantee of the method of the run.
  """
  votes = jax.tree.map(np.asarray, votes)
  sampled = np.flatnonzero(votes.classifier_cast.estimation).tolist()
  selected = np.flatnonzero(votes.classifier_cast.selection).tolist()
  found = methods.result(votes, settings)
  decided = 'certified' if settings['task'] == 'certify' else 'predicted'
  estimator, classifier = votes.estimator, votes.classifier
  with_estimator = bool(votes.estimator_cast.estimation)
  asked = bool(votes.estimator_cast.selection)
  return Record(
    idx=idx,
    label=label,
    predict=found.predict,
    radius=found.radius,
    time=time,
    sigma=methods.sigma(votes, found.level, settings),
    sigma_index=found.level,
    estimator_radius=found.estimator_radius,
    classifier_radius=found.classifier_radius,
    estimator_selection=_votes(estimator.selection) if asked else (),
    estimator_estimation=_votes(estimator.estimation) if with_estimator else (),
    estimator_cast=_votes(votes.estimator_cast),
    classifier_selection={k: _votes(classifier.selection[k]) for k in selected},
    classifier_estimation={
      k: _votes(classifier.estimation[k]) for k in sampled
    },
    classifier_cast={
      k: _votes([np.asarray(split)[k] for split in votes.classifier_cast])
      for k in sorted({*sampled, *selected})
    },
    status=decided if found.predict != ABSTAIN else found.cause,
    distance=float(votes.distance),
  )


def recompute(record: Record, settings: Mapping[str, Any]) -> Record:
  """Derives a row again from its own votes.

  Args:
    record: A row, as read from its file.
    settings: Those of its run, including `num_classes`; see `of_votes`.

  Returns:
    The row that the votes amount to. It equals `record` unless somebody, or
    something, changed one of them.

  Raises:
    ValueError: If the votes do not fit the settings, or are more than were
      cast.
  """
  return of_votes(
    votes(record, settings),
    settings,
    idx=record.idx,
    label=record.label,
    time=record.time,
  )


def votes(record: Record, settings: Mapping[str, Any]) -> VoteCounts:
  """The votes of a row.

  Raises:
    ValueError: If they do not fit the settings, or are more than were cast.
  """
  _check_totals(record, settings)
  levels, classes = len(settings['sigmas']), settings['num_classes']
  estimator = Counts(
    *(
      _dense({0: votes} if votes else {}, (1, levels))[0]
      for votes in (record.estimator_selection, record.estimator_estimation)
    )
  )
  classifier = Counts(
    *(
      _dense(votes, (levels, classes))
      for votes in (record.classifier_selection, record.classifier_estimation)
    )
  )
  cast = _dense(record.classifier_cast, (levels, 2))
  return VoteCounts(
    estimator,
    classifier,
    Cast(*record.estimator_cast),
    Cast(*cast.T),
    record.distance,
  )


def check(record: Record, settings: Mapping[str, Any]) -> None:
  """Raises ValueError unless a row says what its votes amount to.

  Radii may differ by the rounding of special functions between versions.
  """
  expected = recompute(record, settings)
  for name in Record._fields:
    found, derived = getattr(record, name), getattr(expected, name)
    if found != derived and not (
      name.endswith('radius')
      and math.isclose(found, derived, rel_tol=_VERSIONS_TOLERANCE)
    ):
      raise ValueError(
        f'image {record.idx}: {name} is {found} where the votes of the row'
        f' make it {derived}'
      )


def _check_totals(record: Record, settings: Mapping[str, Any]) -> None:
  """Raises ValueError where there are more votes than were, or can be, cast."""
  limits = settings['n0'] or 0, run_plans.most_votes(settings)
  stages = [
    (
      record.estimator_cast,
      (record.estimator_selection, record.estimator_estimation),
    )
  ]
  levels = {*record.classifier_selection, *record.classifier_estimation}
  for level in {*levels, *record.classifier_cast}:
    splits = record.classifier_selection, record.classifier_estimation
    first, second = (split.get(level, ()) for split in splits)
    cast = record.classifier_cast.get(level, (0, 0))
    stages.append((cast, (first, second)))
  for cast, votes in stages:
    if len(cast) != 2:
      raise ValueError(f'image {record.idx}: {cast} are not two vote numbers')
    for number, counts, limit in zip(cast, votes, limits, strict=True):
      if min(counts, default=0) < 0 or not sum(counts) <= number <= limit:
        raise ValueError(
          f'image {record.idx}: the votes {counts} are not counts of {number}'
          f' votes, of which there are at most {limit}'
        )


def _votes(counts: Any) -> Votes:
  return tuple(int(count) for count in counts)


def _dense(levels: Mapping[int, Votes], shape: tuple[int, int]) -> np.ndarray:
  """Counts by level as an array, zero at the levels that are absent."""
  array = np.zeros(shape, np.int64)
  for level, votes in levels.items():
    if not 0 <= level < shape[0] or len(votes) != shape[1]:
      raise ValueError(
        f'{len(votes)} vote counts at level {level} do not fit {shape[0]}'
        f' levels of {shape[1]}'
      )
    array[level] = votes
  return array
