"""Cascades under a quorum, forecast from votes that are made up."""

import numpy as np
from ml_collections import ConfigDict

from benchmarks import quorums
from dualrs_jax.evaluation import forecast

RADII = (0.0, 0.25, 0.5, 0.75)
CONFIG = ConfigDict(
  {
    'sigmas': (0.25, 0.5),
    'certify': {'n0': 20, 'n': 500, 'alpha': 0.001, 'radii': RADII},
  }
)


def made_up():
  """The larger level is often sure of a wrong class."""
  rng = np.random.default_rng(5)
  labels = rng.integers(0, 3, 60)
  counts = np.zeros((60, 2, 3), int)
  for image, label in enumerate(labels):
    other = (label + 1) % 3
    right = rng.uniform(0.7, 1.0), rng.uniform(0.35, 0.95)
    for level, share in enumerate(right):
      wins = rng.binomial(100, share)
      counts[image, level, label] = wins
      counts[image, level, other] = 100 - wins
  return forecast.Votes(labels, 100, None, counts)


def test_a_half_is_the_forecast_of_the_cascade_and_more_gives_small_radii():
  votes = made_up()
  levels, cascades = quorums.shares(CONFIG, votes, (0.5, 0.6, 0.9))
  known = {
    one.name: forecast.reached(one.radius, RADII).mean(0)
    for one in forecast.forecasts(
      votes, (0.25, 0.5), 1.0, n0=20, n=500, alpha=0.001
    )
  }
  np.testing.assert_allclose(cascades[0], known['cascade'], atol=1e-12)
  np.testing.assert_allclose(levels[0], known['single-0.25'], atol=1e-12)
  assert cascades[1][0] > cascades[0][0] + 0.02
  assert cascades[2][2] < cascades[0][2] - 0.02


def test_table():
  text = quorums.markdown(CONFIG, made_up(), (0.5, 0.6))
  lines = [line for line in text.splitlines() if line.startswith('|')]
  assert len(lines) == 2 + 2 + 2
  assert len({line.count('|') for line in lines}) == 1
  assert '60 validation images, 100 votes' in text
