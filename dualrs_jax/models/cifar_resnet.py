"""The CIFAR residual networks that randomized smoothing is usually run with.

References:
  He, Zhang, Ren and Sun (2016), Deep residual learning for image recognition,
  https://arxiv.org/abs/1512.03385. The variant of Cohen, Rosenfeld and Kolter
  (2019), https://github.com/locuslab/smoothing: projection shortcuts, and the
  normalisation of the image inside the network, after the noise.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dualrs_jax.models import pixels

#: Mean and standard deviation of the CIFAR-10 training images, per channel.
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
#: The standard deviation of the same images.
CIFAR10_DEVIATION = (0.2023, 0.1994, 0.2010)

#: Sizes of ResNet-110 for CIFAR-10: 1,730,714 parameters.
RESNET110: Mapping[str, Any] = {
  'num_classes': 10,
  'image_shape': (32, 32, 3),
  'depth': 110,
}


class CIFARResNet(nnx.Module):
  """A residual network of depth 6 n + 2, for images of 32 x 32 pixels.

  A stem, three stages of n basic blocks at full, half and quarter resolution,
  a global average and a linear layer. It is not told the noise level.

  Example:
    >>> from dualrs_jax import models
    >>> model = models.create(
    ...   'cifar_resnet', num_classes=10, image_shape=(8, 8, 3), seed=0, depth=8
    ... )
    >>> model(jnp.zeros((4, 8, 8, 3)), jnp.full(4, 0.5)).shape
    (4, 10)
  """

  def __init__(
    self,
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    rngs: nnx.Rngs,
    depth: int = 110,
    widths: Sequence[int] = (16, 32, 64),
    mean: Sequence[float] = CIFAR10_MEAN,
    deviation: Sequence[float] = CIFAR10_DEVIATION,
    dtype: Any = jnp.float32,
  ):
    """Draws the weights.

    Args:
      num_classes: Number of logits.
      image_shape: Height, width and channels of an image.
      rngs: Source of the initial weights.
      depth: Number of weight layers, 6 n + 2.
      widths: Channels of the stages.
      mean: What is taken from each channel of the image.
      deviation: What each channel is then divided by.
      dtype: Of the convolutions and what passes between blocks: bfloat16 for
        speed. The stem's convolution, normalisation and logits are float32 in
        any case.

    Raises:
      ValueError: If depth is not 6 n + 2, or mean and deviation do not have
        one entry per channel.
    """
    if depth < 8 or depth % 6 != 2:
      raise ValueError(f'depth must be 6 n + 2, such as 20 or 110, not {depth}')
    channels = image_shape[-1]
    self.mean, self.deviation = pixels.per_channel(mean, deviation, channels)
    self.depth = depth
    self.dtype = jnp.dtype(dtype)
    self.stem = convolution(channels, widths[0], 3, 1, jnp.float32, rngs)
    self.stem_norm = batch_norm(widths[0], rngs)
    blocks, inputs = [], widths[0]
    for stage, width in enumerate(widths):
      for block in range((depth - 2) // 6):
        stride = 2 if stage > 0 and block == 0 else 1
        blocks.append(BasicBlock(inputs, width, stride, self.dtype, rngs))
        inputs = width
    self.blocks = nnx.List(blocks)
    self.logits = nnx.Linear(inputs, num_classes, rngs=rngs)

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
    x = self.stem(pixels.normalised(images, self.mean, self.deviation))
    x = jax.nn.relu(self.stem_norm(x)).astype(self.dtype)
    for block in self.blocks:
      x = block(x)
    return self.logits(x.astype(jnp.float32).mean(axis=(1, 2)))


class BasicBlock(nnx.Module):
  """Two 3 x 3 convolutions beside a shortcut."""

  def __init__(
    self, inputs: int, outputs: int, stride: int, dtype: Any, rngs: nnx.Rngs
  ):
    self.dtype = dtype
    self.convolution1 = convolution(inputs, outputs, 3, stride, dtype, rngs)
    self.norm1 = batch_norm(outputs, rngs)
    self.convolution2 = convolution(outputs, outputs, 3, 1, dtype, rngs)
    self.norm2 = batch_norm(outputs, rngs)
    self.projects = stride != 1 or inputs != outputs
    if self.projects:
      self.shortcut = convolution(inputs, outputs, 1, stride, dtype, rngs)
      self.shortcut_norm = batch_norm(outputs, rngs)

  def __call__(
    self, x: Float[Array, 'batch height width inputs']
  ) -> Float[Array, 'batch new_height new_width outputs']:
    """The block's feature maps, each side divided by the stride."""
    shortcut = self.shortcut_norm(self.shortcut(x)) if self.projects else x
    x = jax.nn.relu(self.norm1(self.convolution1(x)))
    x = self.norm2(self.convolution2(x)) + shortcut.astype(jnp.float32)
    return jax.nn.relu(x).astype(self.dtype)


def convolution(
  inputs: int,
  outputs: int,
  kernel: int,
  stride: int,
  dtype: Any,
  rngs: nnx.Rngs,
) -> nnx.Conv:
  """A convolution of a residual network, without bias.

  Padding is symmetric: 'SAME' would shift the image where the stride is 2.
  """
  padding = kernel // 2
  return nnx.Conv(
    inputs,
    outputs,
    (kernel, kernel),
    stride,
    padding=((padding, padding), (padding, padding)),
    use_bias=False,
    kernel_init=nnx.initializers.variance_scaling(2.0, 'fan_out', 'normal'),
    dtype=dtype,
    rngs=rngs,
  )


def batch_norm(width: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
  """Normalisation in float32, with the constants of PyTorch."""
  return nnx.BatchNorm(
    width, momentum=0.9, epsilon=1e-5, dtype=jnp.float32, rngs=rngs
  )
