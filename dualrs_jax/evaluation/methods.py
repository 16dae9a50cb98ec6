"""What the votes of a run say about an image, by the method of the run."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dualrs_jax import (
  cascade_plans,
  cascade_prediction,
  distance_levels,
  fallbacks,
  majorities,
  plans,
  smoothing,
)
from dualrs_jax.base import ABSTAIN, Cast, Counts
from dualrs_jax.evaluation import distances, run_plans

#: Why there is no answer, see `Result.cause`.
CAUSES = ('estimator', 'earlier', 'classifier', 'both', 'hopeless')


class VoteCounts(NamedTuple):
  """The votes on one image.

  Attributes:
    estimator: Votes for the noise levels, integer arrays [K].
    classifier: Votes for the classes at each level, integer arrays
      [K, classes], all zero at a level that was not sampled.
    estimator_cast: How many votes the estimator cast; 0 without one.
    classifier_cast: How many the classifier cast at each level, arrays [K].
    distance: That of the image to the training images, where its level follows
      from it.
  """

  estimator: Counts
  classifier: Counts
  estimator_cast: Cast
  classifier_cast: Cast
  distance: float = 0.0


class Result(NamedTuple):
  """What a row says, apart from its votes.

  Attributes:
    predict: The predicted class, or -1.
    radius: Its certified radius; 0 where none was asked for.
    level: The index of the selected noise level, or -1.
    estimator_radius: The radius of the estimator, see `base.DualCertificate`.
    classifier_radius: The radius of the classifier.
    cause: Without a prediction, which stages were undecided after all their
      votes, or 'hopeless' if the rest of the votes was not even cast.
  """

  predict: int
  radius: float
  level: int
  estimator_radius: float
  classifier_radius: float
  cause: str


def fixed_votes(
  estimator: Counts, classifier: Counts, settings: Mapping[str, Any]
) -> VoteCounts:
  """The votes of a run with a fixed number of them.

  Args:
    estimator: Votes for the noise levels; not looked at in plain smoothing.
    classifier: Votes for the classes at each level, all zero where it was not
      sampled.
    settings: `task`, `smoothing`, `certificate`, `n0`, `n` and `sigmas` of the
      run.
  """
  if settings['smoothing'] == 'cascade':
    return _cascade_votes(estimator, classifier, settings)
  n0 = settings['n0'] if settings['task'] == 'certify' else 0
  n = settings['n']
  estimators = int(settings['smoothing'] == 'dual')
  votes = np.asarray(classifier.selection) + np.asarray(classifier.estimation)
  levels = votes.any(axis=-1).astype(np.int64)
  rule = run_plans.RULES.get(settings.get('certificate') or '')
  if rule is not None and rule.falls_back:
    levels = np.ones_like(levels)
  return VoteCounts(
    estimator,
    classifier,
    Cast(n0 * estimators, n * estimators),
    Cast(np.multiply(n0, levels), np.multiply(n, levels)),
  )


def _cascade_votes(estimator, classifier, settings) -> VoteCounts:
  """Of a cascade: which levels it visited follows from the votes."""
  if settings['task'] == 'predict':
    levels = np.asarray(classifier.estimation).any(axis=-1)
    cast = Cast(np.zeros_like(levels, int), settings['n'] * levels)
  else:
    cast = _cascade(classifier, settings).cast
  return VoteCounts(estimator, classifier, Cast(0, 0), cast)


def result(votes: VoteCounts, settings: Mapping[str, Any]) -> Result:
  """What votes amount to, all statistics in NumPy float64.

  Args:
    votes: The votes on one image.
    settings: `task`, `smoothing`, `certificate`, `sigmas`, `estimator_sigma`,
      `n0`, `n`, `alpha`, `noise_alpha`, `goal` and `radii` of the run.
  """
  if settings['smoothing'] == 'cascade':
    return _cascade_result(votes, settings)
  if settings['goal'] is not None:
    found = _adaptive(votes, settings)
    if settings['task'] == 'predict':  # the radii of stages are not asked for
      return found._replace(estimator_radius=0.0, classifier_radius=0.0)
    return found
  if settings['task'] == 'predict':
    return _prediction(votes, settings)
  if settings['smoothing'] == 'distance':
    return _at_distance(votes, settings)
  if settings['smoothing'] == 'single':
    return _single(votes, settings)
  return _dual(votes, settings)


def sigma(votes: VoteCounts, level: int, settings: Mapping[str, Any]) -> float:
  """The noise level of an image; 0 for none.

  Args:
    votes: The votes on it.
    level: The index of the level among those of the run, or -1.
    settings: Those of the run.
  """
  if level == ABSTAIN:
    return 0.0
  if settings['smoothing'] == 'distance':
    return distances.level(settings).at(float(votes.distance))
  return float(settings['sigmas'][level])


def _cascade(classifier: Counts, settings):
  return majorities.certificate_of_counts(
    Counts(*map(np.asarray, classifier)),
    settings['sigmas'],
    n0=settings['n0'],
    n=settings['n'],
    alpha=run_plans.statistical_alpha(settings),
  )


def _cascade_result(votes: VoteCounts, settings) -> Result:
  if settings['task'] == 'predict':
    found = cascade_prediction.prediction_of_counts(
      np.asarray(votes.classifier.estimation),
      settings['sigmas'],
      n=settings['n'],
      alpha=run_plans.statistical_alpha(settings) / len(settings['sigmas']),
    )
    level = int(found.sigma_index)
    return Result(int(found.prediction), 0.0, level, 0.0, 0.0, 'classifier')
  if settings['goal'] is None:
    found = _cascade(votes.classifier, settings)
  else:
    found = cascade_plans.certificate_of_counts(
      votes.classifier, votes.classifier_cast, run_plans.cascade_plan(settings)
    )
  level = int(found.sigma_index)
  first = settings['radii'][0] if settings['radii'] else 0.0
  parts = float(found.earlier_radius), float(found.level_radius)
  good = [radius > 0 and radius >= first for radius in parts]
  cast = np.asarray(votes.classifier_cast.estimation)
  place = majorities.visits(settings['sigmas'])
  full = [
    bool((cast[where] == settings['n']).any())
    for where in (place < place[level], place == place[level])
  ]
  undecided = [
    votes and not is_good for votes, is_good in zip(full, good, strict=True)
  ]
  cause = _cause(*undecided).replace('estimator', 'earlier')
  return Result(
    int(found.prediction),
    float(found.radius),
    level,
    *parts,
    cause or 'hopeless',
  )


def _adaptive(votes: VoteCounts, settings) -> Result:
  found = plans.certificate_of_counts(*votes[:4], run_plans.plan(settings))
  level = found.sigma_index
  first = settings['radii'][0] if settings['radii'] else 0.0
  reached = [
    radius > 0 and radius >= first
    for radius in (found.estimator_radius, found.classifier_radius)
  ]
  of_classifier = np.asarray(votes.classifier_cast.estimation)
  used = (
    [votes.estimator_cast.estimation],
    of_classifier[_asked(votes, level, run_plans.plan(settings))],
  )
  # Where votes may be added, none are the last ones.
  undecided = [
    bool(not good and (run_plans.is_open(settings) or settings['n'] in cast))
    for good, cast in zip(reached, used, strict=True)
  ]
  return Result(
    found.prediction,
    found.radius,
    level,
    found.estimator_radius,
    found.classifier_radius,
    _cause(*undecided) or 'hopeless',
  )


def _asked(votes: VoteCounts, level: int, plan: plans.Plan) -> list[int]:
  """The levels on whose votes the answer of the selected one rests."""
  if not plan.rule.falls_back:
    return [level]
  _, _, answering = fallbacks.selection(
    votes.estimator,
    votes.classifier,
    plan.sigmas,
    votes.classifier_cast.selection,
    runner_up=True,
  )
  last = int(answering[level])
  return [*fallbacks.visited(level, last, plan.sigmas), last]


def _dual(votes: VoteCounts, settings) -> Result:
  found = run_plans.RULES[settings['certificate']](
    votes.estimator,
    votes.classifier,
    settings['sigmas'],
    settings['estimator_sigma'],
    n=settings['n'],
    alpha=run_plans.statistical_alpha(settings),
    n0=settings['n0'],
  )
  return _fixed(
    found,
    int(found.sigma_index),
    found.estimator_radius,
    found.classifier_radius,
  )


def _at_distance(votes: VoteCounts, settings) -> Result:
  found = distance_levels.certificate_of_counts(
    Counts(*(np.asarray(split)[0] for split in votes.classifier)),
    float(votes.distance),
    distances.level(settings),
    n=settings['n'],
    alpha=run_plans.statistical_alpha(settings),
    pixels=settings['pixels'],
  )
  return _fixed(found, 0, math.inf, found.radius)


def _single(votes: VoteCounts, settings) -> Result:
  found = smoothing.certificate_of_counts(
    Counts(*(split[0] for split in votes.classifier)),
    settings['sigmas'][0],
    n=settings['n'],
    alpha=run_plans.statistical_alpha(settings),
  )
  return _fixed(found, 0, math.inf, found.radius)


def _fixed(found, level, estimator_radius, classifier_radius) -> Result:
  stages = float(estimator_radius), float(classifier_radius)
  cause = _cause(*(not radius > 0 for radius in stages))
  return Result(
    int(found.prediction), float(found.radius), level, *stages, cause
  )


def _prediction(votes: VoteCounts, settings) -> Result:
  """PREDICT of the estimator, if there is one, and then of the classifier."""
  single = len(settings['sigmas']) == 1
  alpha = run_plans.statistical_alpha(settings)
  statistics = {'n': settings['n'], 'alpha': alpha if single else alpha / 2}
  level = 0
  if not single:
    counts = votes.estimator.estimation
    level = smoothing.prediction_of_counts(counts, **statistics).prediction
  if level == ABSTAIN:
    return Result(ABSTAIN, 0.0, ABSTAIN, 0.0, 0.0, 'estimator')
  counts = votes.classifier.estimation[level]
  found = smoothing.prediction_of_counts(counts, **statistics)
  predict = int(found.prediction)
  return Result(predict, 0.0, int(level), 0.0, 0.0, 'classifier')


def _cause(estimator: bool, classifier: bool) -> str:
  if estimator and classifier:
    return 'both'
  return 'estimator' if estimator else 'classifier' if classifier else ''
