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
    self.dtype = dtype
    self.smallest = 2 ** (len(multipliers) - 1)
    embedding = 4 * width
    self.embedding1 = nnx.Linear(width, embedding, rngs=rngs)
    self.embedding2 = nnx.Linear(embedding, embedding, rngs=rngs)

    def residual(inputs: int, outputs: int, resample=_same) -> ResidualBlock:
      return ResidualBlock(
        inputs, outputs, embedding, scale_shift, dtype, rngs, resample
      )

    def attention(inputs: int) -> AttentionBlock:
      count = _heads(inputs, heads, head_width)
      return AttentionBlock(inputs, count, heads_first, dtype, rngs)

    x = multipliers[0] * width
    steps: list[list[Any]] = [[_convolution(channels, x, 3, jnp.float32, rngs)]]
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
          [residual(x, x, _halve)]
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
            residual(x, x, _double)
            if residual_resampling
            else Upsample(x, dtype, rngs)
          )
    self.output_blocks = _lists(steps)
    outputs = 2 * channels if learned_variance else channels
    self.norm = _norm(x, rngs)
    self.convolution = _convolution(x, outputs, 3, jnp.float32, rngs)

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


class ResidualBlock(nnx.Module):
  """Two convolutions beside a shortcut, told the timestep in between."""

  def __init__(
    self,
    inputs: int,
    outputs: int,
    embedding: int,
    scale_shift: bool,
    dtype: Any,
    rngs: nnx.Rngs,
    resample: Any,
  ):
    self.scale_shift = scale_shift
    self.resample = resample
    self.norm1 = _norm(inputs, rngs)
    self.convolution1 = _convolution(inputs, outputs, 3, dtype, rngs)
    modulation = 2 * outputs if scale_shift else outputs
    self.embedding = nnx.Linear(embedding, modulation, rngs=rngs)
    self.norm2 = _norm(outputs, rngs)
    self.convolution2 = _convolution(outputs, outputs, 3, dtype, rngs)
    self.projects = inputs != outputs
    if self.projects:
      self.shortcut = _convolution(inputs, outputs, 1, dtype, rngs)

  def __call__(
    self,
    x: Float[Array, 'batch height width inputs'],
    embedding: Float[Array, 'batch embedding'],
  ) -> Float[Array, 'batch new_height new_width outputs']:
    """The block's feature maps; `embedding` is already activated."""
    h = self.convolution1(self.resample(jax.nn.silu(self.norm1(x))))
    modulation = self.embedding(embedding)[:, None, None, :]
    if self.scale_shift:
      scale, shift = jnp.split(modulation, 2, axis=-1)
      h = self.norm2(h) * (1 + scale) + shift
    else:
      h = self.norm2(h.astype(modulation.dtype) + modulation)
    h = self.convolution2(jax.nn.silu(h))
    x = self.resample(x)
    return (self.shortcut(x) if self.projects else x) + h


class AttentionBlock(nnx.Module):
  """Attention of every pixel to every pixel, added to the input."""

  def __init__(
    self,
    width: int,
    heads: int,
    heads_first: bool,
    dtype: Any,
    rngs: nnx.Rngs,
  ):
    self.heads = heads
    self.heads_first = heads_first
    self.norm = _norm(width, rngs)
    self.projection = nnx.Linear(width, 3 * width, dtype=dtype, rngs=rngs)
    self.output = nnx.Linear(width, width, dtype=dtype, rngs=rngs)

  def __call__(
    self, x: Float[Array, 'batch height width channels']
  ) -> Float[Array, 'batch height width channels']:
    """The input plus what each pixel gathers from all of them."""
    batch, height, width, channels = x.shape
    parts = self.projection(self.norm(x).reshape(batch, -1, channels))
    split = (self.heads, 3) if self.heads_first else (3, self.heads)
    parts = parts.reshape(batch, height * width, *split, -1)
    parts = jnp.moveaxis(parts, 3 if self.heads_first else 2, 0)
    with jax.numpy_dtype_promotion('standard'):  # it promotes bfloat16 itself
      gathered = jax.nn.dot_product_attention(parts[0], parts[1], parts[2])
    return x + self.output(gathered.reshape(x.shape))


class Downsample(nnx.Module):
  """A convolution that halves the resolution."""

  def __init__(self, width: int, dtype: Any, rngs: nnx.Rngs):
    self.convolution = _convolution(width, width, 3, dtype, rngs, stride=2)

  def __call__(
    self, x: Float[Array, 'batch height width channels']
  ) -> Float[Array, 'batch half_height half_width channels']:
    """The feature maps at half the resolution."""
    return self.convolution(x)


class Upsample(nnx.Module):
  """Repeats every pixel in a square of four, then convolves."""

  def __init__(self, width: int, dtype: Any, rngs: nnx.Rngs):
    self.convolution = _convolution(width, width, 3, dtype, rngs)

  def __call__(
    self, x: Float[Array, 'batch height width channels']
  ) -> Float[Array, 'batch twice_height twice_width channels']:
    """The feature maps at twice the resolution."""
    return self.convolution(_double(x))


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


def _same(x):
  return x


def _halve(x):
  batch, height, width, channels = x.shape
  squares = (batch, height // 2, 2, width // 2, 2, channels)
  return x.reshape(squares).mean(axis=(2, 4))


def _double(x):
  return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def _sinusoids(timesteps, width):
  half = width // 2
  frequencies = np.exp(-np.log(10_000) * np.arange(half) / half)
  angles = timesteps[:, None] * frequencies.astype(np.float32)[None]
  return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def _convolution(inputs, outputs, kernel, dtype, rngs, stride=1) -> nnx.Conv:
  # Symmetric padding: 'SAME' would shift the image where the stride is 2.
  padding = kernel // 2
  return nnx.Conv(
    inputs,
    outputs,
    (kernel, kernel),
    stride,
    padding=((padding, padding), (padding, padding)),
    dtype=dtype,
    rngs=rngs,
  )


def _norm(width, rngs) -> nnx.GroupNorm:
  return nnx.GroupNorm(
    width,
    num_groups=32,
    epsilon=1e-5,
    dtype=jnp.float32,
    use_fast_variance=False,  # loses nearly constant channels
    rngs=rngs,
  )
