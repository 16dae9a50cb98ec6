"""Bounds of the runner-up, against SciPy and against adaptive certification."""

import numpy as np
import pytest
from scipy import stats

import dualrs_jax as drs
from dualrs_jax import look_bounds
from dualrs_jax.base import Cast, Counts
from dualrs_jax.evaluation import forecast_runner_up

N, ALPHA = 1_000, 0.001
SIGMAS = np.array([0.25, 0.5])


def z(wins, share):
  """The lower Clopper-Pearson bound at a share of alpha, as a z-score."""
  return stats.norm.ppf(stats.beta.ppf(share * ALPHA, wins, N - wins + 1))


def test_half_the_distance_to_the_runner_up():
  votes = np.array(
    [[450, 200, 190, 160], [450, 200, 190, 60], [900, 100, 0, 0]]
  )
  found = forecast_runner_up.half_distance(
    votes, np.array([0, 0, 0]), n=N, alpha=ALPHA
  )
  share = look_bounds.RUNNER_UP_SHARE
  expected = [
    (z(450, 1 - share) + z(800, share)) / 2,  # no majority, yet a radius
    (z(450, 1 - share) + z(700, share)) / 2,  # it has the invalid votes
    z(900, 1 - share),  # of two classes the own bound is the larger one
  ]
  assert expected[0] > 0 > z(450, 1)
  np.testing.assert_allclose(found, expected, rtol=1e-6)


class Table:
  """Bounds of votes that were looked at once."""

  def __init__(self, share):
    self.share = share

  def lower_z(self, cast, wins):
    return z(np.asarray(wins), self.share)

  def upper_z(self, cast, wins):
    return -z(cast - np.asarray(wins), self.share)


def counts(*estimation):
  votes = np.array(estimation)
  return Counts(votes, votes)


def test_it_is_what_adaptive_certification_composes():
  """Of votes that were all cast, where looks take nothing from alpha."""
  classifier = counts([450, 200, 190, 160], [500, 180, 170, 150])
  estimator = counts(100, 900)
  found = forecast_runner_up.dual(
    drs.agreement, estimator, classifier, SIGMAS, 1.0, n0=N, n=N, alpha=ALPHA
  )

  def classified(share):
    return look_bounds.tables(Table, share, falls_back=False)

  class Plan:
    sigmas = tuple(SIGMAS)
    selected = classified(drs.agreement.selected)
    agrees = classified(drs.agreement.agrees)
    keeps = Table(drs.agreement.keeps)
    avoids = Table(drs.agreement.avoids)

  label, selected, agrees = look_bounds.of_levels(
    estimator, classifier, Cast(np.array([N, N]), np.array([N, N])), Plan
  )
  keeps, avoids = look_bounds.of_estimator(estimator.estimation, N, 1, Plan)
  away = max(keeps, (keeps + avoids[0]) / 2, agrees[0])
  assert found.prediction == label == 0
  assert found.radius == pytest.approx(min(selected, away), rel=1e-5)


#: At level 0 class 0 is ahead without a majority, at level 1 nobody is.
FELL_BACK = counts([[450, 200, 190, 160], [340, 330, 330, 0]])


def test_a_cascade_bounds_the_runner_up_at_its_smallest_level():
  bounds = look_bounds.of_majorities(
    FELL_BACK.estimation[0],
    np.array([N, N]),
    0,
    SIGMAS,
    look_bounds.tables(Table, 1.0, falls_back=True),
  )
  expected = min(SIGMAS[0] * bounds.wins[0, 0], SIGMAS[1] * z(670, 1.0))
  assert 0.25 * z(450, 1) < 0 < expected
  found = forecast_runner_up.cascade(FELL_BACK, SIGMAS, n0=N, n=N, alpha=ALPHA)
  assert found.prediction.tolist() == [0]
  assert found.radius[0] == pytest.approx(expected, rel=1e-6)
  # A dual that falls back from level 1 for all is that cascade.
  dual = forecast_runner_up.dual(
    drs.fallback,
    counts([0, N]),
    FELL_BACK,
    SIGMAS,
    1.0,
    n0=N,
    n=N,
    alpha=ALPHA,
  )
  assert dual.prediction.tolist() == [0]
  assert dual.radius[0] == pytest.approx(expected, rel=1e-6)
  # Bounds at the smallest level have a share of alpha, where it agrees only.
  doubtful = forecast_runner_up.dual(
    drs.fallback,
    counts([450, 550]),
    FELL_BACK,
    SIGMAS,
    1.0,
    n0=N,
    n=N,
    alpha=ALPHA,
  )
  assert 0 < doubtful.radius[0] < found.radius[0]


def test_one_level_for_all_is_plain_smoothing_of_it():
  votes = np.array([[450, 200, 190, 160], [300, 300, 300, 100]])
  classifier = Counts(np.stack([votes, votes], 1), np.stack([votes, votes], 1))
  estimator = counts([0, N], [0, N])
  single = forecast_runner_up.single(
    Counts(votes, votes), 0.5, n=N, alpha=ALPHA
  )
  assert single.prediction.tolist() == [0, -1]
  assert single.radius[0] > 0 == single.radius[1]
  for rule in (drs.minimum, drs.agreement):
    found = forecast_runner_up.dual(
      rule, estimator, classifier, SIGMAS, 1.0, n0=N, n=N, alpha=ALPHA
    )
    np.testing.assert_array_equal(found.prediction, single.prediction)
    np.testing.assert_allclose(found.radius, single.radius, rtol=1e-6)
