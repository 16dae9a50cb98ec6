"""Random views of images that are on the device already."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, UInt8


def shift_and_mirror(
  images: UInt8[Array, 'batch height width channels'],
  keys: Key[Array, ' batch'],
  *,
  padding: int,
) -> UInt8[Array, 'batch height width channels']:
  """Shifts each image by a few pixels, and mirrors half of them.

  With a padding of 4 this is what networks for CIFAR-10 are usually trained on:
  a random square of the image in a black frame, mirrored left to right with
  probability 1/2.

  Args:
    images: 8-bit images.
    keys: one per image.
    padding: the largest shift in each direction, in pixels.

  Returns:
    Images of the same shape.

  References:
    He et al., Deep residual learning for image recognition, 2016.
  """
  height, width, channels = images.shape[1:]
  frame = ((padding, padding), (padding, padding), (0, 0))

  def of_image(image, key):
    shift_key, mirror_key = jax.random.split(key)
    top, left = jax.random.randint(shift_key, (2,), 0, 2 * padding + 1)
    shifted = jax.lax.dynamic_slice(
      jnp.pad(image, frame), (top, left, 0), (height, width, channels)
    )
    mirrored = jax.random.bernoulli(mirror_key)
    return jnp.where(mirrored, shifted[:, ::-1], shifted)

  return jax.vmap(of_image)(images, keys)
