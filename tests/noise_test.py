"""The noise of vote j is a function of (key, split, j), and it is Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dualrs_jax import noise, voting
from tests import oracles

SHAPE = (4, 4, 1)


jitted = jax.jit(voting.noisy_copies)


def copies(key, splits, votes, sigma=0.5, image=None, draw=jitted):
  image = jnp.zeros(SHAPE) if image is None else image
  return np.asarray(
    draw(
      image,
      jnp.float32(sigma),
      key,
      jnp.asarray(splits, jnp.int32),
      jnp.asarray(votes, jnp.int32),
    )
  )


def test_noise_of_a_vote_is_its_own():
  key = noise.image_key(jax.random.key(0), 3)
  expected = jax.random.normal(
    jax.random.fold_in(jax.random.fold_in(key, noise.ESTIMATION), 7), SHAPE
  )
  drawn = copies(key, [noise.ESTIMATION], [7], sigma=1.0)[0]
  np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize('chunk', [1, 7, 98])
def test_noise_is_identical_for_any_chunk(chunk):
  key = jax.random.key(1)
  image = oracles.image(*SHAPE)
  votes = np.arange(98)
  splits = np.where(votes < 20, noise.SELECTION, noise.ESTIMATION)
  whole = copies(key, splits, votes, image=image)
  order = np.random.default_rng(0).permutation(98)
  for first in range(0, 98, chunk):
    some = order[first : first + chunk]
    np.testing.assert_array_equal(
      copies(key, splits[some], votes[some], image=image), whole[some]
    )


def test_jit_draws_the_same_noise():
  """The same draws; a fused product and sum may round the copy otherwise."""
  arguments = jax.random.key(2), [noise.ESTIMATION] * 98, np.arange(98)
  np.testing.assert_array_equal(
    copies(*arguments, sigma=1.0),
    copies(*arguments, sigma=1.0, draw=voting.noisy_copies),
  )
  image = oracles.image(*SHAPE)
  np.testing.assert_allclose(
    copies(*arguments, sigma=0.37, image=image),
    copies(*arguments, sigma=0.37, image=image, draw=voting.noisy_copies),
    rtol=0,
    atol=1e-6,
  )


def test_levels_share_the_standard_noise():
  key, votes = jax.random.key(3), np.arange(98)
  splits = np.zeros(98)
  np.testing.assert_array_equal(
    copies(key, splits, votes, sigma=0.5),
    2 * copies(key, splits, votes, sigma=0.25),
  )


def test_splits_images_and_seeds_differ():
  votes = np.arange(98)
  drawn = [
    copies(noise.image_key(jax.random.key(seed), index), [split] * 98, votes)
    for seed in (0, 1)
    for index in (0, 1)
    for split in (noise.SELECTION, noise.ESTIMATION)
  ]
  samples = np.stack(drawn).reshape(-1, np.prod(SHAPE))
  assert np.unique(samples, axis=0).shape == samples.shape
  # No vote of one sample is correlated with the same vote of another.
  table = np.corrcoef(np.stack(drawn).reshape(len(drawn), -1))
  assert np.abs(table - np.eye(len(drawn))).max() < 5 / np.sqrt(98 * 16)


def test_noise_is_standard_normal():
  """Power: a scale wrong by 1% moves the statistic by 7 of its deviations."""
  draws = copies(jax.random.key(4), [1] * 16_000, np.arange(16_000), sigma=2.0)
  standard = draws.reshape(-1).astype(np.float64) / 2
  size = standard.size
  assert abs(standard.mean()) < 5 / np.sqrt(size)
  deviation = np.sqrt(2 / size)
  assert abs((standard**2).mean() - 1) < 5 * deviation
  assert 2 * 0.01 > 7 * deviation
  assert stats.kstest(standard[:20_000], 'norm').pvalue > oracles.FALSE_ALARM
  pixels = draws.reshape(-1, np.prod(SHAPE))
  table = np.corrcoef(pixels.T) - np.eye(pixels.shape[1])
  assert np.abs(table).max() < 5.5 / np.sqrt(len(pixels))


def test_noise_keeps_the_type_of_the_image():
  assert (
    noise.gaussian(
      jax.random.key(0), jnp.zeros(3, jnp.float32), jnp.float32(1)
    ).dtype
    == jnp.float32
  )
