"""The radius where the noise level itself varies with the input.

Let log sigma be Lipschitz: |log sigma(x) - log sigma(x')| <= rate |x - x'|.
Of the sets that have a probability p under N(x, s0^2 I), the one that gains
most under N(x', s1^2 I) is a ball where s1 < s0, the outside of one where
s1 > s0, and a half-space where they are equal; its probabilities are tails of
noncentral chi-square laws. Within the interval that the rate leaves to s1 the
worst level is one of its ends or s0 itself. docs/theory.md, section 9, has the
proof.

References:
  Sukenik, Kuvshinov and Günnemann (2022), Intriguing properties of
  input-dependent randomized smoothing, https://arxiv.org/abs/2110.05365
"""

import functools
import math
from typing import Any

import numpy as np
from scipy import optimize, special, stats

#: From so many dimensions on the chi-square law is smooth enough for a
#: quadrature; below, SciPy's sum converges fast.
_MANY = 64
#: Nodes of the quadrature, and how far out it goes, in standard deviations.
_NODES = 400
_FAR = 12.0
#: The least rate * sigma: a smaller one is treated like it, which is valid, and
#: keeps the centres of the balls within ten thousand standard deviations.
_LEAST = 5e-5
#: By how much probabilities are moved to the safe side: several times the
#: error of the quadrature, which tests measure.
_MARGIN = 1e-9
#: Squares from which on the quadrature has too few digits; nothing is claimed.
_HUGE = 1e11
#: Levels that differ by more than e^20 are told apart for certain.
_APART = 20.0
#: The precision of a radius, of which it is rounded down.
_PRECISION = 1e-9


@functools.lru_cache(maxsize=2**14)  # rows are read more than once
def certified_radius(
  z: float, sigma: float, *, rate: float, pixels: int, slack: float = 0.0
) -> float:
  """The radius within which a class keeps its majority.

  Guarantee: where the class has at least Phi(z) of the votes at x, under noise
  of level sigma, and the level varies by no more than `rate` and `slack`, it
  has more than half of them at every point closer to x than the radius.

  Args:
    z: A lower bound on the vote probability, as a z-score.
    sigma: The noise level at x, in pixel units.
    rate: The Lipschitz constant of the logarithm of the level, per pixel unit.
    pixels: The dimension of an image, its channels included.
    slack: By how much logarithms of the level may differ besides, at any two
      points, as it is computed with so many digits.

  Returns:
    The radius in pixel units, rounded down; 0 without a majority.

  Raises:
    ValueError: If sigma, the rate or the slack is none.
  """
  if not 0 < sigma < math.inf:
    raise ValueError(f'sigma must be positive and finite, not {sigma!r}.')
  if not 0 <= rate < math.inf:
    raise ValueError(f'rate must not be negative, and finite, not {rate!r}.')
  if not 0 <= slack < math.inf:
    raise ValueError(f'slack must not be negative, and finite, not {slack!r}.')
  if pixels < 1:
    raise ValueError(f'pixels must be at least 1, not {pixels}.')
  if not z > 0:  # NaN too
    return 0.0
  mass = float(special.ndtr(-z))
  constant = sigma * z * (1 - _PRECISION)
  if not mass > 0 or math.isinf(z):
    raise ValueError(f'z = {z!r} is no bound from a number of votes.')
  if not rate and not slack:
    return constant
  rate = max(rate, _LEAST / sigma)
  low, high = 0.0, constant
  while high - low > _PRECISION * constant:
    middle = (low + high) / 2
    spread = rate * middle + slack
    if worst_mass(mass, middle, sigma, spread=spread, pixels=pixels) < 0.5:
      low = middle
    else:
      high = middle
  return low


def worst_mass(
  mass: float, distance: float, sigma: float, *, spread: float, pixels: int
) -> float:
  """What a set of a given mass at x may have at a distance, rounded up.

  Args:
    mass: Its probability under N(x, sigma^2 I).
    distance: That of x', in pixel units.
    sigma: The level at x.
    spread: That of the level; the one at x' is between sigma / e^spread and
      sigma * e^spread.
    pixels: The dimension.

  Returns:
    The largest of the three: both ends, and the same level; 1 where one of them
    cannot be computed.
  """
  if not spread < _APART:
    return 1.0
  factor = math.exp(spread)
  found = (
    float(special.ndtr(special.ndtri(mass) + distance / sigma)) + _MARGIN,
    smaller_level(mass, distance, sigma, sigma / factor, pixels),
    larger_level(mass, distance, sigma, sigma * factor, pixels),
  )
  return max(found) if all(map(math.isfinite, found)) else 1.0


def smaller_level(
  mass: float, distance: float, sigma: float, other: float, pixels: int
) -> float:
  """The worst mass at x' where its level is below that of x: of a ball."""
  if not other < sigma:
    return 0.0
  there, here = _offsets(distance, sigma, other)
  squared = _quantile(mass + _MARGIN, pixels, here)
  return cdf((sigma / other) ** 2 * squared, pixels, there) + _MARGIN


def larger_level(
  mass: float, distance: float, sigma: float, other: float, pixels: int
) -> float:
  """The worst mass where the level is above: of the outside of a ball."""
  if not other > sigma:
    return 0.0
  there, here = _offsets(distance, sigma, other)
  squared = _quantile(1 - mass - _MARGIN, pixels, here)
  return 1 - cdf((sigma / other) ** 2 * squared, pixels, there) + _MARGIN


def _offsets(distance, sigma, other) -> tuple[float, float]:
  """How far the centre is from x' and from x, in units of their levels."""
  gap = abs((sigma - other) * (sigma + other))
  return distance * other / gap, distance * sigma / gap


@functools.cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
  """Nodes and weights for integrals over [0, 1]."""
  nodes, weights = np.polynomial.legendre.leggauss(_NODES)
  return (1 + nodes) / 2, weights / 2


def cdf(squared: float, pixels: int, offset: float) -> float:
  """P[|e - c|^2 <= squared] for e ~ N(0, I) and |c| = `offset`.

  The noncentral chi-square law with noncentrality offset^2. In many dimensions
  it is an integral over the squares of all coordinates but one, that of the
  direction of c. Unlike a sum over Poisson weights it gets no harder as the
  offset grows.

  Args:
    squared: The square of the ball's radius.
    pixels: The dimension.
    offset: The distance of the centre.

  Returns:
    The probability; NaN where it is not known to enough digits.
  """
  if not squared < _HUGE:
    return math.nan
  if pixels < _MANY:
    return float(stats.ncx2.cdf(squared, pixels, offset**2))
  rest = pixels - 1
  spread = _FAR * math.sqrt(2 * rest)
  # With w the sum of the other squares, the one coordinate is within
  # sqrt(squared - w) of the centre; in terms of that root all is smooth.
  low = math.sqrt(max(0.0, squared - rest - spread))
  high = math.sqrt(max(0.0, squared - max(0.0, rest - spread)))
  nodes, weights = _nodes()
  root = low + (high - low) * nodes
  others = squared - root**2
  log_density = (
    (rest / 2 - 1) * np.log(np.maximum(others, 1e-300) / 2)
    - others / 2
    - special.gammaln(rest / 2)
  )
  within = special.ndtr(root - offset) - special.ndtr(-root - offset)
  values = root * np.exp(log_density) * within
  return float(np.clip((high - low) * (weights @ values), 0.0, 1.0))


def _quantile(mass: float, pixels: int, offset: float) -> float:
  """The square of the radius at which a ball has a mass; NaN if unknown."""
  mean = pixels + offset**2
  deviation = math.sqrt(2 * (pixels + 2 * offset**2))
  low = max(0.0, mean - 12 * deviation)
  high = mean + 40 * deviation
  if not cdf(low, pixels, offset) <= mass <= cdf(high, pixels, offset):
    return math.nan
  found: Any = optimize.brentq(
    lambda squared: cdf(squared, pixels, offset) - mass,
    low,
    high,
    xtol=1e-12 * deviation,
    rtol=np.float64(8.9e-16),
  )
  return float(found)
