"""How the votes at several levels become one certificate of a cascade.

The levels are visited from the largest down, and the first one at which a
class has a majority, more than half of the votes, answers. With k and y the
level and class that selection votes choose,

    R = min( B_k,  min over earlier levels j of E_j )

where within B_k the class y has a majority at level k, and within E_j no other
class has one at level j. The smallest level answers with the most probable
class, majority or not, so that within B_k it need not be more than that there:
adaptive certification bounds its runner-up, see `look_bounds`. R is a minimum,
so that each bound runs at the full alpha. docs/theory.md, section 8, has the
proof.

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
  votes = counts.estimation
  bounds = fixed_bounds(votes, n=n, alpha=alpha)
  place = visits(sigmas)
  visited = xp.broadcast_to(place, votes.shape[:-1]) <= place[level][..., None]
  cast = Cast(xp.full_like(visited, n0, int), xp.where(visited, n, 0))
  return certificate(bounds, level, label, sigmas, counts, cast)


class Bounds(NamedTuple):
  """Lower bounds, as z-scores.

  Attributes:
    wins: Of the probability of each class at each level, [..., K, classes]; at
      the smallest level it may be half the distance to the runner-up.
    loses: Of what is left to the others, 1 - that probability, of the same
      shape.
  """

  wins: Float[Array | np.ndarray, '*batch levels classes']
  loses: Float[Array | np.ndarray, '*batch levels classes']


def fixed_bounds(
  votes: Int[Array | np.ndarray, '*batch levels classes'],
  *,
  n: int,
  alpha: float,
) -> Bounds:
  """Bounds of a fixed number of votes, one-sided, each at alpha.

  Args:
    votes: Per class, at each level.
    n: Their number at a level; invalid ones are missing from the votes.
    alpha: The level of each bound.
  """
  table = confidence.lower_z(n, alpha)
  # Invalid votes oppose a class, and count for each of its competitors.
  invalid = (n - votes.sum(axis=-1))[..., None]
  return Bounds(
    confidence.lookup(table, votes),
    confidence.lookup(table, n - (votes + invalid)),
  )


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


def radii(bounds: Bounds, level, label, sigmas, start=None):
  """B_k, and the smallest E_j of the levels before k, each rounded down.

  Args:
    bounds: Of all levels and classes.
    level: k, integers of shape [...].
    label: y, likewise.
    sigmas: The K noise levels, in pixel units.
    start: The level that is visited first, in place of the largest one.
  """
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
  places = xp.broadcast_to(place, least.shape)
  before = places < place[level][..., None]
  if start is not None:
    before &= places >= place[start][..., None]
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


def smallest(sigmas: Any) -> Any:
  """The level that is visited last, and answers even without a majority."""
  return visits(sigmas).argmax()


def choose(
  likely: Float[Array | np.ndarray, '*batch levels classes'],
  sigmas: Any,
  enough: float = np.inf,
  *,
  start=None,
  label=None,
  runner_up: bool = False,
):
  """Which level and class to certify: those that promise the largest radius.

  Any choice by selection votes is valid. It is made in float32 everywhere, so
  that a host and a device choose alike.

  Args:
    likely: z-scores of the probabilities of classes, see `likely_z`.
    sigmas: The K noise levels, in pixel units.
    enough: A radius beyond which there is nothing to gain; of levels that
      promise it, the first visited is chosen.
    start: The level that is visited first, integers of shape [...]; none before
      it is chosen.
    label: y, integers of shape [...], where that is chosen already.
    runner_up: Whether the runner-up will be bounded at the smallest level, as
      `look_bounds` does.

  Returns:
    level: k, an integer of shape [...].
    label: y, likewise.
    promised: The radius that they promise, float32 [...], at most `enough`.
  """
  xp = confidence.namespace(likely)
  labels = xp.argmax(likely, axis=-1)
  if label is not None:
    labels = xp.broadcast_to(label[..., None], labels.shape)
  per_level = Bounds(likely[..., None, :, :], -likely[..., None, :, :])
  levels = xp.broadcast_to(xp.arange(likely.shape[-2]), labels.shape)
  per_level = Bounds(
    *(
      xp.broadcast_to(part, (*labels.shape, *likely.shape[-2:]))
      for part in per_level
    )
  )
  place = visits(sigmas)
  if start is not None:
    start = xp.broadcast_to(start[..., None], labels.shape)
  here, earlier = radii(per_level, levels, labels, sigmas, start)
  if runner_up:
    ahead = _ahead_at_smallest(likely, labels, sigmas)
    last = xp.arange(len(place)) == smallest(sigmas)
    here = xp.where(last, xp.maximum(here, ahead[..., None]), here)
  promised = xp.minimum(xp.minimum(here, earlier), np.float32(enough))
  if start is not None:
    places = xp.broadcast_to(place, labels.shape)
    promised = xp.where(places < place[start], -xp.inf, promised)
  order = xp.argsort(place)
  in_order = xp.take(promised, order, axis=-1)
  level = xp.take(order, xp.argmax(in_order, axis=-1))
  label = xp.take_along_axis(labels, level[..., None], axis=-1)[..., 0]
  return level, label, in_order.max(axis=-1)


def _ahead_at_smallest(likely, labels, sigmas):
  """Half the distance to the runner-up at the level visited last, in pixels."""
  xp = confidence.namespace(likely)
  last = smallest(sigmas)
  scores = xp.take(likely, last, axis=-2)
  label = xp.take(labels, last, axis=-1)[..., None]
  ours = xp.take_along_axis(scores, label, axis=-1)[..., 0]
  others = xp.arange(scores.shape[-1]) != label
  rival = xp.where(others, scores, -xp.inf).max(axis=-1)
  half = (ours - rival) / 2
  sigma = confidence.level_like(sigmas, half)[last]
  return confidence.scale_down(sigma, half)


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
