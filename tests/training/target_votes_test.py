"""Votes on training images, at each noise level."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from dualrs_jax.training import target_votes
from tests.training import networks

SIGMAS = (0.25, 0.5, 1.0)
VOTES = 50


def test_votes_follow_the_closed_form():
  """Two classes: right with probability Phi(gap / (sigma * sqrt 2))."""
  images = np.zeros((1, 4, 4, 1), np.uint8)
  images[0, 0, 1] = 102  # 0.4
  votes = 4000
  counts = target_votes.count_votes(
    networks.Brightest(2),
    jnp.asarray(images),
    jnp.ones(1, jnp.int32),
    jax.random.split(jax.random.key(0), 1),
    jnp.asarray(SIGMAS),
    votes=votes,
    chunk_size=votes,
  )
  p = stats.norm.cdf(0.4 / (np.asarray(SIGMAS) * np.sqrt(2)))
  # False alarm: 1e-6 over both sides, at each of three levels.
  low, high = stats.binom.ppf([[5e-7], [1 - 5e-7]], votes, p)
  right, wrong = np.asarray(counts[0]).T
  assert (low <= right).all()
  assert (right <= high).all()
  np.testing.assert_array_equal(right + wrong, votes)


def test_levels_see_the_same_noise():
  """The votes of a classifier that only sees the sign of the noise."""

  class Sign(networks.Brightest):
    def __call__(self, images, sigma):
      right = images.reshape(len(images), -1)[:, :1] > 0
      return jnp.concatenate([right, ~right], axis=-1).astype(jnp.float32)

  counts = target_votes.count_votes(
    Sign(2),
    jnp.zeros((5, 4, 4, 1), jnp.uint8),
    jnp.zeros(5, jnp.int32),
    jax.random.split(jax.random.key(0), 5),
    jnp.asarray(SIGMAS),
    votes=VOTES,
    chunk_size=VOTES,
  )
  assert (counts == counts[:, :1]).all()
  assert len(set(np.asarray(counts[:, 0, 0]).tolist())) > 1, (
    'images share noise'
  )


def test_a_nan_is_no_right_vote():
  class Nan(networks.Brightest):
    def __call__(self, images, sigma):
      logits = super().__call__(images, sigma)
      return logits.at[:, 0].set(jnp.where(sigma > 0.3, jnp.nan, 9.0))

  counts = target_votes.count_votes(
    Nan(3),
    jnp.zeros((2, 4, 4, 1), jnp.uint8),
    jnp.zeros(2, jnp.int32),
    jax.random.split(jax.random.key(0), 2),
    jnp.asarray(SIGMAS),
    votes=VOTES,
    chunk_size=VOTES,
  )
  np.testing.assert_array_equal(counts[..., 0], [[VOTES, 0, 0]] * 2)
  np.testing.assert_array_equal(counts[..., 1], 0)


def test_of_the_wrong_classes_the_one_with_most_votes_counts():
  """Six classes, of which chance prefers the last."""

  class Uneven(networks.Brightest):
    def __call__(self, images, sigma):
      logits = super().__call__(images, sigma)
      return logits.at[:, -1].add(sigma * 0.5)

  votes, classes, classifier = 600, 6, Uneven(6)
  options = {'votes': votes, 'chunk_size': votes}
  counted = [
    target_votes.count_votes(
      classifier,
      jnp.zeros((1, 4, 4, 1), jnp.uint8),
      jnp.full(1, label, jnp.int32),
      jax.random.split(jax.random.key(0), 1),
      jnp.asarray(SIGMAS),
      **options,
    )[0]
    for label in range(classes)
  ]
  counts = np.asarray(counted)  # of the same votes, [labels, levels, 2]
  np.testing.assert_array_equal(counts[..., 0].sum(0), votes)
  assert (counts[:-1, :, 1] == counts[-1, :, 0]).all()
  np.testing.assert_array_equal(counts[-1, :, 1], counts[:-1, :, 0].max(0))
