"""Bounds that hold at every number of votes, from docs/sequential.md, 8.

With q = cos^2 t and p_0 = cos^2 t_0 the arcsine law of q is the uniform one of
t, and the evidence of k wins and x failures against p <= p_0 is a mean over
(0, t_0):

    M(p_0) = 1 / t_0 * integral of (cos t / cos t_0)^2k (sin t / sin t_0)^2x dt

It is computed as it stands here. The bound is the largest p_0 up to the point
of lemma 3 at which the evidence is 1 / alpha.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import optimize, special

#: What a bound may fall short of by rounding: in the logarithm of the evidence,
#: and as a z-score.
_EVIDENCE, _SCORE = 1.1e-5, 2e-8
#: Bounds below it are of no use, and none is claimed.
_LOWEST = -3.0
#: How far from its peak the integrand is followed, in standard deviations.
_FAR = 12.0
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(120)


@functools.lru_cache(maxsize=4096)
def bound(n: int, wins: int, alpha: float) -> np.ndarray:
  """The bound after n votes as a z-score, from the least to the most; [2].

  Args:
    n: All votes, the invalid ones included.
    wins: Those for the class.
    alpha: Failure probability, of all n together.
  """
  needed = -math.log(alpha)
  most = _largest(wins, n - wins, needed)
  least = _largest(wins, n - wins, needed + _EVIDENCE)
  return np.array([least - _SCORE * max(abs(least), 1.0), most])


def log_evidence(z: float, wins: int, failures: int) -> float:
  """The logarithm of M at p_0 = Phi(z)."""
  end = _angle(z)
  peak = math.atan2(math.sqrt(failures), math.sqrt(wins))
  # -log of the integrand has a second derivative of 2 n or more.
  reach = _FAR / math.sqrt(2 * (wins + failures))
  low, high = max(0.0, min(peak, end) - reach), min(end, peak + reach)
  angles = low + (high - low) * (1 + _NODES) / 2
  log = 2 * wins * np.log(np.cos(angles) / math.cos(end))
  if failures:
    log = log + 2 * failures * np.log(np.sin(angles) / math.sin(end))
  top = float(log.max())
  mean = (_WEIGHTS @ np.exp(log - top)) * (high - low) / 2 / end
  return top + math.log(mean)


def _largest(wins: int, failures: int, needed: float) -> float:
  """The largest z up to lemma 3's point where the evidence is as needed."""

  def lacks(z: float) -> float:
    return needed - log_evidence(z, wins, failures)

  if not (_falls(_LOWEST, wins, failures) > 0 and lacks(_LOWEST) <= 0):
    return -math.inf
  end = _LOWEST + 1.0
  while _falls(end, wins, failures) > 0:
    if lacks(end) > 0:
      return _root(lacks, end - 1.0, end)
    end += 1.0
  last = _root(lambda z: _falls(z, wins, failures), end - 1.0, end)
  if lacks(last) <= 0:
    return last
  return _root(lacks, end - 1.0, last)


def _falls(z: float, wins: int, failures: int) -> float:
  """Positive before the point of lemma 3, up to which M does not rise."""
  angle = _angle(z)
  slope = wins * math.tan(angle) - failures / math.tan(angle)
  return 2 * angle * slope - 1


def _angle(z: float) -> float:
  """The angle t with cos^2 t = Phi(z), accurate at both ends."""
  return math.atan2(math.sqrt(special.ndtr(-z)), math.sqrt(special.ndtr(z)))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
  found: Any = optimize.brentq(
    function, low, high, xtol=1e-12, rtol=np.float64(1e-14)
  )
  return float(found)
