"""Forecasts of certificates: from few votes, on images of their own."""

import numpy as np
import pytest

from dualrs_jax import composition, confidence, majorities, smoothing
from dualrs_jax.base import Counts
from dualrs_jax.evaluation import forecast
from dualrs_jax.evaluation.forecast import Forecast, Votes

SIGMAS = (0.25, 0.5, 1.0)
N, ALPHA = 1_000, 0.001


def votes(seed=0, images=40, classes=4):
  """Images whose labels most votes name, the fewer the larger the level."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, classes, images)
  found = np.zeros((images, len(SIGMAS), classes), int)
  for image, label in enumerate(labels):
    for level, share in enumerate((0.95, 0.8, 0.55)):
      chances = np.full(classes, (1 - share) / (classes - 1))
      chances[label] = share
      chances = rng.dirichlet(8 * chances)
      found[image, level] = rng.multinomial(500, chances)
  estimator = rng.multinomial(500, [0.1, 0.8, 0.1], size=images)
  return Votes(labels, estimator, found)


@pytest.fixture(scope='module')
def cast():
  return votes()


@pytest.fixture(scope='module')
def found(cast):
  forecasts = forecast.forecasts(cast, SIGMAS, 0.5, n=N, alpha=ALPHA)
  return {one.name: one for one in forecasts}


def test_every_certificate_is_forecast_under_its_own_name(found):
  singles = [f'single-{sigma:g}' for sigma in SIGMAS]
  pairs = ['cascade-0.25-0.5', 'cascade-0.25-1', 'cascade-0.5-1']
  duals = ['dual-agreement', 'dual-minimum', 'dual-paper']
  assert sorted(found) == sorted([*singles, *pairs, 'cascade', *duals])


def as_certified(cast):
  """The votes of a certification in which shares are what was seen."""
  scale = N // 500
  return (
    Counts(cast.estimator, scale * cast.estimator),
    Counts(cast.classifier, scale * cast.classifier),
  )


def test_forecasts_are_what_those_votes_would_certify(cast, found, monkeypatch):
  monkeypatch.setattr(forecast, '_SHRINKAGE', 0.0)
  exact = {
    one.name: one.radius
    for one in forecast.forecasts(cast, SIGMAS, 0.5, n=N, alpha=ALPHA)
  }
  estimator, classifier = as_certified(cast)
  for level, sigma in enumerate(SIGMAS):
    plain = smoothing.certificate_of_counts(
      Counts(*(split[:, level] for split in classifier)),
      sigma,
      n=N,
      alpha=ALPHA,
    )
    right = plain.prediction == cast.labels
    radius = exact[f'single-{sigma:g}']
    np.testing.assert_allclose(radius[right], plain.radius[right], rtol=1e-6)
    assert (radius[~right] <= 0).all()
  for rule in (composition.paper, composition.minimum, composition.agreement):
    dual = rule(estimator, classifier, np.array(SIGMAS), 0.5, n=N, alpha=ALPHA)
    right = dual.prediction == cast.labels
    assert right.any()
    radius = exact[f'dual-{rule.name}']
    np.testing.assert_allclose(radius[right], dual.radius[right], rtol=1e-6)
    assert (radius[~right] <= 0).all()
  for one in found.values():  # a doubt takes a little
    there = exact[one.name] > 0
    assert (one.radius[there] <= exact[one.name][there] + 1e-9).mean() > 0.9


def test_a_cascade_is_forecast_near_its_certificate(cast, found):
  _, classifier = as_certified(cast)
  certified = majorities.certificate_of_counts(
    classifier, np.array(SIGMAS), n0=500, n=N, alpha=ALPHA
  )
  right = certified.prediction == cast.labels
  forecast_right = found['cascade'].radius > 0
  assert (right == forecast_right).mean() > 0.9
  both = right & forecast_right
  near = np.abs(found['cascade'].radius - certified.radius)[both] < 0.1
  assert near.mean() > 0.9


def test_a_cascade_does_not_profit_from_choosing_among_its_own_votes():
  """Classes are even: whatever is chosen has no majority."""
  counts = np.random.default_rng(1).multinomial(60, [0.5, 0.5], size=(400, 3))
  even = Votes(np.zeros(400, int), None, counts)
  found = forecast.forecasts(even, SIGMAS, 0.5, n=100, alpha=0.5)
  [every] = [one for one in found if one.name == 'cascade']
  best = forecast.singles(found).max(0)
  assert (every.radius > 0).mean() < 0.8 * (best > 0).mean()


def test_without_an_estimator_there_is_no_dual(cast):
  alone = cast._replace(estimator=None)
  found = forecast.forecasts(alone, SIGMAS, 0.5, n=N, alpha=ALPHA)
  assert not any(one.name.startswith('dual') for one in found)


def test_options_ask_for_what_is_forecast(found):
  assert found['cascade-0.5-1'].options == {
    'smoothing': 'cascade',
    'levels': (0.5, 1.0),
  }
  assert found['cascade'].options['levels'] == ()
  assert found['single-0.5'].options['levels'] == (0.5,)
  assert found['dual-paper'].options['certificate'] == 'paper'


def test_mean_ratios_and_what_is_ahead():
  levels = np.array([[0.6, 0.6, 0.6, -np.inf], [1.2, -np.inf, 1.2, -np.inf]])
  radii = (0.0, 0.5, 1.0, 9.0)  # no level reaches the last one
  one = Forecast('one', {}, levels[0])
  both = Forecast('both', {}, levels.max(0))
  assert forecast.mean_ratio(one, levels, radii) == pytest.approx(2 / 3)
  assert forecast.mean_ratio(both, levels, radii) == pytest.approx(1.0)
  by, error = forecast.ahead(both, levels, radii)
  assert by == pytest.approx(1 - (2 / 3 + 2 / 3 + 1) / 3)
  assert 0 < error < 0.3
  constant = Forecast('constant', {}, levels[1])
  assert forecast.ahead(constant, levels, radii).difference == pytest.approx(0)
  nothing = forecast.ahead(one, np.full((2, 4), -np.inf), radii)
  assert np.isnan(nothing.difference)


def test_a_radius_of_zero_is_an_abstention():
  radius = np.array([0.0, -1.0, 0.3])
  assert forecast.reached(radius, (0.0, 0.3)).tolist() == [
    [False, False],
    [False, False],
    [True, True],
  ]


def test_bounds_are_those_of_the_votes_to_come(cast):
  few = forecast.forecasts(cast, SIGMAS, 0.5, n=100, alpha=ALPHA)
  many = forecast.forecasts(cast, SIGMAS, 0.5, n=10_000, alpha=ALPHA)
  for less, more in zip(few, many, strict=True):
    if less.name.startswith('single'):
      assert (less.radius <= more.radius).all()
  largest = 0.25 * confidence.lower_z(100, ALPHA)[100]
  assert few[0].radius.max() <= largest
