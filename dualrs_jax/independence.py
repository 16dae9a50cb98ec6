"""Whether a vote is that of its copy alone, whatever else is in the batch."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dualrs_jax import classifiers, compilers, validation, voting
from dualrs_jax import noise as noise_lib
from dualrs_jax.base import Classifier


def check_batch_independence(
  classifier: Classifier,
  image: Float[Array | np.ndarray, '*image'],
  sigma: Float[Array | np.ndarray, ''] | float,
  key: PRNGKeyArray,
  *,
  chunk_size: int,
  noise: Any = noise_lib.gaussian,
) -> None:
  """Refuses a classifier whose votes depend on their batch companions.

  Votes of such a classifier are not independent draws, and every bound on
  them is void. Batch normalisation in training mode is the usual cause, and it
  raises nothing by itself. The check computes the same noisy copies in two
  batches, at other positions and among other companions. In batches of one copy
  there are none, and the check is that the same copy gets the same logits.

  Args:
    classifier: The base classifier.
    image: One image, shape [*image].
    sigma: The noise level, a scalar.
    key: A key; its votes are not counted anywhere.
    chunk_size: The batch in which votes will be cast, and the only one that
      the classifier sees here.
    noise: The sampler of noisy images.

  Raises:
    ValueError: If the logits of a copy change with its companions or its
      place in the batch by more than rounding.
  """
  classifier = classifiers.as_pytree(classifier)
  levels = jnp.full(chunk_size, sigma, jnp.float32)
  apply = compilers.jit(lambda f, images, levels: f(images, levels))
  check_companions(
    lambda images: apply(classifier, images, levels),
    image,
    sigma,
    key,
    chunk_size=chunk_size,
    noise=noise,
  )


def check_companions(
  apply: Callable[[Array], Any],
  image: Float[Array | np.ndarray, '*image'],
  sigma: Float[Array | np.ndarray, ''] | float,
  key: PRNGKeyArray,
  *,
  chunk_size: int,
  noise: Any = noise_lib.gaussian,
) -> None:
  """`check_batch_independence` of any function from images to logits."""
  image = jnp.asarray(image, jnp.float32)
  level = jnp.asarray(sigma, jnp.float32)
  kept = max(1, chunk_size // 2)
  others = chunk_size - kept

  def copies(image, level, first, count):
    votes = first + jnp.arange(count)
    splits = jnp.full(count, noise_lib.SELECTION)
    return voting.noisy_copies(image, level, key, splits, votes, noise=noise)

  own = copies(image, level, 0, kept)
  companions = copies(image, level, kept, others)
  strangers = copies(1 - image, 2 * level, 2 * kept, others)
  logits = lambda images: jnp.asarray(apply(images), jnp.float32)
  before = logits(jnp.concatenate([own, companions]))[:kept]
  after = logits(jnp.concatenate([strangers, own]))[others:]
  validation.check_companions(before, after)
