"""The noise of vote j: a function of (image key, split, j) and nothing else.

Neither the stage, the noise level, the batch, the device nor the order enters,
so votes are reproducible one by one, and all levels see the same standard
noise, scaled by their sigma. That is allowed: the certificates hold for any
dependence between stages (docs/theory.md).
"""

from typing import Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float, Int, PRNGKeyArray

#: Votes of this split choose what is to be certified.
SELECTION = 0
#: Votes of this split, and only these, bound probabilities.
ESTIMATION = 1


@runtime_checkable
class Noise(Protocol):
  """A sampler of noisy images, as a callable pytree."""

  def __call__(
    self,
    key: PRNGKeyArray,
    image: Float[Array, '*image'],
    sigma: Float[Array, ''],
  ) -> Float[Array, '*image']:
    """Returns one noisy copy of `image`."""
    ...


def image_key(run_key: PRNGKeyArray, index: int | Int[Array, '']):
  """The key of all votes on one image of a data set.

  Args:
    run_key: The key of the whole run, `jax.random.key(seed)`.
    index: The position of the image in the data set, not in the run: a
      subset or another order of the images then sees the same noise.
  """
  return jax.random.fold_in(run_key, index)


def vote_key(
  key: PRNGKeyArray, split: int | Int[Array, ''], vote: Int[Array, '']
) -> PRNGKeyArray:
  """The key of one vote.

  Args:
    key: The key of the image, see `image_key`.
    split: `SELECTION` or `ESTIMATION`.
    vote: The number of the vote within its split.
  """
  return jax.random.fold_in(jax.random.fold_in(key, split), vote)


def _gaussian(key, image, sigma):
  return image + sigma * jax.random.normal(key, image.shape, image.dtype)


#: Isotropic Gaussian noise of standard deviation sigma: a `Noise`.
gaussian = jax.tree_util.Partial(_gaussian)
