"""Networks of the user's own, by the name of their class."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from dualrs_jax import named


def create(
  reference: str,
  *,
  num_classes: int,
  image_shape: tuple[int, int, int],
  seed: int,
  **sizes: Any,
) -> nnx.Module:
  """A network with fresh weights.

  Args:
    reference: its class, `my_package.my_module:MyNet` or
      `path/to/file.py:MyNet`: a Flax NNX module, or a function that returns
      one. It takes `num_classes`, `image_shape` and `rngs` by name, and is
      called with images and noise levels.
    num_classes: number of logits.
    image_shape: height, width and channels of an image.
    seed: of the initial weights.
    **sizes: further arguments of the class.

  Raises:
    ValueError: there is no such class, it refuses its arguments, or what it
      makes is no network.
  """
  kind = named.attribute(reference)
  if not callable(kind):
    raise ValueError(f'{reference} is no class, but {kind!r}')
  arguments = {
    'num_classes': num_classes,
    'image_shape': image_shape,
    'rngs': nnx.Rngs(seed),
    **sizes,
  }
  try:
    network = kind(**arguments)
  except Exception as error:
    raise ValueError(
      f'{reference}, given {", ".join(arguments)} by name, raised'
      f' {_told(error)}'
    ) from error
  if not isinstance(network, nnx.Module):
    raise ValueError(
      f'{reference} makes a {type(network).__name__}, which is no Flax NNX'
      ' module: derive the class from flax.nnx.Module'
    )
  return network


def check_logits(
  reference: str,
  network: nnx.Module,
  *,
  num_classes: int,
  image_shape: tuple[int, int, int],
) -> None:
  """Checks what a network returns, and computes nothing for it.

  Args:
    reference: its name.
    network: in inference mode.
    num_classes: number of logits.
    image_shape: height, width and channels of an image.

  Raises:
    ValueError: images and noise levels do not give logits.
  """
  images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
  levels = jax.ShapeDtypeStruct((2,), jnp.float32)
  try:
    logits = jax.eval_shape(
      lambda network, *noisy: network(*noisy), network, images, levels
    )
  except Exception as error:
    raise ValueError(
      f'{reference} cannot be called with images {images.shape} and a noise'
      f' level for each, as in network(images, sigma): {_told(error)}'
    ) from error
  wanted = (2, num_classes)
  shape = getattr(logits, 'shape', None)
  dtype = getattr(logits, 'dtype', object)
  if shape != wanted or not jnp.issubdtype(dtype, jnp.floating):
    found = type(logits).__name__ if shape is None else f'{dtype} {shape}'
    raise ValueError(
      f'{reference} returns {found} for 2 images, and should return'
      f' floating-point logits {wanted}'
    )


def _told(error: Exception) -> str:
  """The kind of an error, and the first line of what it says."""
  first = str(error).strip().split('\n')[0]
  return f'{type(error).__name__}: {first}'
