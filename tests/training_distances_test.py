"""Distances to the nearest training images."""

import numpy as np
import pytest

from dualrs_jax import training_distances


def images(number, seed=0):
  rng = np.random.default_rng(seed)
  return rng.uniform(0, 1, (number, 4, 4, 1)).astype(np.float32)


@pytest.mark.parametrize('chunk_size', [1, 7, 64])
def test_distances(chunk_size):
  training, queries = images(50), images(5, seed=1)
  queries[0] = 0  # padding would be the nearest
  found = training_distances.mean_distances(
    queries, training, neighbours=3, chunk_size=chunk_size
  )
  exact = np.linalg.norm(
    (queries[:, None] - training[None]).reshape(5, 50, -1).astype(float),
    axis=-1,
  )
  expected = np.sort(exact, axis=1)[:, :3].mean(axis=1)
  np.testing.assert_allclose(found, expected, rtol=1e-6)
