"""Result rows: what is said about each image, and how to check it again.

A row holds the vote counts of every stage. Together with the settings of the
run they determine it: `recompute` derives it anew, in float64, from nothing
else.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dualrs_jax import composition, smoothing
from dualrs_jax.base import ABSTAIN, Counts

#: The composition rules by their names in configurations and settings.
RULES = {
  'agreement': composition.agreement,
  'minimum': composition.minimum,
  'paper': composition.paper,
}

#: What a row says about itself, see `Record.status`.
STATUSES = ('certified', 'predicted', 'estimator', 'classifier', 'both')

#: How much radii of other versions of SciPy may differ.
_VERSIONS_TOLERANCE = 1e-9

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
      there is nothing to choose, 0 where no radius was asked for.
    classifier_radius: Within it the classifier at this level keeps its class;
      0 where no radius was asked for.
    estimator_selection: The estimator's selection votes for each level.
    estimator_estimation: Its votes for the bound, or for the prediction.
    classifier_selection: The classifier's selection votes for each class, by
      level; levels that were not sampled are absent.
    classifier_estimation: Its votes for the bound, or for the prediction.
    status: 'certified' ('predicted' where no radius was asked for), or what
      was undecided: 'estimator', 'classifier', 'both'.
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
  classifier_selection: Mapping[int, Votes]
  classifier_estimation: Mapping[int, Votes]
  status: str

  @property
  def correct(self) -> int:
    """1 if the prediction is the label, else 0, as for an abstention."""
    return int(self.predict == self.label)


def of_counts(
  estimator: Counts,
  classifier: Counts,
  settings: Mapping[str, Any],
  *,
  idx: int,
  label: int,
  time: float,
) -> Record:
  """Makes a row of vote counts, all statistics in NumPy float64.

  Args:
    estimator: Votes for the noise levels, integer arrays [K]; not looked at
      in plain smoothing. A prediction looks at `estimation` only.
    classifier: Votes for the classes at each level, integer arrays
      [K, classes], all zero at a level that was not sampled.
    settings: `task`, `smoothing`, `certificate`, `sigmas`, `estimator_sigma`,
      `n` and `alpha` of the run.
    idx: Dataset index of the image.
    label: Its class.
    time: Seconds spent on it.

  Returns:
    The row. Its radius carries the guarantee of the composition rule.
  """
  estimator = Counts(*(np.asarray(votes) for votes in estimator))
  classifier = Counts(*(np.asarray(votes) for votes in classifier))
  sampled = np.flatnonzero(
    (classifier.selection + classifier.estimation).any(axis=-1)
  ).tolist()
  task, method = settings['task'], settings['smoothing']
  predict, radius, level, stages = _METHODS[task, method](
    estimator, classifier, settings
  )
  undecided = [not stage_radius > 0 for stage_radius in stages]
  cause = (
    'both' if all(undecided) else ('estimator', 'classifier')[undecided[1]]
  )
  with_radius, with_estimator = task == 'certify', method == 'dual'
  decided = 'certified' if with_radius else 'predicted'
  return Record(
    idx=idx,
    label=label,
    predict=predict,
    radius=radius,
    time=time,
    sigma=float(settings['sigmas'][level]) if level != ABSTAIN else 0.0,
    sigma_index=level,
    estimator_radius=stages[0] if with_radius else 0.0,
    classifier_radius=stages[1] if with_radius else 0.0,
    estimator_selection=_votes(estimator.selection)
    if with_estimator and with_radius
    else (),
    estimator_estimation=_votes(estimator.estimation) if with_estimator else (),
    classifier_selection={
      k: _votes(classifier.selection[k]) for k in sampled if with_radius
    },
    classifier_estimation={
      k: _votes(classifier.estimation[k]) for k in sampled
    },
    status=decided if predict != ABSTAIN else cause,
  )


def recompute(record: Record, settings: Mapping[str, Any]) -> Record:
  """Derives a row again from its own vote counts.

  Args:
    record: A row, as read from its file.
    settings: Those of its run, including `num_classes` and `n0`; see
      `of_counts`.

  Returns:
    The row that the counts amount to. It equals `record` unless somebody, or
    something, changed one of them.

  Raises:
    ValueError: If the counts do not fit the settings, or are more than the
      votes that were cast.
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
  return of_counts(
    estimator,
    classifier,
    settings,
    idx=record.idx,
    label=record.label,
    time=record.time,
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


def _certify_dual(estimator, classifier, settings):
  found = RULES[settings['certificate']](
    estimator,
    classifier,
    settings['sigmas'],
    settings['estimator_sigma'],
    n=settings['n'],
    alpha=settings['alpha'],
  )
  stages = float(found.estimator_radius), float(found.classifier_radius)
  level = int(found.sigma_index)
  return int(found.prediction), float(found.radius), level, stages


def _certify_single(estimator, classifier, settings):
  del estimator  # there is nothing to choose
  found = smoothing.certificate_of_counts(
    Counts(classifier.selection[0], classifier.estimation[0]),
    settings['sigmas'][0],
    n=settings['n'],
    alpha=settings['alpha'],
  )
  radius = float(found.radius)
  return int(found.prediction), radius, 0, (math.inf, radius)


def _predict_dual(estimator, classifier, settings):
  single = len(settings['sigmas']) == 1
  statistics = {
    'n': settings['n'],
    'alpha': settings['alpha'] if single else settings['alpha'] / 2,
  }
  level = 0
  if not single:
    level = int(
      smoothing.prediction_of_counts(
        estimator.estimation, **statistics
      ).prediction
    )
  if level == ABSTAIN:
    return ABSTAIN, 0.0, ABSTAIN, (0.0, math.inf)
  found = smoothing.prediction_of_counts(
    classifier.estimation[level], **statistics
  )
  predict = int(found.prediction)
  return predict, 0.0, level, (math.inf, math.inf if predict >= 0 else 0.0)


def _predict_single(estimator, classifier, settings):
  del estimator  # there is nothing to choose
  found = smoothing.prediction_of_counts(
    classifier.estimation[0], n=settings['n'], alpha=settings['alpha']
  )
  predict = int(found.prediction)
  return predict, 0.0, 0, (math.inf, math.inf if predict >= 0 else 0.0)


#: Each returns the prediction, its radius, the level and, of the estimator
#: and the classifier, the stage radius: 0 where that stage is undecided.
_METHODS = {
  ('certify', 'dual'): _certify_dual,
  ('certify', 'single'): _certify_single,
  ('predict', 'dual'): _predict_dual,
  ('predict', 'single'): _predict_single,
}


def _check_totals(record: Record, settings: Mapping[str, Any]) -> None:
  """Raises ValueError where a split has more votes than were cast."""
  cast = {'selection': settings['n0'] or 0, 'estimation': settings['n']}
  for split, limit in cast.items():
    estimator = getattr(record, f'estimator_{split}')
    classifier = getattr(record, f'classifier_{split}')
    for votes in (estimator, *classifier.values()):
      if min(votes, default=0) < 0 or sum(votes) > limit:
        raise ValueError(
          f'image {record.idx}: the {split} votes {votes} are not counts of'
          f' {limit} votes'
        )


def _votes(counts: Any) -> Votes:
  return tuple(counts.tolist())


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
