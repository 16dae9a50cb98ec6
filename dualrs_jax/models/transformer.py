"""The parts that vision transformers share: patches, attention, two layers.

Activations between blocks, normalisation, softmax and the patches are float32
whatever `dtype` is; it is the type of the matrix products of the blocks.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class Patches(nnx.Module):
  """Cuts images into patches, one token each, behind a token of the class."""

  def __init__(
    self,
    image_shape: tuple[int, int, int],
    patch: int,
    width: int,
    rngs: nnx.Rngs,
  ):
    """Draws the weights.

    Args:
      image_shape: Height, width and channels of an image.
      patch: Side of a patch in pixels.
      width: Width of a token.
      rngs: Source of the initial weights.

    Raises:
      ValueError: If the image is not square, or not a whole number of patches.
    """
    height, side, channels = image_shape
    if height != side or height % patch:
      raise ValueError(
        f'images must be square, with sides that are multiples of {patch}, not'
        f' {height} x {side}'
      )
    self.image_shape = tuple(image_shape)
    self.grid = height // patch
    self.projection = nnx.Conv(
      channels, width, (patch, patch), patch, padding='VALID', rngs=rngs
    )
    initial = nnx.initializers.normal(0.02)(rngs.params(), (1, 1, width))
    self.class_token = nnx.Param(initial)

  def __call__(
    self, images: Float[Array, 'batch height width channels']
  ) -> Float[Array, 'batch tokens features']:
    """The class token, then the patches row by row.

    Raises:
      ValueError: If the images are of another size than the network's.
    """
    if images.shape[1:] != self.image_shape:
      raise ValueError(
        f'images must have shape {self.image_shape}, not {images.shape[1:]}'
      )
    x = self.projection(images)
    x = x.reshape(x.shape[0], -1, x.shape[-1])
    first = jnp.broadcast_to(self.class_token[...], (x.shape[0], 1, x.shape[2]))
    return jnp.concatenate([first, x], axis=1)


class Attention(nnx.Module):
  """Every token gathers from all tokens, in several heads."""

  def __init__(
    self,
    width: int,
    heads: int,
    dtype: Any,
    rngs: nnx.Rngs,
    *,
    key_bias: bool = True,
    other_biases: bool = True,
  ):
    if width % heads:
      raise ValueError(f'a width of {width} does not divide into {heads} heads')
    self.heads = heads
    linear = lambda bias: nnx.Linear(
      width, width, use_bias=bias, dtype=dtype, rngs=rngs
    )
    self.query = linear(other_biases)
    self.key = linear(key_bias)
    self.value = linear(other_biases)
    self.output = linear(True)

  def __call__(
    self,
    x: Float[Array, 'batch tokens features'],
    bias: Float[Array, '1 heads tokens tokens'] | None = None,
  ) -> Float[Array, 'batch tokens features']:
    """What each token gathers; `bias` is added to the scaled products."""
    split = lambda y: y.reshape(*y.shape[:-1], self.heads, -1)
    with jax.numpy_dtype_promotion('standard'):  # it promotes bfloat16 itself
      gathered = jax.nn.dot_product_attention(
        split(self.query(x)), split(self.key(x)), split(self.value(x)), bias
      )
    return self.output(gathered.reshape(x.shape)).astype(jnp.float32)


class TwoLayers(nnx.Module):
  """A hidden layer with the exact GELU, token by token."""

  def __init__(self, width: int, hidden: int, dtype: Any, rngs: nnx.Rngs):
    self.hidden = nnx.Linear(width, hidden, dtype=dtype, rngs=rngs)
    self.output = nnx.Linear(hidden, width, dtype=dtype, rngs=rngs)

  def __call__(
    self, x: Float[Array, 'batch tokens features']
  ) -> Float[Array, 'batch tokens features']:
    """The tokens after both layers."""
    x = jax.nn.gelu(self.hidden(x), approximate=False)
    return self.output(x).astype(jnp.float32)


def norm(width: int, epsilon: float, rngs: nnx.Rngs) -> nnx.LayerNorm:
  """Normalisation of each token, in float32."""
  return nnx.LayerNorm(
    width,
    epsilon=epsilon,
    dtype=jnp.float32,
    use_fast_variance=False,  # loses nearly constant tokens
    rngs=rngs,
  )
