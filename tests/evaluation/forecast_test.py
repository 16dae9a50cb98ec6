"""Forecasts of certificates: from few votes, on images of their own."""

import numpy as np
import pytest

from dualrs_jax import confidence, majorities, smoothing
from dualrs_jax.base import Counts
from dualrs_jax.evaluation import forecast, forecast_runner_up, run_plans
from dualrs_jax.evaluation.forecast import Forecast, Votes

SIGMAS = (0.25, 0.5, 1.0)
N0, N, ALPHA = 100, 10_000, 0.001
RADII = (0.0, 0.2, 0.4, 0.6, 0.75, 1.0, 1.4)
STATISTICS = {'n': N, 'alpha': ALPHA}


class World:
  """Images whose vote probabilities are known, at levels that cross."""

  def __init__(self, images=1_000, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    self.labels = rng.integers(0, classes, images)
    self.classifier = np.empty((images, len(SIGMAS), classes))
    for level, (a, b) in enumerate(((4, 0.3), (2, 0.4), (1.3, 0.9))):
      sure = rng.beta(a, b, images)
      rest = rng.dirichlet(np.full(classes - 1, 0.5), images)
      shares = np.insert(rest * (1 - sure)[:, None], 0, sure, -1)
      for image, label in enumerate(self.labels):
        self.classifier[image, level] = np.roll(shares[image], label)
    self.estimator = rng.dirichlet((0.3, 1.0, 0.1), images)
    self.rng = rng

  def votes(self, number):
    draw = self.rng.multinomial
    return Votes(
      self.labels,
      number,
      draw(number, self.estimator),
      draw(number, self.classifier),
    )

  def counts(self):
    draw = self.rng.multinomial
    return (
      Counts(*(draw(m, self.estimator) for m in (N0, N))),
      Counts(*(draw(m, self.classifier) for m in (N0, N))),
    )


@pytest.fixture(scope='module')
def world():
  return World()


@pytest.fixture(scope='module')
def found(world):
  forecasts = forecast.forecasts(
    world.votes(200), SIGMAS, 0.5, n0=N0, **STATISTICS
  )
  return {one.name: one for one in forecasts}


def certified(world):
  """What certifications of all images give, each by its own function."""
  estimator, classifier = world.counts()
  levels = np.array(SIGMAS)
  yield from (
    (
      f'single-{sigma:g}',
      smoothing.certificate_of_counts(
        Counts(*(split[:, level] for split in classifier)), sigma, **STATISTICS
      ),
    )
    for level, sigma in enumerate(SIGMAS)
  )
  for name, of in (('cascade', [0, 1, 2]), ('cascade-0.25-0.5', [0, 1])):
    yield (
      name,
      majorities.certificate_of_counts(
        Counts(*(split[:, of] for split in classifier)),
        levels[of],
        n0=N0,
        **STATISTICS,
      ),
    )
  for rule in run_plans.RULES.values():
    yield (
      f'dual-{rule.name}',
      rule(estimator, classifier, levels, 0.5, n0=N0, **STATISTICS),
    )


def test_every_certificate_is_forecast_under_its_own_name(found):
  singles = [f'single-{sigma:g}' for sigma in SIGMAS]
  pairs = ['cascade-0.25-0.5', 'cascade-0.25-1', 'cascade-0.5-1']
  rules = ('agreement', 'fallback', 'minimum', 'paper')
  duals = [f'dual-{rule}' for rule in rules]
  assert sorted(found) == sorted([*singles, *pairs, 'cascade', *duals])


def test_forecasts_are_near_what_is_certified(world, found):
  """200 votes say to a few points what 10,000 will certify."""
  for name, certificate in certified(world):
    right = certificate.prediction == world.labels
    reached = right & (certificate.radius >= np.array(RADII)[:, None])
    expected = forecast.reached(found[name].radius, RADII).mean(0)
    np.testing.assert_allclose(expected, reached.mean(1), atol=0.045)


def test_adaptive_certification_bounds_the_runner_up(world, found):
  votes = world.votes(200)
  adaptive = forecast.forecasts(
    votes, SIGMAS, 0.5, n0=N0, **STATISTICS, runner_up=True
  )
  fixed = forecast.forecasts(votes, SIGMAS, 0.5, n0=N0, **STATISTICS)
  gained = {
    one.name: (one.radius - other.radius).mean()
    for one, other in zip(adaptive, fixed, strict=True)
  }
  for name, gain in gained.items():
    assert gain > 0, name
  # Of a cascade it is at the smallest level alone.
  assert gained['cascade'] < gained['single-0.25']
  for level, (sigma, one) in enumerate(zip(SIGMAS, adaptive, strict=False)):
    _, classifier = world.counts()
    here = Counts(*(split[:, level] for split in classifier))
    actual = forecast_runner_up.single(here, sigma, **STATISTICS)
    right = actual.prediction == world.labels
    reached = right & (actual.radius >= np.array(RADII)[:, None])
    expected = forecast.reached(one.radius, RADII).mean(0)
    np.testing.assert_allclose(expected, reached.mean(1), atol=0.045)


def test_unanimous_votes_are_no_certainty(world, found):
  """At the end of a level's range, where 200 votes look like certainty."""
  true = (
    world.classifier[np.arange(1_000), 0, world.labels]
    >= 1 - 3 / N  # what 0.78 takes
  ).mean()
  votes = world.votes(200).classifier[:, 0]
  unanimous = (votes[np.arange(1_000), world.labels] == 200).mean()
  expected = forecast.reached(found['single-0.25'].radius, (0.78,)).mean()
  assert unanimous > true + 0.05
  assert expected < true + 0.03


def test_the_votes_to_come_are_drawn_around_those_that_were_cast(world):
  rng = np.random.default_rng(0)
  votes = world.votes(1_000)
  counts = votes.classifier[:, 1]
  drawn = forecast.draw(counts, 1_000, n0=N0, n=N, rng=rng)
  assert drawn.selection.shape == drawn.estimation.shape
  assert (drawn.selection.sum(-1) == N0).all()
  assert (drawn.estimation.sum(-1) == N).all()
  shares = drawn.estimation.mean(0) / N
  np.testing.assert_allclose(shares, counts / 1_000, atol=0.05)
  assert drawn.estimation.std(0).mean() > 10


def test_invalid_votes_stay_invalid():
  rng = np.random.default_rng(0)
  counts = np.tile([100, 0, 0], (50, 1))  # of 200
  drawn = forecast.draw(counts, 200, n0=N0, n=N, rng=rng)
  assert np.mean(drawn.estimation.sum(-1)) == pytest.approx(N / 2, rel=0.05)
  votes = Votes(np.zeros(50, int), 200, None, counts[:, None].repeat(2, 1))
  one, *_ = forecast.forecasts(votes, (0.25, 0.5), 0.5, n0=N0, **STATISTICS)
  # Half of them oppose the class: nearly all images abstain.
  assert (one.radius > 0.05).mean() < 0.1


def test_a_single_class_is_certain():
  counts = np.full((5, 1), 30)
  rng = np.random.default_rng(0)
  drawn = forecast.draw(counts, 30, n0=10, n=20, rng=rng)
  assert (drawn.estimation.sum(-1) <= 20).all()


def test_without_an_estimator_there_is_no_dual(world):
  alone = world.votes(50)._replace(estimator=None)
  found = forecast.forecasts(alone, SIGMAS, 0.5, n0=N0, **STATISTICS)
  assert not any(one.name.startswith('dual') for one in found)


def test_of_many_levels_only_pairs_and_all_are_cascades():
  assert len(list(forecast._cascades(4))) == 6 + 4 + 1
  assert len(list(forecast._cascades(5))) == 10 + 1
  assert not list(forecast._cascades(1))


def test_options_ask_for_what_is_forecast(found):
  assert found['cascade-0.5-1'].options == {
    'smoothing': 'cascade',
    'levels': (0.5, 1.0),
  }
  assert found['cascade'].options['levels'] == ()
  assert found['single-0.5'].options['levels'] == (0.5,)
  assert found['dual-paper'].options['certificate'] == 'paper'


SINGLE = {'smoothing': 'single'}
NEAR = Forecast('near', SINGLE, np.array([[0.6, 0.6, 0.6, 0.0]]))
FAR = Forecast('far', SINGLE, np.array([[1.2, 0.0, 1.2, 0.0]]))
BOTH = Forecast('both', {}, np.maximum(NEAR.radius, FAR.radius))
SOME = (0.0, 0.5, 1.0, 9.0)  # nothing reaches the last one


def test_mean_ratios():
  found = forecast.mean_ratios([NEAR, FAR, BOTH], SOME)
  np.testing.assert_allclose(found, [2 / 3, (2 / 3 + 2 / 3 + 1) / 3, 1.0])
  nothing = NEAR._replace(radius=np.zeros((1, 4)))
  assert np.isnan(forecast.mean_ratios([nothing], SOME)).all()


def test_how_far_the_best_is_ahead():
  lead = forecast.lead([NEAR, FAR, BOTH], SOME)
  assert lead.best == 2
  assert lead.ahead == pytest.approx(1 - (2 / 3 + 2 / 3 + 1) / 3)
  assert 0.02 < lead.error < 0.3
  alone = forecast.lead([NEAR, FAR], SOME)
  assert (alone.best, alone.ahead, alone.error) == (1, 0.0, 0.0)


def test_several_drawn_certifications_are_averaged():
  twice = Forecast('twice', {}, np.array([[0.0, 0.7], [0.6, 0.7]]))
  reached = forecast.reached(twice.radius, (0.0, 0.65))
  assert reached.tolist() == [[0.5, 0.0], [1.0, 1.0]]


def test_bounds_are_those_of_the_votes_to_come(world):
  votes = world.votes(100)
  few = forecast.forecasts(votes, SIGMAS, 0.5, n0=N0, n=100, alpha=ALPHA)
  largest = 0.25 * confidence.lower_z(100, ALPHA)[100]
  assert few[0].radius.max() <= largest
  lax = forecast.forecasts(votes, SIGMAS, 0.5, n0=N0, n=100, alpha=0.1)
  assert lax[0].radius.mean() > few[0].radius.mean()
