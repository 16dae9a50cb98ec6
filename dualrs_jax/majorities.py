"""How the votes at several levels become one certificate of a cascade.

The levels are visited from the largest down, and the first one at which a
class has a majority, more than half of the votes, answers. With k and y the
level and class that selection votes choose,

    R = min( B_k,  min over earlier levels j of E_j )

where within B_k the class y has a majority at level k, and within E_j no other
class has one at level j. R is a minimum, so that each bound runs at the full
alpha. docs/theory.md, section 8, has the proof.

References:
  Jeong and Shin (2023), Multi-scale diffusion denoised smoothing,
  https://arxiv.org/abs/2310.16779
"""

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import special

from dualrs_jax import confidence
from dualrs_jax.base import (
  ABSTAIN,
  CascadeCertificate,
  CascadePrediction,
  Cast,
  Counts,
)


def certificate_of_counts(
  counts: Counts, sigmas: Any, *, n0: int, n: int, alpha: float
) -> CascadeCertificate:
  """The certificate that a fixed number of votes per level amounts to.

  NumPy counts are evaluated in float64, JAX counts in float32; both round
  down.

  Args:
    counts: Arrays of shape [..., K, classes]; estimation votes of levels after
      the one that is chosen are not looked at.
    sigmas: The K noise levels, in pixel units.
    n0: Number of selection votes at every level, invalid ones included.
    n: Number of estimation votes at a level that was visited, likewise.
    alpha: Failure probability.

  Returns:
    The certificate, see `cascade.certify_cascade` for its guarantee.
  """
  xp = confidence.namespace(counts.estimation)
  level, label, _ = choose(likely_z(counts.selection, n0), sigmas)
  table = confidence.lower_z(n, alpha)
  votes = counts.estimation
  # Invalid votes oppose y, and count for each of its competitors.
  invalid = (n - votes.sum(axis=-1))[..., None]
  bounds = Bounds(
    confidence.lookup(table, votes),
    confidence.lookup(table, n - (votes + invalid)),
  )
  place = visits(sigmas)
  visited = xp.broadcast_to(place, votes.shape[:-1]) <= place[level][..., None]
  cast = Cast(xp.full_like(visited, n0, int), xp.where(visited, n, 0))
  return certificate(bounds, level, label, sigmas, counts, cast)


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
  order = xp.argsort(visits(sigmas))
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


class Bounds(NamedTuple):
  """Lower bounds, as z-scores.

  Attributes:
    wins: Of the probability of each class at each level, [..., K, classes].
    loses: Of what is left to the others, 1 - that probability, of the same
      shape.
  """

  wins: Float[Array | np.ndarray, '*batch levels classes']
  loses: Float[Array | np.ndarray, '*batch levels classes']


def certificate(
  bounds: Bounds, level, label, sigmas, counts: Counts, cast: Cast
) -> CascadeCertificate:
  """Composes R for a level and class; abstains unless it is positive.

  Args:
    bounds: Of all levels and classes; infinitely low where nothing is known.
    level: k, integers of shape [...].
    label: y, of the same shape.
    sigmas: The K noise levels, in pixel units.
    counts: The votes, for the record.
    cast: Their numbers, for the record.
  """
  xp = confidence.namespace(bounds.wins)
  here, earlier = radii(bounds, level, label, sigmas)
  radius = xp.minimum(here, earlier)

  def positive(value):  # which a NaN is not
    return xp.where(value > 0, value, xp.zeros_like(value))

  return CascadeCertificate(
    prediction=xp.where(radius > 0, label, ABSTAIN),
    radius=positive(radius),
    sigma_index=level,
    earlier_radius=positive(earlier),
    level_radius=positive(here),
    counts=counts,
    cast=cast,
  )


def radii(bounds: Bounds, level, label, sigmas):
  """B_k, and the smallest E_j of the levels before k, each rounded down."""
  xp = confidence.namespace(bounds.wins)
  classes = bounds.wins.shape[-1]
  sigma = confidence.level_like(sigmas, bounds.wins)
  down = confidence.scale_down
  wins = xp.take_along_axis(bounds.wins, label[..., None, None], axis=-1)
  at_level = down(xp.broadcast_to(sigma, wins.shape[:-1]), wins[..., 0])
  here = xp.take_along_axis(at_level, level[..., None], axis=-1)[..., 0]
  shape = bounds.wins.shape
  others = xp.broadcast_to(xp.arange(classes), shape) != label[..., None, None]
  least = xp.where(others, bounds.loses, xp.inf).min(axis=-1)
  # With a single class nobody else can win.
  at_level = xp.where(
    least < xp.inf, down(xp.broadcast_to(sigma, least.shape), least), xp.inf
  )
  place = visits(sigmas)
  before = xp.broadcast_to(place, least.shape) < place[level][..., None]
  earlier = xp.where(before, at_level, xp.inf).min(axis=-1)
  # A level that is no number, which a trace cannot refuse, has no place.
  earlier = xp.where(xp.isnan(sigma).any(), xp.nan, earlier)
  return here, earlier


def visits(sigmas: Any) -> Int[Array | np.ndarray, 'levels']:
  """Of each level, how many are visited before it: the larger ones."""
  xp = confidence.namespace(sigmas)
  sigma = xp.asarray(sigmas, xp.float32)
  index = xp.arange(sigma.shape[0])
  larger = sigma[None, :] > sigma[:, None]
  same = sigma[None, :] == sigma[:, None]
  return (larger | (same & (index[None, :] < index[:, None]))).sum(axis=1)


def choose(
  likely: Float[Array | np.ndarray, '*batch levels classes'],
  sigmas: Any,
  enough: float = np.inf,
):
  """Which level and class to certify: those that promise the largest radius.

  Any choice by selection votes is valid. It is made in float32 everywhere, so
  that a host and a device choose alike.

  Args:
    likely: z-scores of the probabilities of classes, see `likely_z`.
    sigmas: The K noise levels, in pixel units.
    enough: A radius beyond which there is nothing to gain; of levels that
      promise it, the first visited is chosen.

  Returns:
    level: k, an integer of shape [...].
    label: y, likewise.
    promised: The radius that they promise, float32 [...], at most `enough`.
  """
  xp = confidence.namespace(likely)
  labels = xp.argmax(likely, axis=-1)
  per_level = Bounds(likely[..., None, :, :], -likely[..., None, :, :])
  levels = xp.broadcast_to(xp.arange(likely.shape[-2]), labels.shape)
  per_level = Bounds(
    *(
      xp.broadcast_to(part, (*labels.shape, *likely.shape[-2:]))
      for part in per_level
    )
  )
  here, earlier = radii(per_level, levels, labels, sigmas)
  promised = xp.minimum(xp.minimum(here, earlier), np.float32(enough))
  order = xp.argsort(visits(sigmas))
  in_order = xp.take(promised, order, axis=-1)
  level = xp.take(order, xp.argmax(in_order, axis=-1))
  label = xp.take_along_axis(labels, level[..., None], axis=-1)[..., 0]
  return level, label, in_order.max(axis=-1)


def likely_z(
  selection: Int[Array | np.ndarray, '*batch levels classes'],
  n0: int | Int[Array | np.ndarray, '*batch levels'],
) -> Float[Array | np.ndarray, '*batch levels classes']:
  """Where selection votes place the probability of each class; no bound.

  Args:
    selection: Votes per class.
    n0: How many were cast; one number under a trace.

  Returns:
    float32 z-scores of (votes + 1/2) / (n0 + 1).
  """
  if confidence.namespace(selection) is jnp:
    table = jnp.asarray(_likely_table(int(np.max(n0))))
    return table[selection]
  cast = np.broadcast_to(n0, selection.shape[:-1])
  found = np.empty(selection.shape, np.float32)
  for number in np.unique(cast):
    here = cast == number
    found[here] = _likely_table(int(number))[selection[here]]
  return found


@functools.lru_cache(maxsize=64)
def _likely_table(n0: int) -> np.ndarray:
  shares = (np.arange(n0 + 1) + 0.5) / (n0 + 1)
  table = special.ndtri(shares).astype(np.float32)
  table.flags.writeable = False
  return table
