"""Exact binomial bounds, computed in NumPy float64, rounded to the safe side.

Everything is expressed as a z-score: a probability p and its z = Phi^-1(p)
order the same way, and certified radii are linear in z. A float32 p close to 1
would round its z upwards by far more than a float32 z does, so p itself never
appears. Bounds are computed from the count on the failure side, where float64
keeps its relative precision.
"""

import functools
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import special

#: Relative margin by which every bound is moved to the safe side. It covers
#: the error of the special functions, which tests measure against exact tails.
_MARGIN = 1e-10


#: The least alpha that may be asked for. Of the smallest share of it that any
#: bound gets, float64 keeps all digits.
LEAST_ALPHA = 1e-300


def check_alpha(alpha: float) -> None:
  """Raises ValueError unless this failure probability may be asked for."""
  check_probability(alpha)
  if alpha < LEAST_ALPHA:
    raise ValueError(
      f'alpha = {float(alpha)!r} is too small to compute with; the smallest'
      f' failure probability is {LEAST_ALPHA}.'
    )


def check_probability(alpha: float) -> None:
  """Raises ValueError unless alpha, or a part of it, lies in (0, 1)."""
  if not 0 < alpha < 1:
    raise ValueError(
      f'alpha is a failure probability in (0, 1), not {alpha!r}.'
    )


def check_possible(
  n: int, alpha: float, *, share: float = 1.0, taken: float = 0.0
) -> None:
  """Raises ValueError where no vote count could ever certify.

  With n unanimous votes the lower bound is a**(1/n), where a is the part of
  alpha that it has; it must exceed 1/2.

  Args:
    n: Number of estimation votes.
    alpha: Failure probability of the whole certificate.
    share: The share of the bound, of what is left of alpha.
    taken: What the noise takes of alpha before.

  Raises:
    ValueError: If alpha is outside (0, 1), n < 1, or a**(1/n) <= 1/2.
  """
  check_alpha(alpha)
  if n < 1:
    raise ValueError(f'n must be at least 1, not {n}.')
  part = share * (alpha - taken)
  if not lower_z(n, part)[n] > 0:
    told = parts_of_alpha(alpha, share, taken)
    raise ValueError(
      f'n = {n} votes can never certify at {told}, not even when all agree;'
      f' {what_is_needed(n, alpha, share=share, taken=taken)}.'
    )


def what_is_needed(
  n: int, alpha: float, *, share: float, taken: float, sides: int = 1
) -> str:
  """Says how many votes are enough where n are too few.

  Args:
    n: Number of votes.
    alpha: Failure probability.
    share: The share of the bound, of what is left of alpha.
    taken: What the noise takes of alpha for n votes; it grows with them.
    sides: How many events have the probability 2**-n of unanimous votes.
  """
  votes = n + 1
  while (left := share * (alpha - taken * votes / max(n, 1))) > 0:
    fewest = int(np.floor(np.log2(sides / left))) + 1
    if fewest <= votes:
      return f'at least {votes} are needed'
    votes = fewest
  return 'a larger alpha is needed, as the noise takes more for more votes'


def parts_of_alpha(alpha: float, share: float, taken: float) -> str:
  """Names alpha as it was given, and where it goes; see `check_possible`."""
  parts = [f'the noise takes {taken:.3g}'] if taken else []
  if share != 1:
    parts.append(f'a bound has {share * (alpha - taken):.3g}')
  told = f', of which {" and ".join(parts)}' if parts else ''
  return f'alpha = {float(alpha)!r}{told}'


@functools.lru_cache(maxsize=64)
def lower_z(n: int, alpha: float) -> np.ndarray:
  """One-sided Clopper-Pearson lower bounds, as z-scores.

  Guarantee: for c ~ Binomial(n, p), P[Phi(lower_z[c]) > p] <= alpha.

  Args:
    n: Number of votes.
    alpha: Failure probability, in (0, 1).

  Returns:
    Read-only float64 array of length n + 1, increasing, -inf at count 0.

  References:
    Clopper and Pearson (1934), The use of confidence or fiducial limits.
  """
  check_probability(alpha)
  successes = np.arange(1, n + 1, dtype=np.float64)
  # The bound of p, and that of the failure probability 1 - p: float64 keeps
  # the relative precision of the smaller one.
  success = special.betaincinv(successes, n - successes + 1, alpha)
  failure = special.betainccinv(n - successes + 1, successes, alpha)
  z = np.where(success < 0.5, special.ndtri(success), -special.ndtri(failure))
  table = np.concatenate([[-np.inf], z - _MARGIN * np.maximum(np.abs(z), 1.0)])
  table.flags.writeable = False
  return table


@functools.lru_cache(maxsize=64)
def upper_z(n: int, alpha: float) -> np.ndarray:
  """One-sided Clopper-Pearson upper bounds, as z-scores.

  Guarantee: for c ~ Binomial(n, p), P[Phi(upper_z[c]) < p] <= alpha.

  Args:
    n: Number of votes.
    alpha: Failure probability, in (0, 1).

  Returns:
    Read-only float64 array of length n + 1, increasing, +inf at count n.
  """
  table = -lower_z(n, alpha)[::-1]
  table.flags.writeable = False
  return table


@functools.lru_cache(maxsize=64)
def fewest_wins(n: int, alpha: float) -> np.ndarray:
  """The decision of PREDICT: how many votes the winner needs.

  Of m votes for the two leading classes together, the winner is predicted if
  an exact two-sided binomial test rejects p = 1/2 at level alpha.

  Guarantee: a class that is not the most probable one is predicted with
  probability at most alpha (Cohen et al. 2019, proposition 2; Hung and Fithian
  2019 for the choice of the leading two on the same votes).

  Args:
    n: Largest m.
    alpha: Failure probability, in (0, 1).

  Returns:
    Read-only int32 array: entry m is the smallest number of wins out of m that
    suffices, m + 1 where none does.
  """
  check_probability(alpha)
  trials = np.arange(n + 1)
  # P[wins or more | m, 1/2], two-sided, falls in `wins`: bisect for the first
  # number of wins at which it is at most alpha.
  low, high = trials // 2, trials + 1
  while np.any(high - low > 1):
    middle = (low + high) // 2
    p_value = 2 * special.betainc(middle, trials - middle + 1.0, 0.5)
    rejects = (middle > low) & (p_value <= alpha * (1 - _MARGIN))
    high = np.where(rejects, middle, high)
    low = np.where(rejects | (middle <= low), low, middle)
  table = high.astype(np.int32)
  table.flags.writeable = False
  return table


def namespace(array: Any) -> ModuleType:
  """`jax.numpy` for JAX arrays and tracers, `numpy` for everything else."""
  return jnp if isinstance(array, jax.Array) else np


def lookup(
  table: np.ndarray, counts: Int[Array | np.ndarray, '...']
) -> Float[Array | np.ndarray, '...']:
  """Reads lower bounds from a table, never one too large.

  Upper bounds are read as `-lookup(-table[::-1], n - counts)`.

  Args:
    table: Increasing float64 lower bounds, one per count.
    counts: NumPy counts are looked up in float64. JAX counts are looked up in
      the table rounded down to float32, and one out of range, which a plain
      gather under jit would clip to the largest bound, gets -inf.

  Raises:
    IndexError: If a NumPy count is out of range.
  """
  if namespace(counts) is np:
    if np.any(np.asarray(counts) < 0):
      raise IndexError('Vote counts cannot be negative.')
    return np.asarray(table[counts])
  narrow = jnp.asarray(round_down_to_float32(table))
  bounds = narrow.at[counts].get(mode='fill', fill_value=-jnp.inf)
  return jnp.where(counts >= 0, bounds, -jnp.inf)


def round_down_to_float32(values: np.ndarray) -> np.ndarray:
  """The largest float32 values that are not above the given float64 ones."""
  narrow = np.asarray(values).astype(np.float32)
  below = np.nextafter(narrow, np.float32(-np.inf))
  return np.where(narrow > values, below, narrow)


def scale_down(factor: Any, values: Any) -> Any:
  """The product of a positive factor and bounds, rounded down."""
  xp = namespace(values)
  product = factor * values
  return xp.nextafter(product, xp.asarray(-xp.inf, product.dtype))


def level_like(sigma: Any, values: Any) -> Any:
  """The noise level as it was sampled, in the precision of the bounds.

  Noise is scaled by a float32 sigma, so the radius is for that number also
  where it is computed in float64. A level that is not positive and finite
  becomes NaN, which never certifies: a negative one would turn a negative
  bound into a positive radius.
  """
  xp = namespace(values)
  level = xp.asarray(sigma, xp.float32).astype(values.dtype)
  return xp.where((level > 0) & (level < xp.inf), level, xp.nan)
