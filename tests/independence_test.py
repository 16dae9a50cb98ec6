"""Votes that depend on their batch companions are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dualrs_jax import independence, noise
from tests import oracles

IMAGE = oracles.image(4, 4, 1)
NETWORK = oracles.integer_network(16, 5, seed=1)
KEY = noise.image_key(jax.random.key(0), 5)


class _Network(nnx.Module):
  """A network with every layer that has two modes."""

  def __init__(self, rngs):
    self.linear = nnx.Linear(16, 8, rngs=rngs)
    self.norm = nnx.BatchNorm(8, rngs=rngs)
    self.head = nnx.Linear(8, 3, rngs=rngs)

  def __call__(self, images, sigma):
    hidden = self.linear(images.reshape(images.shape[0], -1))
    return self.head(nnx.relu(self.norm(hidden))) + 0 * sigma[:, None]


def check(classifier, chunk_size=16):
  independence.check_batch_independence(
    classifier, IMAGE, 0.5, KEY, chunk_size=chunk_size
  )


@pytest.mark.parametrize('chunk_size', [1, 16])
def test_independent_votes_pass(chunk_size):
  check(NETWORK, chunk_size)


def test_other_independent_classifiers_pass():
  network = nnx.view(
    _Network(nnx.Rngs(0)), use_running_average=True, raise_if_not_found=False
  )
  check(network)
  check(oracles.invalid_beyond(0.5))
  check(oracles.constant([0.0, -np.inf, 3.0]))
  check(oracles.constant([1e30, -1e30]))


def _position(images, sigma):
  del sigma
  return (
    NETWORK(images, images[:, 0, 0, 0])
    + jnp.arange(images.shape[0], dtype=jnp.float32)[:, None]
  )


def _neighbour(images, sigma):
  return NETWORK(jnp.roll(images, 1, axis=0), sigma)


def _one_row(images, sigma):
  """Only the last row sees the others."""
  logits = NETWORK(images, sigma)
  return logits.at[-1].add(images[:-1].mean())


@pytest.mark.parametrize(
  'bad',
  [
    _Network(nnx.Rngs(0)),
    lambda images, sigma: NETWORK(
      images - images.mean(axis=0, keepdims=True), sigma
    ),
    lambda images, sigma: NETWORK(images, sigma) / jnp.abs(images).max(),
    _position,
    _neighbour,
    _one_row,
    lambda images, sigma: jnp.where(
      images.std() > 0.65, jnp.nan, NETWORK(images, sigma)
    ),
  ],
  ids=['batch norm', 'mean', 'scale', 'place', 'neighbour', 'last', 'nan'],
)
def test_votes_that_depend_on_the_batch_are_refused(bad):
  with pytest.raises(ValueError, match='depend on their batch companions'):
    check(bad)


def test_a_copy_by_itself_depends_on_no_other():
  """Even under batch normalisation, which is then of that copy alone."""
  check(_Network(nnx.Rngs(0)), chunk_size=1)
