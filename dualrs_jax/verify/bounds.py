"""Bounds on the probability of a win, as z-scores, from votes cast once.

A bound is a pair: the least that a careful computation may have claimed, and
the most that the votes prove. Between them are the margins of rounding alone.
"""

import functools

import numpy as np
from scipy import special

#: How far below the exact bound a claim may be, in z-scores: margins for the
#: error of special functions, which differ between versions of SciPy.
ROUNDING = 1e-9

#: The bound of what was not sampled.
NOTHING = np.full(2, -np.inf)


def exactly(wins: int, n: int, alpha: float) -> float:
  """The lower confidence limit of Clopper and Pearson: Phi^-1 of it.

  The probability p at which as many wins or more have probability alpha.

  Args:
    wins: Votes for the class.
    n: All votes, the invalid ones included.
    alpha: Failure probability.
  """
  if wins == 0:
    return -np.inf
  losing = special.betainccinv(n - wins + 1, wins, alpha)  # 1 - p
  return float(-special.ndtri(losing))


@functools.lru_cache(maxsize=4096)
def fixed(wins: int, n: int, alpha: float) -> np.ndarray:
  """The bound of a fixed number of votes, see the module; shape [2]."""
  z = exactly(wins, n, alpha)
  return np.array([z - ROUNDING * max(abs(z), 1.0), z])


def is_winner(wins: int, others: int, alpha: float) -> bool:
  """Whether a fair coin shows such a majority with probability below alpha.

  The exact two-sided test of p = 1/2 by which PREDICT decides.

  Args:
    wins: Votes for the leading class.
    others: Votes for the second, and invalid ones.
    alpha: Failure probability.
  """
  if wins <= others:
    return False
  return bool(2 * special.bdtrc(wins - 1, wins + others, 0.5) <= alpha)


def interval(hits: int, rows: int, alpha: float = 0.05) -> tuple[float, float]:
  """The two-sided interval of Clopper and Pearson for a share of rows."""
  low, high = 0.0, 1.0
  if hits > 0:
    low = float(special.betaincinv(hits, rows - hits + 1, alpha / 2))
  if hits < rows:
    high = float(special.betaincinv(hits + 1, rows - hits, 1 - alpha / 2))
  return low, high
