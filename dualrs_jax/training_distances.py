"""The mean distance of images to their nearest training images."""

from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from dualrs_jax import compilers


def mean_distances(
  images: Float[Array | np.ndarray, 'images *image'],
  training: Float[Array | np.ndarray, 'training ...'],
  *,
  neighbours: int,
  chunk_size: int,
) -> Float[np.ndarray, ' images']:
  """The mean l2 distance of images to their nearest training images.

  Differences are squared as they are: the expanded form would cancel.

  Args:
    images: Some images.
    training: The training images.
    neighbours: Of how many nearest ones.
    chunk_size: How many of these are compared at a time.

  Raises:
    ValueError: If there are fewer of them than neighbours, or their shape is
      another one.
  """
  number = len(training)
  if number < neighbours:
    raise ValueError(
      f'There are {number} training images, fewer than the {neighbours}'
      ' nearest ones that are asked for.'
    )
  if np.shape(training)[1:] != np.shape(images)[1:]:
    raise ValueError(
      f'Training images of shape {np.shape(training)[1:]} are compared with'
      f' images of shape {np.shape(images)[1:]}.'
    )
  starts = range(0, number, chunk_size)
  chunks = (training[start : start + chunk_size] for start in starts)
  return mean_distances_to(images, chunks, neighbours=neighbours)


def mean_distances_to(
  images: Float[Array | np.ndarray, 'images *image'],
  chunks: Iterable[Float[Array | np.ndarray, 'chunk ...']],
  *,
  neighbours: int,
) -> Float[np.ndarray, ' images']:
  """The same for training images that are not all in memory.

  Args:
    images: Some images.
    chunks: The training images, at least as many as neighbours in all, some at
      a time: as many as the first time, and fewer at the end.
    neighbours: Of how many nearest ones.
  """
  queries = jnp.asarray(images, jnp.float32).reshape(len(images), -1)
  best = jnp.full((len(images), neighbours), jnp.inf, jnp.float32)
  size = 0
  for chunk in chunks:
    rows = np.asarray(chunk, np.float32).reshape(len(chunk), -1)
    size = size or len(rows)
    padded = np.pad(rows, ((0, size - len(rows)), (0, 0)))
    best = _nearest(best, queries, padded, jnp.int32(len(rows)))
  return np.asarray(jnp.sqrt(best).mean(axis=1))


@compilers.jit
def _nearest(best, queries, rows, number):
  """The least squares, [images, neighbours], after further training images."""
  real = jnp.arange(len(rows)) < number

  def merge(query):
    nearest, image = query
    squares = jnp.sum((rows - image[None]) ** 2, axis=1)
    both = jnp.concatenate([nearest, jnp.where(real, squares, jnp.inf)])
    return -lax.top_k(-both, len(nearest))[0]

  return lax.map(merge, (best, queries))
