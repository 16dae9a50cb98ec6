"""Boundaries of group-sequential tests on failure counts, computed exactly.

Votes arrive in groups; after n_1 < ... < n_K = N of them one looks. For every
z of a grid, the hypothesis p <= Phi(z) about the probability of a win is
rejected at look k when there are at most d_k(z) failures. The law of the
failures among paths that have not been rejected is carried from look to look
under p = Phi(z), so the probability of a false rejection at any look is known
and is kept below alpha. docs/sequential.md has the theorem and its proof.

Everything that is not computed exactly is counted as a rejection. Per look:

* paths outside a window around the mean: at most `_TAIL` on each side of the
  count and of its increment (Bernstein's inequality);
* rounding of the increment's law, a product of at most w ratios with three
  roundings each, then a division by its sum: 8 w u, with u = 2**-53;
* rounding of a cumulative sum over w entries: 2 w u;
* the convolution by FFT of length n: with e = 16 u log2(n), which exceeds the
  relative l2 error of a transform of a length with factors 2, 3 and 5, its w
  entries miss at most 4 e (w |a|_2 |b|_2 + sqrt(w) |b|_2) in all.

A grid point is tested at z + 1e-10 max(|z|, 1), which covers the error of the
normal distribution function and is the margin of `confidence.lower_z`.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import fft, special

from dualrs_jax import confidence

_MARGIN = 1e-10  # that of `confidence`
_UNIT = 2.0**-53
#: Mass that may lie beyond one side of a window.
_TAIL = 1e-14
#: Bounds below it are of no use to anyone and reported as -inf.
_LOWEST_Z = -3.0
#: Two units in the last place of float32 where bounds are largest.
_ABOVE = 2.0**-21
#: Entries of the largest array of a block: it should stay in the cache.
_BLOCK = 2**16


def lower_bounds(
  looks: Sequence[int], alpha: float, weights: Sequence[float]
) -> Float[np.ndarray, 'entries']:
  """Lower bounds on a win probability, for every look and failure count.

  Guarantee: with L_k(x) the bound at look k after x failures and X_k the
  failures among the first n_k votes, with probability at least 1 - alpha every
  k has L_k(X_k) = -inf or p > Phi(L_k(X_k)).

  Args:
    looks: n_1 < ... < n_K.
    alpha: Failure probability.
    weights: The share of alpha that each look adds to what may be spent.

  Returns:
    The bounds, as z-scores: L_1(0), ..., L_1(n_1), L_2(0), ..., L_K(n_K).
  """
  z = grid(looks[-1], alpha)
  limits = np.full((len(looks), len(z)), -1, np.int64)
  widest = 20 * np.sqrt(looks[-1] * special.ndtr(z) * special.ndtr(-z)) + 60
  start = 0
  while start < len(z):
    end = start + max(1, int(_BLOCK / widest[start]))
    limits[:, start:end] = boundaries(z[start:end], looks, alpha, weights)
    start = end
  # A bound is only as good as all rejections below it.
  nested = np.minimum.accumulate(limits, axis=1)
  levels = np.concatenate([[-np.inf], z])
  return np.concatenate(
    [
      levels[np.searchsorted(-row, -np.arange(n + 1), side='right')]
      for n, row in zip(looks, nested, strict=True)
    ]
  )


def grid(n: int, alpha: float) -> Float[np.ndarray, 'points']:
  """The z-scores that a bound from n votes may take.

  Their distance is a power of two, at most a tenth of 1 / sqrt(n), so that
  rounding down to them costs little beside the noise of the votes. They lie
  2**-21 above its multiples: where sigma times a multiple is a radius that one
  asks for, such as 1/4, this radius survives that products are rounded down.
  All are float32 numbers. The last one is within reach of n unanimous votes.
  """
  per_unit = 2 ** int(np.ceil(np.log2(10 * np.sqrt(n))))
  unanimous = -special.ndtri(-np.expm1(np.log(alpha) / n))
  last = np.floor((unanimous - _ABOVE) * per_unit)
  return np.arange(_LOWEST_Z * per_unit, last + 1) / per_unit + _ABOVE


def boundaries(
  z: Float[np.ndarray, 'points'],
  looks: Sequence[int],
  alpha: float,
  weights: Sequence[float],
) -> Int[np.ndarray, 'looks points']:
  """The largest failure counts that reject p <= Phi(z); -1 for none.

  Guarantee: for every p <= Phi(z[j]), the probability that the failures among
  the first looks[k] votes are at most the entry [k, j], at any k, is at most
  alpha.

  Args:
    z: Increasing z-scores.
    looks: Numbers of votes, increasing.
    alpha: Failure probability.
    weights: See `lower_bounds`.
  """
  shifted = z + _MARGIN * np.maximum(np.abs(z), 1)
  win, fail = special.ndtr(shifted), special.ndtr(-shifted)
  budgets = alpha * np.minimum(np.cumsum(weights), 1)
  # The first test is that of Clopper and Pearson, with all its margins.
  first_bounds = confidence.lower_z(looks[0], budgets[0])
  limit = looks[0] - np.searchsorted(first_bounds, z)
  limits = [limit]

  law, start, charge = _increment(looks[0], win, fail)
  tail = np.cumsum(law, axis=1)
  spent = charge + _sum_of(tail, limit - start + 1)
  for k in range(1, len(looks)):
    low, high = _window(looks[k - 1], win, fail)
    law, start = _cut(law, start, np.maximum(low, limit + 1), high)
    increment, first, charge = _increment(looks[k] - looks[k - 1], win, fail)
    law, missed = _convolve(law, increment)
    start = start + first
    spent += charge + missed
    tail = np.cumsum(law, axis=1)
    room = budgets[k] - spent
    rejected = np.count_nonzero(tail <= room[:, None], axis=1)
    spent += _sum_of(tail, rejected)
    # Below `start` there are only paths that have been counted already.
    limit = np.where(room >= 0, start + rejected - 1, limit)
    limits.append(limit)
  return np.stack(limits)


def _window(trials: int, win, fail):
  """Counts between which the failures of many trials lie, but for _TAIL each.

  Bernstein: P[X - mean >= t] <= exp(-t^2 / (2 variance + 2 t / 3)), on either
  side. One more count covers the rounding of what is computed here.
  """
  log = -np.log(_TAIL)
  mean, variance = trials * fail, trials * fail * win
  reach = log / 3 + np.sqrt(log**2 / 9 + 2 * log * variance) + 1
  low = np.maximum(np.floor(mean - reach), 0).astype(np.int64)
  high = np.minimum(np.ceil(mean + reach), trials).astype(np.int64)
  return low, high


def _increment(trials: int, win, fail):
  """The law of the failures among some further votes.

  Returns:
    The law inside its window, shape [points, width]; the counts to which its
    first column belongs; and what it may miss, which includes what the window
    of the count itself and the cumulative sum may miss.
  """
  low, high = _window(trials, win, fail)
  width = int(np.max(high - low)) + 1
  counts = low[:, None] + np.arange(width - 1)
  ratios = np.maximum(trials - counts, 0) / (counts + 1)
  ratios *= (fail / win)[:, None]
  law = np.ones((len(low), width))
  np.cumprod(ratios, axis=1, out=law[:, 1:])
  law /= law.sum(axis=1, keepdims=True)
  return law, low, 4 * _TAIL + 10 * width * _UNIT


def _convolve(law, increment):
  """The law of a sum, at most too large, and the mass that it may miss."""
  width = law.shape[1] + increment.shape[1] - 1
  length: int = fft.next_fast_len(width, True)  # pyright: ignore
  product = np.asarray(fft.rfft(law, length))
  product *= np.asarray(fft.rfft(increment, length))
  result = np.asarray(fft.irfft(product, length))[:, :width]
  error = 16 * _UNIT * np.log2(length)
  norm = np.linalg.norm(increment, axis=1)
  size = width * np.linalg.norm(law, axis=1) + np.sqrt(width)
  missed = 4 * error * norm * size + 2 * width * _UNIT
  return np.maximum(result, 0), missed


def _cut(law, start, low, high):
  """Keeps the counts from low to high, moved to the left edge."""
  low = np.maximum(low, start)
  width = max(int(np.max(high - low)) + 1, 1)
  columns = (low - start)[:, None] + np.arange(width)
  kept = columns <= np.minimum(high - start, law.shape[1] - 1)[:, None]
  columns = np.minimum(columns, law.shape[1] - 1)
  return np.where(kept, np.take_along_axis(law, columns, axis=1), 0), low


def _sum_of(tail, columns):
  """The sum of the first columns, from cumulative sums."""
  last = np.clip(columns, 1, tail.shape[1]) - 1
  total = np.take_along_axis(tail, last[:, None], axis=1)[:, 0]
  return np.where(columns > 0, total, 0)
