"""A small convolutional network that is told the noise level.

Wide strides keep it fast on a CPU: certification asks it for thousands of
votes per image. It computes each row of a batch by itself, without batch
statistics or dropout, so its votes are a function of image and sigma alone.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class CNN(nnx.Module):
  """Strided convolutions, one hidden dense layer, logits.

  After every layer but the last, the noise level scales and shifts each
  channel (Perez et al. 2018). A zero-initialised layer computes both from an
  embedding of log(sigma), so training starts from a network that is the same
  at all noise levels. The image enters centred, and divided by the standard
  deviation that image and noise have together (Karras et al. 2022).

  As an estimator of the noise level its `num_classes` is the number of levels
  and `sigma` always the estimator's own.

  Example:
    >>> from dualrs_jax import models
    >>> model = models.create(
    ...   'cnn', num_classes=10, image_shape=(32, 32, 1), seed=0
    ... )
    >>> model(jnp.zeros((4, 32, 32, 1)), jnp.full(4, 0.5)).shape
    (4, 10)

  References:
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
    channels: Sequence[int] = (32, 64),
    kernels: Sequence[int] = (7, 3),
    strides: Sequence[int] = (4, 2),
    hidden: int = 128,
    embedding: int = 32,
    image_mean: float = 0.1,
    image_deviation: float = 0.25,
  ):
    """Draws the weights.

    Args:
      num_classes: number of logits.
      image_shape: height, width and channels of an image.
      rngs: source of the initial weights.
      channels: output channels of each convolution.
      kernels: height and width of each convolution's kernel.
      strides: stride of each convolution.
      hidden: width of the dense layer.
      embedding: width of the noise level's embedding.
      image_mean: what is taken from each pixel.
      image_deviation: standard deviation of a clean image's pixels.

    Raises:
      ValueError: `channels`, `kernels` and `strides` differ in length.
    """
    if not len(channels) == len(kernels) == len(strides):
      raise ValueError(
        'channels, kernels and strides must be of one length, not '
        f'{len(channels)}, {len(kernels)} and {len(strides)}'
      )
    self.image_mean = image_mean
    self.image_deviation = image_deviation
    height, width, inputs = image_shape
    convolutions = []
    for outputs, kernel, stride in zip(channels, kernels, strides, strict=True):
      convolutions.append(
        nnx.Conv(inputs, outputs, (kernel, kernel), stride, rngs=rngs)
      )
      height, width, inputs = -(-height // stride), -(-width // stride), outputs
    self.convolutions = nnx.List(convolutions)
    self.dense = nnx.Linear(height * width * inputs, hidden, rngs=rngs)
    self.logits = nnx.Linear(hidden, num_classes, rngs=rngs)
    self.embedding = nnx.Linear(1, embedding, rngs=rngs)
    self.modulations = nnx.List(
      nnx.Linear(
        embedding,
        2 * outputs,
        kernel_init=nnx.initializers.zeros_init(),
        rngs=rngs,
      )
      for outputs in (*channels, hidden)
    )

  def __call__(
    self,
    images: Float[Array, 'batch height width channels'],
    sigma: Float[Array, ' batch'],
  ) -> Float[Array, 'batch classes']:
    """Logits of noisy images.

    Args:
      images: images in [0, 1] plus noise.
      sigma: the standard deviation of each image's noise.
    """
    *modulations, dense_modulation = self.modulations
    levels = nnx.silu(self.embedding(jnp.log(sigma)[:, None]))
    deviation = jnp.sqrt(self.image_deviation**2 + sigma**2)
    x = (images - self.image_mean) / deviation[:, None, None, None]
    for convolution, modulation in zip(
      self.convolutions, modulations, strict=True
    ):
      x = _modulated(convolution(x), modulation(levels)[:, None, None, :])
    x = self.dense(x.reshape(x.shape[0], -1))
    return self.logits(_modulated(x, dense_modulation(levels)))


def _modulated(
  x: Float[Array, 'batch *inner channels'],
  modulation: Float[Array, 'batch *ones twice_channels'],
) -> Float[Array, 'batch *inner channels']:
  """Scales and shifts each channel, then rectifies."""
  scale, shift = jnp.split(modulation, 2, axis=-1)
  return jax.nn.relu(x * (1 + scale) + shift)
