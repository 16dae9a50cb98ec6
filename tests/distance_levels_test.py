"""A level that follows the distance to training images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dualrs_jax as drs
from dualrs_jax import (
  Counts,
  confidence,
  distance_levels,
  smoothing,
  training_distances,
  varying,
)
from dualrs_jax.distance_levels import DistanceLevel
from tests import oracles

OPTIONS = {'n0': 100, 'n': 20_000, 'alpha': 0.001, 'chunk_size': 4_000}
PIXELS = 16


def images(number, seed=0):
  rng = np.random.default_rng(seed)
  return rng.uniform(0, 1, (number, 4, 4, 1)).astype(np.float32)


def test_the_level_is_lipschitz():
  """No faster than `rate`, for pairs near and far."""
  training, level = images(30), DistanceLevel(0.25, 0.7, 1.0, 4)
  rng = np.random.default_rng(2)
  here = images(40, seed=3)
  steps = rng.normal(size=here.shape) * rng.choice(
    [1e-2, 0.1, 0.5], (40, 1, 1, 1)
  )
  there = np.float32(here + steps)
  pairs = [
    np.array(
      training_distances.mean_distances(
        points, training, neighbours=4, chunk_size=30
      )
    )
    for points in (here, there)
  ]
  logs = [
    np.log([level.at(float(distance)) for distance in distances])
    for distances in pairs
  ]
  moved = np.linalg.norm((there - here).reshape(40, -1), axis=1)
  gaps = np.abs(logs[1] - logs[0]) - 0.7 * moved
  slack = [level.slack(float(d), 0.0, here[0].size) for d in np.maximum(*pairs)]
  assert np.all(gaps <= slack)


def test_what_rounding_does_to_levels_is_within_the_slack():
  """Two images that float32 tells apart, and next to nothing else does."""
  training, level = images(30), DistanceLevel(0.25, 0.7, 1.0, 4)
  here = images(200, seed=3)
  there = np.nextafter(here, np.float32(1))
  logs, distances = [], []
  for points in (here, there):
    distances = training_distances.mean_distances(
      points, training, neighbours=4, chunk_size=30
    )
    logs.append(np.log([level.at(float(distance)) for distance in distances]))
  moved = np.linalg.norm((there - here).reshape(200, -1), axis=1)
  gaps = np.abs(logs[1] - logs[0]) - 0.7 * moved
  slack = np.array(
    [level.slack(float(d), 0.0, here[0].size) for d in distances]
  )
  assert np.all(gaps <= slack)
  assert np.any(gaps > 0), 'without a slack the claim would be wrong'
  assert DistanceLevel(0.25, 0.0, 1.0, 4).slack(9.0, 1.0, 3072) == 0


def test_the_slack_comes_off_the_radius():
  found = distance_levels.certificate_of_counts(
    Counts(np.array([100, 0]), np.array([9_900, 100])),
    12.0,
    DistanceLevel(0.5, 0.01, 12.0, 20),
    n=10_000,
    alpha=0.001,
    pixels=3072,
  )
  z = float(confidence.lower_z(10_000, 0.001)[9_900])
  exact = varying.certified_radius(z, 0.5, rate=0.01, pixels=3072)
  assert 1e-5 * exact < exact - found.radius < 1e-2 * exact


def test_a_level_that_is_no_number_is_refused():
  for rate, distance in ((5_000.0, 9.0), (5_000.0, -9.0)):
    with pytest.raises(ValueError, match='Choose a centre'):
      DistanceLevel(0.25, rate, 0.0, 2).at(distance)


@pytest.mark.parametrize('rate', [0.0, 0.05, 0.5])
def test_half_space(rate):
  """Its true radius is known at every level: at rate 0 we are close."""
  direction = np.full(PIXELS, PIXELS**-0.5)
  image = jnp.full((4, 4, 1), 0.4)
  offset = 0.4 * PIXELS**0.5 + 0.3
  level = DistanceLevel(base=0.25, rate=rate, centre=0.0, neighbours=2)
  training = np.full((3, 4, 4, 1), 0.5, np.float32)
  key = drs.image_key(jax.random.key(0), 0)
  answer = distance_levels.certify_distance_level(
    oracles.half_space(direction, offset),
    image,
    training,
    level,
    key,
    **OPTIONS,
  )
  assert answer.prediction == 0
  assert answer.distance == pytest.approx(0.4)
  assert answer.sigma == pytest.approx(0.25 * np.exp(0.4 * rate))
  assert 0.1 < answer.radius < 0.3
  if not rate:
    plain = drs.certify(
      oracles.half_space(direction, offset), image, 0.25, key, **OPTIONS
    )
    assert answer.radius == pytest.approx(float(plain.radius), rel=1e-5)


def test_invalid_votes_and_abstention():
  level = DistanceLevel(base=0.25, rate=0.1, centre=0.0, neighbours=1)
  counts = drs.Counts(np.array([90, 0]), np.array([520, 0]))
  options = {'n': 1_000, 'alpha': 0.001, 'pixels': PIXELS}
  found = distance_levels.certificate_of_counts(counts, 1.0, level, **options)
  assert (found.prediction, found.radius) == (drs.ABSTAIN, 0.0)
  more = counts._replace(estimation=np.array([800, 0]))
  found = distance_levels.certificate_of_counts(more, 1.0, level, **options)
  alone = smoothing.certificate_of_counts(
    more, found.sigma, n=1_000, alpha=0.001
  )
  assert found.prediction == 0
  assert 0 < found.radius < alone.radius
  assert varying.certified_radius(9.0, 0.25, rate=1.0, pixels=3) > 0


def test_refusals():
  level = DistanceLevel(base=0.25, rate=0.1, centre=0.0, neighbours=5)
  with pytest.raises(ValueError, match='fewer than the 5 nearest'):
    distance_levels.certify_distance_level(
      oracles.constant([1.0, 0.0]), images(1)[0], images(4), level,
      jax.random.key(0), **OPTIONS,
    )  # fmt: skip
  with pytest.raises(ValueError, match='are compared with images of shape'):
    training_distances.mean_distances(
      images(2), images(9)[:, :2], neighbours=1, chunk_size=4
    )
  for changes in ({'base': 0.0}, {'rate': -0.1}, {'neighbours': 0}):
    with pytest.raises(ValueError, match=next(iter(changes))):
      DistanceLevel(**({
        'base': 0.25, 'rate': 0.1, 'centre': 0.0, 'neighbours': 1
      } | changes))  # fmt: skip
