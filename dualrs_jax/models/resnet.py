"""The residual networks for ImageNet, with bottlenecks.

References:
  He, Zhang, Ren and Sun (2016), Deep residual learning for image recognition,
  https://arxiv.org/abs/1512.03385, as torchvision has them since version 1.5:
  the 3 x 3 convolution of a bottleneck has the stride. Normalisation of the
  image is inside, after the noise, as in Cohen, Rosenfeld and Kolter (2019),
  https://github.com/locuslab/smoothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dualrs_jax.models import pixels
from dualrs_jax.models.cifar_resnet import batch_norm, convolution

#: Mean and standard deviation of the ImageNet training images, per channel.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
#: The standard deviation of the same images.
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)

#: Sizes of ResNet-50 for ImageNet: 25,557,032 parameters.
RESNET50: Mapping[str, Any] = {
  'num_classes': 1000,
  'image_shape': (224, 224, 3),
  'stages': (3, 4, 6, 3),
  'width': 64,
}

#: Channels that a bottleneck puts out, for each that it has inside.
EXPANSION = 4


class ResNet(nnx.Module):
  """A residual network of bottlenecks, at 1/4 to 1/32 of the resolution.

  A stem with a stride and a maximum, four stages of which all but the first
  halve the resolution, a global average and a linear layer. It is not told
  the noise level, and takes images of any size.

  Example:
    >>> from dualrs_jax import models
    >>> model = models.create(
    ...   'resnet',
    ...   num_classes=10,
    ...   image_shape=(32, 32, 3),
    ...   seed=0,
    ...   stages=(1, 1),
    ...   width=4,
    ... )
    >>> model(jnp.zeros((4, 32, 32, 3)), jnp.full(4, 0.5)).shape
    (4, 10)
  """

  def __init__(
    self,
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    rngs: nnx.Rngs,
    stages: Sequence[int] = RESNET50['stages'],
    width: int = RESNET50['width'],
    mean: Sequence[float] = IMAGENET_MEAN,
    deviation: Sequence[float] = IMAGENET_DEVIATION,
    dtype: Any = jnp.float32,
  ):
    """Draws the weights.

    Args:
      num_classes: Number of logits.
      image_shape: Height, width and channels of an image.
      rngs: Source of the initial weights.
      stages: Number of blocks of each stage.
      width: Channels of the stem, and inside the first stage; each stage has
        twice as many as the one before it.
      mean: What is taken from each channel of the image.
      deviation: What each channel is then divided by.
      dtype: Of the convolutions and what passes between blocks: bfloat16 for
        speed. The stem's convolution, normalisation and logits are float32 in
        any case.

    Raises:
      ValueError: If mean and deviation do not have one entry per channel.
    """
    channels = image_shape[-1]
    self.mean, self.deviation = pixels.per_channel(mean, deviation, channels)
    self.dtype = jnp.dtype(dtype)
    self.stem = convolution(channels, width, 7, 2, jnp.float32, rngs)
    self.stem_norm = batch_norm(width, rngs)
    blocks, inputs = [], width
    for stage, count in enumerate(stages):
      inside = width * 2**stage
      for block in range(count):
        stride = 2 if stage > 0 and block == 0 else 1
        blocks.append(
          Bottleneck(inputs, inside, stride, block == 0, self.dtype, rngs)
        )
        inputs = EXPANSION * inside
    self.stages = tuple(stages)
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
    x = _pool(x)
    for block in self.blocks:
      x = block(x)
    return self.logits(x.astype(jnp.float32).mean(axis=(1, 2)))


class Bottleneck(nnx.Module):
  """A 3 x 3 convolution between two of 1 x 1, beside a shortcut."""

  def __init__(
    self,
    inputs: int,
    inside: int,
    stride: int,
    projects: bool,
    dtype: Any,
    rngs: nnx.Rngs,
  ):
    outputs = EXPANSION * inside
    self.dtype = dtype
    self.projects = projects
    self.convolution1 = convolution(inputs, inside, 1, 1, dtype, rngs)
    self.norm1 = batch_norm(inside, rngs)
    self.convolution2 = convolution(inside, inside, 3, stride, dtype, rngs)
    self.norm2 = batch_norm(inside, rngs)
    self.convolution3 = convolution(inside, outputs, 1, 1, dtype, rngs)
    self.norm3 = batch_norm(outputs, rngs)
    if projects:
      self.shortcut = convolution(inputs, outputs, 1, stride, dtype, rngs)
      self.shortcut_norm = batch_norm(outputs, rngs)

  def __call__(
    self, x: Float[Array, 'batch height width inputs']
  ) -> Float[Array, 'batch new_height new_width outputs']:
    """The block's feature maps, each side divided by the stride."""
    shortcut = self.shortcut_norm(self.shortcut(x)) if self.projects else x
    x = jax.nn.relu(self.norm1(self.convolution1(x)))
    x = jax.nn.relu(self.norm2(self.convolution2(x)))
    x = self.norm3(self.convolution3(x)) + shortcut.astype(jnp.float32)
    return jax.nn.relu(x).astype(self.dtype)


def _pool(x):
  """The maximum of 3 x 3 at every second pixel, padded on both sides."""
  return jax.lax.reduce_window(
    x,
    -jnp.inf,
    jax.lax.max,
    (1, 3, 3, 1),
    (1, 2, 2, 1),
    ((0, 0), (1, 1), (1, 1), (0, 0)),
  )
