"""What the votes at several levels predict, by a cascade, without a radius.

There are no selection votes: each level is decided by PREDICT, at its part of
alpha. docs/theory.md, section 8, has the argument.
"""

from typing import Any

import numpy as np
from jaxtyping import Array, Int

from dualrs_jax import confidence, majorities
from dualrs_jax.base import ABSTAIN, CascadePrediction


def judge(
  votes: Int[Array | np.ndarray, '*batch classes'], *, n: int, alpha: float
):
  """Whether a class has a majority of the vote, or none has.

  Guarantee: where the most probable class has no majority, one is found with
  probability at most alpha; where it has, another one or none is found with
  probability at most alpha / 2.

  Args:
    votes: Per class; invalid ones are those that are missing from n.
    n: Number of votes.
    alpha: The level.

  Returns:
    decided: Whether the class with the most votes has a majority, shape [...].
    undecided: Whether no class has one.
  """
  wins = votes.max(axis=-1)
  invalid = n - votes.sum(axis=-1)
  needed = int(confidence.fewest_wins(n, alpha)[n])
  return wins >= needed, wins + invalid <= n - needed


def prediction_of_counts(
  counts: Int[Array | np.ndarray, '*batch levels classes'],
  sigmas: Any,
  *,
  n: int,
  alpha: float,
) -> CascadePrediction:
  """The prediction that n votes at each level amount to.

  Args:
    counts: Votes per class; those of a level that was not visited, all zero,
      are not looked at.
    sigmas: The K noise levels, in pixel units.
    n: Number of votes of a level.
    alpha: The share of a level: that of the prediction divided by K.
  """
  xp = confidence.namespace(counts)
  decided, undecided = judge(counts, n=n, alpha=alpha)
  order = xp.argsort(majorities.visits(sigmas))
  stops = xp.take(~undecided, order, axis=-1)
  level = xp.take(order, xp.argmax(stops, axis=-1))
  here = level[..., None]
  label = xp.take_along_axis(xp.argmax(counts, axis=-1), here, axis=-1)
  sure = xp.take_along_axis(decided, here, axis=-1) & stops.any(
    axis=-1, keepdims=True
  )
  return CascadePrediction(
    xp.where(sure, label, ABSTAIN)[..., 0],
    xp.where(sure, here, ABSTAIN)[..., 0],
    counts,
  )
