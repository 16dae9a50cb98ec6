"""What networks do to the pixels of a noisy image before anything else."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float


def per_channel(
  mean: Sequence[float], deviation: Sequence[float], channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """The constants of `normalised`, checked.

  Args:
    mean: What is taken from each channel.
    deviation: What each channel is then divided by.
    channels: Number of channels of an image.

  Raises:
    ValueError: If there is not one of each for every channel.
  """
  if not len(mean) == len(deviation) == channels:
    raise ValueError(
      f'mean and deviation need one entry for each of {channels} channels,'
      f' not {len(mean)} and {len(deviation)}'
    )
  return tuple(mean), tuple(deviation)


def normalised(
  images: Float[Array, 'batch height width channels'],
  mean: Sequence[float],
  deviation: Sequence[float],
) -> Float[Array, 'batch height width channels']:
  """Images in pixel units, centred and scaled channel by channel."""
  row = lambda values: jnp.asarray(values, images.dtype).reshape(1, 1, 1, -1)
  return (images - row(mean)) / row(deviation)
