"""The blocks of the diffusion UNets of OpenAI, and changes of resolution.

Activations between blocks have the block's `dtype`; normalisation, softmax and
what the timestep does to a block are float32 whatever it is.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


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
    self.norm1 = norm(inputs, rngs)
    self.convolution1 = convolution(inputs, outputs, 3, dtype, rngs)
    modulation = 2 * outputs if scale_shift else outputs
    self.embedding = nnx.Linear(embedding, modulation, rngs=rngs)
    self.norm2 = norm(outputs, rngs)
    self.convolution2 = convolution(outputs, outputs, 3, dtype, rngs)
    self.projects = inputs != outputs
    if self.projects:
      self.shortcut = convolution(inputs, outputs, 1, dtype, rngs)

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
    self.norm = norm(width, rngs)
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
    self.convolution = convolution(width, width, 3, dtype, rngs, stride=2)

  def __call__(
    self, x: Float[Array, 'batch height width channels']
  ) -> Float[Array, 'batch half_height half_width channels']:
    """The feature maps at half the resolution."""
    return self.convolution(x)


class Upsample(nnx.Module):
  """Repeats every pixel in a square of four, then convolves."""

  def __init__(self, width: int, dtype: Any, rngs: nnx.Rngs):
    self.convolution = convolution(width, width, 3, dtype, rngs)

  def __call__(
    self, x: Float[Array, 'batch height width channels']
  ) -> Float[Array, 'batch twice_height twice_width channels']:
    """The feature maps at twice the resolution."""
    return self.convolution(double(x))


def same(x: Float[Array, '...']) -> Float[Array, '...']:
  """The feature maps at the resolution they have."""
  return x


def halve(
  x: Float[Array, 'batch height width channels'],
) -> Float[Array, 'batch half_height half_width channels']:
  """The means of squares of four pixels."""
  batch, height, width, channels = x.shape
  squares = (batch, height // 2, 2, width // 2, 2, channels)
  return x.reshape(squares).mean(axis=(2, 4))


def double(
  x: Float[Array, 'batch height width channels'],
) -> Float[Array, 'batch twice_height twice_width channels']:
  """Every pixel in a square of four."""
  return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def convolution(
  inputs: int,
  outputs: int,
  kernel: int,
  dtype: Any,
  rngs: nnx.Rngs,
  stride: int = 1,
) -> nnx.Conv:
  """A convolution whose kernel is centred on each pixel."""
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


def norm(width: int, rngs: nnx.Rngs) -> nnx.GroupNorm:
  """Normalisation of an image in 32 groups of channels, in float32."""
  return nnx.GroupNorm(
    width,
    num_groups=32,
    epsilon=1e-5,
    dtype=jnp.float32,
    use_fast_variance=False,  # loses nearly constant channels
    rngs=rngs,
  )
