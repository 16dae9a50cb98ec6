"""One classifier for all noise levels, or an expert for each of them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dualrs_jax import classifiers
from dualrs_jax.base import Classifier, Counts


def checked(
  classifier: Classifier | Sequence[Classifier],
  image: Any,
  levels: int,
  chunk_size: int,
) -> tuple[Classifier, ...]:
  """The networks of so many noise levels: one for all of them, or one each.

  Args:
    classifier: A base classifier, or a sequence of experts.
    image: An image, of which the shape matters.
    levels: The number of noise levels.
    chunk_size: The batch in which votes are cast.

  Raises:
    ValueError: If the number of experts is another one, or they do not share
      their classes.
  """
  if callable(classifier) or not isinstance(classifier, tuple | list):
    return (classifiers.as_pytree(classifier),)
  experts = tuple(classifiers.as_pytree(expert) for expert in classifier)
  if len(experts) != levels:
    raise ValueError(
      f'There are {len(experts)} experts for {levels} noise levels; give one'
      ' per level, or a single classifier for all.'
    )
  widths = {
    classifiers.num_classes(expert, image, batch=chunk_size)
    for expert in experts
  }
  if len(widths) > 1:
    raise ValueError(
      'The experts must share their classes, but their widths are'
      f' {sorted(widths)}.'
    )
  return experts


def count(
  experts: tuple[Classifier, ...],
  level: int | Int[Array, ''],
  count_votes: Callable[..., Counts],
  image: Float[Array, '*image'],
  sigma: Float[Array, ''],
  key: PRNGKeyArray,
) -> Counts:
  """Votes at one level: of the only classifier, or of the level's expert."""
  if len(experts) == 1:
    return count_votes(experts[0], image, sigma, key)
  return lax.switch(
    level,
    [functools.partial(count_votes, expert) for expert in experts],
    image,
    sigma,
    key,
  )


def put(counts: Counts, level: int | Int[Array, ''], row: Counts) -> Counts:
  """The counts of all levels, with those of one level replaced."""
  return jax.tree.map(lambda table, new: table.at[level].set(new), counts, row)
