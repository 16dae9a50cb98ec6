"""Networks on noisy copies of images: what training under noise starts from."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from dualrs_jax import base


def noisy_logits(
  model: base.Classifier,
  images: Float[Array, 'batch *image'],
  sigma: Float[Array, '*copies batch'],
  key: PRNGKeyArray,
  *,
  copies: int,
) -> Float[Array, 'copies batch classes']:
  """Logits of noisy copies of each image, all in one pass.

  Args:
    model: the network.
    images: in [0, 1].
    sigma: the noise level of each image, or of each copy of it.
    key: of the noise.
    copies: of each image.
  """
  shape = (copies, *images.shape)
  sigma = jnp.broadcast_to(sigma, shape[:2])
  scale = sigma.reshape(*shape[:2], *[1] * (images.ndim - 1))
  noisy = images[None] + scale * jax.random.normal(key, shape)
  # The copies of an image are neighbours: devices that share the images of a
  # batch share its copies without sending any.
  rows = jnp.swapaxes(noisy, 0, 1).reshape(-1, *images.shape[1:])
  logits = model(rows, jnp.swapaxes(sigma, 0, 1).reshape(-1))
  return jnp.swapaxes(logits.reshape(len(images), copies, -1), 0, 1)


def by_slices(
  function: Callable[..., Array],
  images: UInt8[Array, 'examples *image'],
  key: PRNGKeyArray,
  *,
  size: int,
) -> Array:
  """Applies `function(images, key)` to slice after slice, to save memory.

  Args:
    function: returns an array whose first axis is that of its images.
    images: all images.
    key: each slice has one of its own that derives from it.
    size: images per slice, at most.

  Returns:
    The results, concatenated.
  """
  examples = len(images)
  size = min(size, examples)
  count = -(-examples // size)
  # The last slice is filled up with the first images.
  filled = jnp.resize(images, (count * size, *images.shape[1:]))
  slices = filled.reshape(count, size, *images.shape[1:])
  results = jax.lax.map(
    lambda part: function(*part), (slices, jax.random.split(key, count))
  )
  return results.reshape(-1, *results.shape[2:])[:examples]
