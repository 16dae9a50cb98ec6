"""Bounds that hold at all looks together, from docs/sequential.md.

The hypothesis that a win has probability Phi(z) or less is rejected at look k
after at most d_k(z) failures. d_k(z) is the largest number with which the paths
that are rejected at looks 1 to k have probability at most alpha W_k, where W_k
is the share of alpha that may be spent by then. The bound after x failures is
the last z of a grid up to which every hypothesis is rejected.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from scipy import fft, special

from dualrs_jax.verify.schedules import Schedule

_LOWEST = -3.0
_ABOVE = 2.0**-21
#: Grid points that are computed side by side, over the same failure counts.
_BESIDE = 32
#: Failure counts beyond which there is no probability to speak of.
_NEVER = 1e-22
#: Probabilities that are closer, times the votes, may be taken for equal.
_CLOSE = 1e-15


def grid(n: int, alpha: float) -> np.ndarray:
  """The z-scores that are tested, up to what n unanimous votes prove.

  Their distance is a power of two, at most 1 / (10 sqrt(n)).
  """
  per_unit = 2 ** math.ceil(math.log2(10 * math.sqrt(n)))
  unanimous = -special.ndtri(-math.expm1(math.log(alpha) / n))
  last = math.floor((unanimous - _ABOVE) * per_unit)
  return np.arange(_LOWEST * per_unit, last + 1) / per_unit + _ABOVE


class Table(NamedTuple):
  """Bounds by look and by failures, as numbers of grid points; -1 for none.

  Where a hypothesis is rejected, or not, by less than a computation can tell,
  another one may decide otherwise, with one failure more or less. The two are
  apart there, and equal elsewhere.

  Attributes:
    least: A lower bound of each number, an array for each look.
    most: An upper bound of it, likewise.
  """

  least: list[np.ndarray]
  most: list[np.ndarray]


@functools.lru_cache(maxsize=16)
def table(schedule: Schedule, alpha: float) -> Table:
  """The bounds at all looks.

  Args:
    schedule: The looks, and what may be spent at them.
    alpha: Failure probability of all looks together.
  """
  looks = schedule.looks
  z = grid(looks[-1], alpha)
  budget = alpha * np.array(schedule.spendable)
  limits = np.concatenate(
    [
      _limits(z[start : start + _BESIDE], looks, budget)
      for start in range(0, len(z), _BESIDE)
    ],
    axis=2,
  )
  # x failures reject the first points alone whose limit is x or more.
  return Table(
    *(
      [
        np.searchsorted(-row, -np.arange(look + 1), side='right') - 1
        for look, row in zip(looks, end, strict=True)
      ]
      for end in np.minimum.accumulate(limits, axis=2)
    )
  )


def bound(
  schedule: Schedule, look: int, failures: int, alpha: float
) -> np.ndarray:
  """The bound at a look, from the least to the most, shape [2].

  Args:
    schedule: See `table`.
    look: The number of votes that were cast, one of its looks.
    failures: Votes that are not for the class.
    alpha: Failure probability.
  """
  at = schedule.looks.index(look)
  found = [row[at][failures] for row in table(schedule, alpha)]
  points = grid(schedule.looks[-1], alpha)
  return np.append(points, -np.inf)[found]


def _limits(
  z: np.ndarray, looks: tuple[int, ...], budget: np.ndarray
) -> np.ndarray:
  """d_k(z), the least and the most of it; shape [2, looks, points]."""
  fail = special.ndtr(-z)
  # The law of the failures of paths that have not been rejected: of none yet.
  law, first = np.ones((len(z), 1)), 0
  spent = np.zeros(len(z))
  close = np.zeros(len(z), bool)
  found = []
  for look, before, allowed in zip(
    looks, (0, *looks[:-1]), budget, strict=True
  ):
    more, low = _binomial(look - before, fail)
    law, first = _sum(law, more), first + low
    below, above = _likely(look, fail)
    law = law[:, max(0, below - first) : above + 1 - first]
    first = max(first, below)
    tail = np.cumsum(law, axis=1)
    left = allowed - spent[:, None] - tail
    rejected = np.count_nonzero(left >= 0, axis=1)
    near = np.abs(left) < _CLOSE * looks[-1]
    barely, nearly = (near & (left >= 0)).any(1), (near & (left < 0)).any(1)
    spent += np.where(
      rejected > 0,
      np.take_along_axis(tail, np.maximum(rejected, 1)[:, None] - 1, 1)[:, 0],
      0,
    )
    law = np.where(np.arange(law.shape[1]) < rejected[:, None], 0, law)
    limit = first + rejected - 1
    found.append((limit - (barely | close), limit + (nearly | close)))
    close |= barely | nearly  # what is left for later looks is not sure
  return np.stack(found, axis=1)


def _likely(votes: int, fail: np.ndarray) -> tuple[int, int]:
  """Failures between which all points have all but `_NEVER` of their law."""
  spread = np.sqrt(votes * fail * (1 - fail))
  log = -math.log(_NEVER)  # Bernstein's inequality
  reach = log / 3 + np.sqrt(log**2 / 9 + 2 * log * spread**2) + 1
  low = np.floor(votes * fail - reach).min()
  high = np.ceil(votes * fail + reach).max()
  return max(0, int(low)), min(votes, int(high))


def _binomial(votes: int, fail: np.ndarray) -> tuple[np.ndarray, int]:
  """The law of the failures among some votes, and the first of them.

  Each probability is the one before times (votes - x) / (x + 1) and the odds.
  """
  low, high = _likely(votes, fail)
  counts = np.arange(low, high)
  ratios = (votes - counts) / (counts + 1) * (fail / (1 - fail))[:, None]
  law = np.cumprod(np.pad(ratios, ((0, 0), (1, 0)), constant_values=1), axis=1)
  return law / law.sum(axis=1, keepdims=True), low


def _sum(law: np.ndarray, more: np.ndarray) -> np.ndarray:
  """The law of a sum of two independent numbers, row by row."""
  width = law.shape[1] + more.shape[1] - 1
  length: int = fft.next_fast_len(width, True)  # pyright: ignore
  product = np.asarray(fft.rfft(law, length)) * fft.rfft(more, length)
  return np.maximum(np.asarray(fft.irfft(product, length))[:, :width], 0)
