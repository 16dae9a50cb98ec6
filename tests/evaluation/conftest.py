"""A tiny data set, and networks whose logits are exact.

The networks round their input and sum integers, which float32 does exactly in
any order: their votes are the same on any number of devices and in any chunk.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualrs_jax.data import Source

SHAPE = (4, 4, 1)
CLASSES = 3
SIGMAS = [0.25, 0.5, 1.0]


SETTINGS = {
  'task': 'certify',
  'smoothing': 'dual',
  'certificate': 'agreement',
  'sigmas': SIGMAS,
  'estimator_sigma': 0.5,
  'n0': 20,
  'n': 100,
  'alpha': 0.01,
  'noise': 'gaussian',
  'noise_alpha': 0.0,
  'goal': None,
  'radii': [],
  'num_classes': CLASSES,
}

#: Six of the rows of a Hadamard matrix: three patterns for the classes, three
#: for the noise levels.
PATTERNS = np.array(
  [
    [(-1) ** bin(row & column).count('1') for column in range(16)]
    for row in range(1, 7)
  ],
  np.float32,
)


def integer_network(weights, images, sigma):
  """Integer logits: rounded pixels times integer weights."""
  del sigma
  pixels = jnp.round(images.reshape(images.shape[0], -1) * 16)
  return pixels @ weights


def network(patterns):
  """Votes for the pattern that it finds in an image."""
  return jax.tree_util.Partial(integer_network, jnp.asarray(patterns.T))


def make_source(examples):
  """Images that show a class and a noise level more or less clearly."""
  rng = np.random.default_rng(3)
  labels = rng.integers(0, CLASSES, examples)
  levels = rng.integers(0, len(SIGMAS), examples)
  clear = rng.uniform(0, 0.25, (2, examples, 1))
  pixels = 0.5 + clear[0] * PATTERNS[labels] + clear[1] * PATTERNS[3 + levels]
  return Source(
    images=np.rint(pixels * 255).astype(np.uint8).reshape(-1, *SHAPE),
    labels=np.where(np.arange(examples) % 6, labels, 0).astype(np.int32),
    indices=np.arange(100, 100 + examples),
    num_classes=CLASSES,
  )


@pytest.fixture(scope='session')
def classifier():
  return network(PATTERNS[:3])


@pytest.fixture(scope='session')
def estimator():
  return network(PATTERNS[3:])


@pytest.fixture(scope='session')
def source_of():
  return make_source


@pytest.fixture(scope='session')
def source():
  return make_source(12)


@pytest.fixture
def settings():
  """Statistics of a run; tests change what they are about."""
  return dict(SETTINGS)
