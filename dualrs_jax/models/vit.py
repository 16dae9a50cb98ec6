"""The vision transformer, with one learned embedding per position.

References:
  Dosovitskiy et al. (2021), An image is worth 16x16 words: transformers for
  image recognition at scale, https://arxiv.org/abs/2010.11929.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dualrs_jax.models import pixels, transformer

#: Sizes of ViT-B/16 for CIFAR-10, at 224 x 224 pixels: 85,806,346 parameters.
BASE16_CIFAR10: Mapping[str, Any] = {
  'num_classes': 10,
  'image_shape': (224, 224, 3),
  'patch': 16,
  'width': 768,
  'depth': 12,
  'heads': 12,
  'hidden': 3072,
}


class ViT(nnx.Module):
  """A vision transformer; the class token is classified.

  It is not told the noise level, and takes images of one size.

  Example:
    >>> from dualrs_jax import models
    >>> model = models.create(
    ...   'vit',
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
    qkv_bias: bool = True,
    epsilon: float = 1e-12,
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
      qkv_bias: Whether query, key and value have biases.
      epsilon: What the normalisation of a token adds to its variance.
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
    self.qkv_bias = qkv_bias
    self.patches = transformer.Patches(image_shape, patch, width, rngs)
    positions = (1, self.patches.grid**2 + 1, width)
    self.positions = nnx.Param(
      nnx.initializers.normal(0.02)(rngs.params(), positions)
    )
    self.blocks = nnx.List(
      ViTBlock(width, heads, hidden, qkv_bias, epsilon, dtype, rngs)
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
    x = self.patches(x) + self.positions[...]
    for block in self.blocks:
      x = block(x)
    return self.logits(self.norm(x[:, 0]))


class ViTBlock(nnx.Module):
  """Attention, then two layers; each is added to what it was given."""

  def __init__(
    self,
    width: int,
    heads: int,
    hidden: int,
    qkv_bias: bool,
    epsilon: float,
    dtype: Any,
    rngs: nnx.Rngs,
  ):
    self.norm1 = transformer.norm(width, epsilon, rngs)
    self.attention = transformer.Attention(
      width, heads, dtype, rngs, key_bias=qkv_bias, other_biases=qkv_bias
    )
    self.norm2 = transformer.norm(width, epsilon, rngs)
    self.layers = transformer.TwoLayers(width, hidden, dtype, rngs)

  def __call__(
    self, x: Float[Array, 'batch tokens features']
  ) -> Float[Array, 'batch tokens features']:
    """The tokens after the block."""
    x = x + self.attention(self.norm1(x))
    return x + self.layers(self.norm2(x))
