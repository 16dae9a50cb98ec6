"""Residual networks that are told the noise level.

What is fast depends on the machine: a CPU multiplies few wide feature maps
several times as fast as many narrow ones. So the image is first cut into
patches, whose size says at which resolution the network works.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dualrs_jax.models import pixels
from dualrs_jax.models.cifar_resnet import (
  CIFAR10_MEAN,
  batch_norm,
  convolution,
)


class ConditionalResNet(nnx.Module):
  """Patches, stages of residual blocks, a global average, logits.

  In each block the noise level scales and shifts every channel between the two
  convolutions (Perez et al. 2018), by a layer that starts at zero: training
  starts from a network that is the same at all levels. The image enters
  centred, and divided by the standard deviation that image and noise have
  together (Karras et al. 2022), so that all levels enter at one scale.

  With patches of 1 pixel, widths of 16, 32 and 64 and three blocks a stage it
  is the residual network of depth 20 for CIFAR (He et al. 2016), told the
  level. `widths` and `blocks` widen and deepen it.

  Example:
    >>> from dualrs_jax import models
    >>> model = models.create(
    ...   'conditional_resnet',
    ...   num_classes=10,
    ...   image_shape=(8, 8, 3),
    ...   seed=0,
    ...   widths=(8, 16),
    ...   blocks=(1, 1),
    ... )
    >>> model(jnp.zeros((4, 8, 8, 3)), jnp.full(4, 0.5)).shape
    (4, 10)

  References:
    He, Zhang, Ren and Sun 2016, Deep residual learning for image recognition,
    https://arxiv.org/abs/1512.03385.
    Perez et al. 2018, FiLM: Visual Reasoning with a General Conditioning
    Layer, https://arxiv.org/abs/1709.07871.
    Karras et al. 2022, Elucidating the Design Space of Diffusion-Based
    Generative Models, https://arxiv.org/abs/2206.00364.
  """

  def __init__(
    self,
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    rngs: nnx.Rngs,
    patch: int = 4,
    widths: Sequence[int] = (128,),
    blocks: Sequence[int] = (2,),
    embedding: int = 32,
    mean: Sequence[float] = CIFAR10_MEAN,
    deviation: float = 0.25,
    dtype: Any = jnp.float32,
  ):
    """Draws the weights.

    Args:
      num_classes: Number of logits.
      image_shape: Height, width and channels of an image.
      rngs: Source of the initial weights.
      patch: Height and width of the patches; it divides those of the image.
      widths: Channels of each stage. Every stage but the first halves the
        resolution.
      blocks: Residual blocks of each stage.
      embedding: Width of the noise level's embedding.
      mean: What is taken from each channel of the image.
      deviation: Standard deviation of a clean image's pixels.
      dtype: Of the convolutions of the blocks and what passes between them.

    Raises:
      ValueError: `widths` and `blocks` differ in length, patches do not divide
        the image, or `mean` has not one entry per channel.
    """
    height, width, channels = image_shape
    if len(widths) != len(blocks):
      raise ValueError(
        'widths and blocks must be of one length, not'
        f' {len(widths)} and {len(blocks)}'
      )
    if patch < 1 or height % patch or width % patch:
      raise ValueError(
        f'patch must divide the sides of the image, {height} and {width},'
        f' which {patch} does not'
      )
    unit = (1.0,) * channels
    self.mean, self.unit = pixels.per_channel(mean, unit, channels)
    self.deviation = deviation
    self.patch = patch
    self.dtype = jnp.dtype(dtype)
    inputs = channels * patch**2
    self.stem = convolution(inputs, widths[0], 3, 1, jnp.float32, rngs)
    self.stem_norm = batch_norm(widths[0], rngs)
    self.embedding = nnx.Linear(1, embedding, rngs=rngs)
    found, inputs = [], widths[0]
    for stage, (outputs, count) in enumerate(zip(widths, blocks, strict=True)):
      for block in range(count):
        stride = 2 if stage > 0 and block == 0 else 1
        found.append(
          ConditionalBlock(inputs, outputs, stride, embedding, self.dtype, rngs)
        )
        inputs = outputs
    self.blocks = nnx.List(found)
    self.logits = nnx.Linear(inputs, num_classes, rngs=rngs)

  def __call__(
    self,
    images: Float[Array, 'batch height width channels'],
    sigma: Float[Array, ' batch'],
  ) -> Float[Array, 'batch classes']:
    """Logits of noisy images.

    Args:
      images: Images in [0, 1] plus noise.
      sigma: The standard deviation of each image's noise.
    """
    level = nnx.silu(self.embedding(jnp.log(sigma)[:, None]))
    scale = jnp.sqrt(self.deviation**2 + sigma**2)[:, None, None, None]
    x = pixels.normalised(images, self.mean, self.unit) / scale
    x = self.stem(patches(x, self.patch))
    x = jax.nn.relu(self.stem_norm(x)).astype(self.dtype)
    for block in self.blocks:
      x = block(x, level)
    return self.logits(x.astype(jnp.float32).mean(axis=(1, 2)))


class ConditionalBlock(nnx.Module):
  """Two 3 x 3 convolutions beside a shortcut, the level between them."""

  def __init__(
    self,
    inputs: int,
    outputs: int,
    stride: int,
    embedding: int,
    dtype: Any,
    rngs: nnx.Rngs,
  ):
    self.dtype = dtype
    self.convolution1 = convolution(inputs, outputs, 3, stride, dtype, rngs)
    self.norm1 = batch_norm(outputs, rngs)
    self.modulation = nnx.Linear(
      embedding,
      2 * outputs,
      kernel_init=nnx.initializers.zeros_init(),
      rngs=rngs,
    )
    self.convolution2 = convolution(outputs, outputs, 3, 1, dtype, rngs)
    self.norm2 = batch_norm(outputs, rngs)
    self.projects = stride != 1 or inputs != outputs
    if self.projects:
      self.shortcut = convolution(inputs, outputs, 1, stride, dtype, rngs)
      self.shortcut_norm = batch_norm(outputs, rngs)

  def __call__(
    self,
    x: Float[Array, 'batch height width inputs'],
    level: Float[Array, 'batch embedding'],
  ) -> Float[Array, 'batch new_height new_width outputs']:
    """The block's feature maps, each side divided by the stride."""
    modulation = self.modulation(level)[:, None, None, :]
    scale, shift = jnp.split(modulation, 2, axis=-1)
    shortcut = self.shortcut_norm(self.shortcut(x)) if self.projects else x
    x = self.norm1(self.convolution1(x)) * (1 + scale) + shift
    x = self.norm2(self.convolution2(jax.nn.relu(x).astype(self.dtype)))
    return jax.nn.relu(x + shortcut.astype(jnp.float32)).astype(self.dtype)


def patches(
  images: Float[Array, 'batch height width channels'], side: int
) -> Float[Array, 'batch new_height new_width new_channels']:
  """The pixels of each square of an image as the channels of one position."""
  batch, height, width, channels = images.shape
  rows, columns = height // side, width // side
  x = images.reshape(batch, rows, side, columns, side, channels)
  return x.swapaxes(2, 3).reshape(batch, rows, columns, side**2 * channels)
