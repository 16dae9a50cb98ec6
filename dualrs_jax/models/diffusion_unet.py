"""The UNet of OpenAI's diffusion models: noisy image and timestep to noise.

One module covers the improved-diffusion family (CIFAR-10) and the
guided-diffusion family (ImageNet). They differ in how they change resolution
and in how attention heads are counted.

References:
  Nichol and Dhariwal (2021), Improved denoising diffusion probabilistic
  models, https://arxiv.org/abs/2102.09672.
  Dhariwal and Nichol (2021), Diffusion models beat GANs on image synthesis,
  https://arxiv.org/abs/2105.05233.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from dualrs_jax.models.diffusion_blocks import (
  AttentionBlock,
  Downsample,
  ResidualBlock,
  Upsample,
  convolution,
  double,
  halve,
  norm,
  same,
)

#: Sizes of cifar10_uncond_50M_500K: 52,546,438 parameters, 32 x 32 pixels.
CIFAR10: Mapping[str, Any] = {
  'width': 128,
  'multipliers': (1, 2, 2, 2),
  'blocks': 3,
  'attention_factors': (2, 4),
  'heads': 4,
}

#: Sizes of 256x256_diffusion_uncond: 552,814,086 parameters. Its images have
#: sides that are multiples of 32; denoised smoothing gives it 224 x 224.
IMAGENET256: Mapping[str, Any] = {
  'width': 256,
  'multipliers': (1, 1, 2, 2, 4, 4),
  'blocks': 2,
  'attention_factors': (8, 16, 32),
  'head_width': 64,
  'residual_resampling': True,
}


class DiffusionUNet(nnx.Module):
  """Predicts the noise in an image that a diffusion process has reached.

  It is not a classifier: `denoising.Denoiser` makes it remove noise of a
  given sigma. A row of the result depends on its own image and timestep only.
  Blocks are numbered as in the published code, so `input_blocks`,
  `middle_block` and `output_blocks` correspond to the published weights one
  by one.

  Example:
    >>> def noise():
    ...   model = DiffusionUNet(
    ...     width=32,
    ...     multipliers=(1, 2),
    ...     blocks=1,
    ...     attention_factors=(2,),
    ...     heads=4,
    ...     rngs=nnx.Rngs(0),
    ...   )
    ...   return model(jnp.zeros((4, 8, 8, 3)), jnp.full(4, 289.5))
    >>> nnx.eval_shape(noise).shape
    (4, 8, 8, 6)
  """

  def __init__(
    self,
    *,
    width: int,
    multipliers: Sequence[int],
    blocks: int,
    attention_factors: Sequence[int],
    rngs: nnx.Rngs,
    heads: int | None = None,
    head_width: int | None = None,
    channels: int = 3,
    learned_variance: bool = True,
    scale_shift: bool = True,
    residual_resampling: bool = False,
    heads_first: bool = True,
    dtype: Any = jnp.float32,
  ):
    """Draws the weights.

    Args:
      width: Channels at full resolution, and width of the sinusoids.
      multipliers: Channels of each level in units of `width`; every level has
        half the resolution of the one before it.
      blocks: Residual blocks per level on the way down; one more on the way up.
      attention_factors: How many times smaller than the image a level with
        attention is.
      rngs: Source of the initial weights.
      heads: Number of attention heads; exactly one of this and
        `head_width` is given.
      head_width: Channels per attention head.
      channels: Channels of an image.
      learned_variance: Whether the output has a second set of channels.
      scale_shift: Whether the timestep scales and shifts the second
        normalisation of a block, or is added before it.
      residual_resampling: Whether levels are joined by residual blocks that
        resample, as in guided-diffusion, or by convolutions.
      heads_first: The order of the attention's projection: channels are split
        into heads and then into query, key and value, or the reverse.
      dtype: Of the activations: bfloat16 for speed. Parameters,
        normalisation, softmax, the timestep's embedding, and the first and
        last convolution are float32 in any case.

    Raises:
      ValueError: If not one of heads and head_width is given, or a width does
        not divide into 32 groups or into heads.
    """
    self.width = width
    self.dtype = dtype = jnp.dtype(dtype)
    self.smallest = 2 ** (len(multipliers) - 1)
    embedding = 4 * width
    self.embedding1 = nnx.Linear(width, embedding, rngs=rngs)
    self.embedding2 = nnx.Linear(embedding, embedding, rngs=rngs)

    def residual(inputs: int, outputs: int, resample=same) -> ResidualBlock:
      return ResidualBlock(
        inputs, outputs, embedding, scale_shift, dtype, rngs, resample
      )

    def attention(inputs: int) -> AttentionBlock:
      count = _heads(inputs, heads, head_width)
      return AttentionBlock(inputs, count, heads_first, dtype, rngs)

    x = multipliers[0] * width
    steps: list[list[Any]] = [[convolution(channels, x, 3, jnp.float32, rngs)]]
    skips, factor = [x], 1
    for level, multiplier in enumerate(multipliers):
      for _ in range(blocks):
        steps.append([residual(x, multiplier * width)])
        x = multiplier * width
        if factor in attention_factors:
          steps[-1].append(attention(x))
        skips.append(x)
      if level < len(multipliers) - 1:
        factor *= 2
        steps.append(
          [residual(x, x, halve)]
          if residual_resampling
          else [Downsample(x, dtype, rngs)]
        )
        skips.append(x)
    self.input_blocks = _lists(steps)
    self.middle_block = nnx.List([residual(x, x), attention(x), residual(x, x)])
    steps = []
    for level, multiplier in reversed(list(enumerate(multipliers))):
      for block in range(blocks + 1):
        steps.append([residual(x + skips.pop(), multiplier * width)])
        x = multiplier * width
        if factor in attention_factors:
          steps[-1].append(attention(x))
        if level > 0 and block == blocks:
          factor //= 2
          steps[-1].append(
            residual(x, x, double)
            if residual_resampling
            else Upsample(x, dtype, rngs)
          )
    self.output_blocks = _lists(steps)
    outputs = 2 * channels if learned_variance else channels
    self.norm = norm(x, rngs)
    self.convolution = convolution(x, outputs, 3, jnp.float32, rngs)

  def __call__(
    self,
    images: Float[Array, 'batch height width channels'],
    timesteps: Float[Array, ' batch'],
  ) -> Float[Array, 'batch height width outputs']:
    """The predicted standard normal noise, then the variance if learned.

    Args:
      images: Diffused images x_t; a clean one lies in [-1, 1].
      timesteps: The position of each in the process, from 0 to 1000; it may
        be fractional.

    Raises:
      ValueError: If a side cannot be halved as often as there are levels.
    """
    height, width = images.shape[1:3]
    if height % self.smallest or width % self.smallest:
      raise ValueError(
        f'the sides of an image must be multiples of {self.smallest}, not'
        f' {height} and {width}'
      )
    embedding = self.embedding1(_sinusoids(timesteps, self.width))
    # Every block begins with the same activation of the embedding.
    embedding = jax.nn.silu(self.embedding2(jax.nn.silu(embedding)))
    x, skips = images.astype(jnp.float32), []
    for steps in self.input_blocks:
      x = _through(steps, x, embedding).astype(self.dtype)
      skips.append(x)
    x = _through(self.middle_block, x, embedding)
    for steps in self.output_blocks:
      x = _through(steps, jnp.concatenate([x, skips.pop()], -1), embedding)
    return self.convolution(jax.nn.silu(self.norm(x)))


def _through(steps, x, embedding):
  for step in steps:
    told = isinstance(step, ResidualBlock)
    x = step(x, embedding) if told else step(x)
  return x


def _lists(steps: list[list[Any]]):
  return nnx.List([nnx.List(step) for step in steps])


def _heads(width: int, heads: int | None, head_width: int | None) -> int:
  if heads is not None and head_width is None:
    if width % heads:
      raise ValueError(f'{width} channels do not divide into {heads} heads')
    return heads
  if head_width is not None and heads is None:
    if width % head_width:
      raise ValueError(
        f'{width} channels do not divide into heads of width {head_width}'
      )
    return width // head_width
  raise ValueError(
    f'give one of heads and head_width, not {heads} and {head_width}'
  )


def _sinusoids(timesteps, width):
  half = width // 2
  frequencies = np.exp(-np.log(10_000) * np.arange(half) / half)
  angles = timesteps[:, None] * frequencies.astype(np.float32)[None]
  return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
