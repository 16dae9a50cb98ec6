"""What is asked of a classifier: its form, and the width of its logits."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dualrs_jax import host
from dualrs_jax.base import Classifier


def _images_only(model, images, sigma):
  del sigma
  return model(images)


def ignore_sigma(model: Callable[[Array], Array]) -> Classifier:
  """Makes a model of images alone a `Classifier`, which is also given sigma.

  Args:
    model: `logits = model(images)`: a callable pytree, or a plain function.

  Returns:
    A callable pytree `classifier(images, sigma)`.
  """
  return jax.tree_util.Partial(_images_only, as_pytree(model))


def as_pytree(function: Any) -> Any:
  """Lets a plain function pass where jit wants a pytree.

  A function that is made afresh for every call is compiled for every call.
  """
  if callable(function) and jax.tree_util.all_leaves([function]):
    return jax.tree_util.Partial(function)
  return function


def num_classes(
  classifier: Classifier,
  image: Float[Array | np.ndarray, '*image'],
  *,
  batch: int,
) -> int:
  """The width of the classifier's logits, found without computing them.

  A host classifier says it, and is held to it when it is called.

  Args:
    classifier: The base classifier.
    image: One image, shape [*image].
    batch: The batch in which votes are cast: a network may take no other.

  Raises:
    ValueError: If the classifier does not take images of this shape, or does
      not map a batch of them and of noise levels to real numbers in an array
      [batch, classes].
  """
  if hosts := host.parts(classifier):
    return hosts[-1].num_classes
  shape = (batch, *jnp.shape(image))
  try:
    logits = jax.eval_shape(
      as_pytree(classifier),
      jax.ShapeDtypeStruct(shape, jnp.float32),
      jax.ShapeDtypeStruct((batch,), jnp.float32),
    )
  except Exception as error:
    reason = str(error).partition('\n')[0]
    raise ValueError(
      f'The classifier fails on images of shape {shape}, a batch of {batch}'
      f' ({reason}); check the shape, and that dropout is in inference mode.'
    ) from error
  shape = getattr(logits, 'shape', None)
  if (
    shape is None
    or len(shape) != 2
    or shape[0] != batch
    or shape[1] < 1
    or jnp.issubdtype(logits.dtype, jnp.complexfloating)
  ):
    raise ValueError(
      'A classifier maps images [batch, *image] and sigma [batch] to logits'
      f' [batch, classes]; given a batch of {batch}, this one returns'
      f' {logits}.'
    )
  return shape[1]


def batch_of(
  classifier: Classifier,
  image: Float[Array | np.ndarray, '*image'],
  votes: int,
  chunk_size: int,
) -> tuple[int, int]:
  """The batch in which votes on an image are cast, and the number of classes.

  Chunks are of equal size, so that little of the last one is padding. A network
  that takes one batch alone, as exported ones do, gets `chunk_size` copies.

  Args:
    classifier: The base classifier.
    image: One image, shape [*image].
    votes: How many votes there are.
    chunk_size: The largest batch.

  Raises:
    ValueError: If the classifier takes neither batch, see `num_classes`.
  """
  equal = -(-votes // -(-votes // chunk_size))
  try:
    return equal, num_classes(classifier, image, batch=equal)
  except ValueError:
    return chunk_size, num_classes(classifier, image, batch=chunk_size)
