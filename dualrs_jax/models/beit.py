"""BEiT: a vision transformer that sees relative positions in every block.

References:
  Bao, Dong, Piao and Wei (2022), BEiT: BERT pre-training of image
  transformers, https://arxiv.org/abs/2106.08254.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from dualrs_jax.models import pixels, transformer

#: Sizes of BEiT-L/16 for ImageNet at 512 x 512 pixels: 305,674,728 parameters.
LARGE16_IMAGENET: Mapping[str, Any] = {
  'num_classes': 1000,
  'image_shape': (512, 512, 3),
  'patch': 16,
  'width': 1024,
  'depth': 24,
  'heads': 16,
  'hidden': 4096,
}


class BEiT(nnx.Module):
  """A vision transformer; the mean of the patches is classified.

  Instead of positions, each block has a table of how much a token attends to
  another, by head and by the step from one to the other, and a scale for each
  channel that it adds. It is not told the noise level, and takes images of
  one size.

  Example:
    >>> from dualrs_jax import models
    >>> model = models.create(
    ...   'beit',
    ...   num_classes=10,
    ...   image_shape=(8, 8, 3),
    ...   seed=0,
    ...   patch=4,
    ...   width=16,
    ...   depth=1,
    ...   heads=2,
    ...   hidden=32,
    ... )
    >>> model(jnp.zeros((4, 8, 8, 3)), jnp.full(4, 0.5)).shape
    (4, 10)
  """

  def __init__(
    self,
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    patch: int,
    width: int,
    depth: int,
    heads: int,
    hidden: int,
    rngs: nnx.Rngs,
    epsilon: float = 1e-6,
    mean: Sequence[float] = (0.5, 0.5, 0.5),
    deviation: Sequence[float] = (0.5, 0.5, 0.5),
    dtype: Any = jnp.float32,
  ):
    """Draws the weights.

    Args:
      num_classes: Number of logits.
      image_shape: Height, width and channels of an image.
      patch: Side of a patch in pixels.
      width: Width of a token.
      depth: Number of blocks.
      heads: Number of attention heads.
      hidden: Width of the hidden layer of a block.
      rngs: Source of the initial weights.
      epsilon: What the normalisation of a token adds to its variance; the
        original code has 1e-6, Hugging Face 1e-12.
      mean: What is taken from each channel of the image.
      deviation: What each channel is then divided by.
      dtype: Of the matrix products inside the blocks: bfloat16 for speed.
        Everything else is float32 in any case.

    Raises:
      ValueError: If the image is not a square of whole patches, the width
        does not divide into heads, or mean and deviation do not have one
        entry per channel.
    """
    self.mean, self.deviation = pixels.per_channel(
      mean, deviation, image_shape[-1]
    )
    dtype = jnp.dtype(dtype)
    self.patches = transformer.Patches(image_shape, patch, width, rngs)
    steps = number_of_steps(self.patches.grid)
    self.blocks = nnx.List(
      BEiTBlock(width, heads, hidden, steps, epsilon, dtype, rngs)
      for _ in range(depth)
    )
    self.norm = transformer.norm(width, epsilon, rngs)
    self.logits = nnx.Linear(width, num_classes, rngs=rngs)

  def __call__(
    self,
    images: Float[Array, 'batch height width channels'],
    sigma: Float[Array, ' batch'],
  ) -> Float[Array, 'batch classes']:
    """Logits of noisy images.

    Args:
      images: Images in [0, 1] plus noise.
      sigma: Not used.
    """
    del sigma
    x = pixels.normalised(images, self.mean, self.deviation)
    x = self.patches(x)
    steps = jnp.asarray(steps_between_tokens(self.patches.grid))
    for block in self.blocks:
      x = block(x, steps)
    return self.logits(self.norm(x[:, 1:].mean(axis=1)))


class BEiTBlock(nnx.Module):
  """Attention, then two layers; each is scaled and added to its input."""

  def __init__(
    self,
    width: int,
    heads: int,
    hidden: int,
    steps: int,
    epsilon: float,
    dtype: Any,
    rngs: nnx.Rngs,
  ):
    self.norm1 = transformer.norm(width, epsilon, rngs)
    self.attention = transformer.Attention(
      width, heads, dtype, rngs, key_bias=False
    )
    self.table = nnx.Param(jnp.zeros((steps, heads)))
    self.scale1 = nnx.Param(jnp.full(width, 0.1))
    self.norm2 = transformer.norm(width, epsilon, rngs)
    self.layers = transformer.TwoLayers(width, hidden, dtype, rngs)
    self.scale2 = nnx.Param(jnp.full(width, 0.1))

  def __call__(
    self,
    x: Float[Array, 'batch tokens features'],
    steps: Int[Array, 'tokens tokens'],
  ) -> Float[Array, 'batch tokens features']:
    """The tokens after the block.

    Args:
      x: The tokens.
      steps: `steps_between_tokens` of them.
    """
    bias = self.table[...].T[:, steps][None]
    x = x + self.scale1[...][None, None] * self.attention(self.norm1(x), bias)
    return x + self.scale2[...][None, None] * self.layers(self.norm2(x))


def number_of_steps(grid: int) -> int:
  """How many different steps there are on a square grid of patches.

  Args:
    grid: Patches on a side.
  """
  return (2 * grid - 1) ** 2 + 3


def steps_between_tokens(grid: int) -> Int[np.ndarray, 'tokens tokens']:
  """Which step leads from one token to another, as a row of the table.

  Args:
    grid: Patches on a side.

  Returns:
    At [i, j] the step by which token i attends to token j; token 0 is the
    class token. The last three steps are from the class to a patch, from a
    patch to the class, and from the class to itself.
  """
  rows, columns = np.divmod(np.arange(grid**2), grid)
  down = rows[:, None] - rows[None] + grid - 1
  right = columns[:, None] - columns[None] + grid - 1
  last = number_of_steps(grid) - 1
  steps = np.full((grid**2 + 1, grid**2 + 1), last - 2, np.int32)
  steps[:, 0] = last - 1
  steps[0, 0] = last
  steps[1:, 1:] = down * (2 * grid - 1) + right
  return steps
