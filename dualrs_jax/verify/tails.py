"""The radius where the noise level varies, from docs/theory.md, section 9.

A class with probability 1 - p at x keeps its majority at the distance a while
no set has p at x and 1/2 at x'. Of the sets with 1/2 at x' the best one is a
ball there if the level falls to s = s_0 e^-t, with the median m of a noncentral
chi-square law as its squared radius in units of s, and the outside of that ball
if the level grows to s_0 e^t: the offset of the centre from x',

    b = a / (2 s_0 sinh t),

is the same for both. At x the balls have the squared radii m e^-2t and m e^2t,
and the offsets b e^t and b e^-t. So the radius is the a at which the least of
their masses and that of the half-space of a constant level falls to p.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import optimize, special

#: A slower level is taken to change this much per standard deviation.
_LEAST_RATE = 5e-5
#: What a careful computation may move probabilities and radii by.
_MASS, _RADIUS = 1.3e-9, 1e-8
#: Levels whose logarithms differ by more are told apart by every vote.
_APART = 20.0
#: How far the one coordinate is followed, in standard deviations.
_FAR = 9.0
#: -log of the probability beyond which there is none to speak of.
_NEVER = 40.0
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)


@functools.lru_cache(maxsize=4096)
def radius(
  z: float, sigma: float, rate: float, slack: float, pixels: int
) -> tuple[float, float]:
  """The radius, from the least that may be claimed to the most.

  Args:
    z: A lower bound on the probability of the class, as a z-score.
    sigma: The noise level at the image.
    rate: By how much the logarithm of the level changes with the distance, at
      most.
    slack: And by how much besides, as it is computed with so many digits.
    pixels: The dimension of an image.
  """
  if not z > 0:
    return 0.0, 0.0
  if not rate:
    exact = sigma * z
    return exact * (1 - _RADIUS), exact
  rate = max(rate, _LEAST_RATE / sigma)
  p = float(special.ndtr(-z))

  def solve(mass: float) -> float:
    """The distance at which a set with 1/2 has that mass at x."""
    start, end = 1e-9 * sigma * z, sigma * z
    lacks = lambda a: min(masses(a, sigma, rate * a + slack, pixels)) - mass
    if lacks(start) <= 0:
      return 0.0
    return end if lacks(end) >= 0 else _root(lacks, start, end, 1e-12 * end)

  most = solve(p)
  return max(0.0, solve(p + _MASS) - _RADIUS * sigma * max(z, 1.0)), most


def masses(
  a: float, sigma: float, t: float, pixels: int
) -> tuple[float, float, float]:
  """What the best sets with 1/2 at x' have at x.

  Args:
    a: The distance of x'.
    sigma: The noise level at x.
    t: By how much the logarithm of the level at x' may differ.
    pixels: The dimension.

  Returns:
    Where the level is the same, where it falls and where it grows.
  """
  if t > _APART:
    return 0.0, 0.0, 0.0
  offset = a / sigma / (2 * math.sinh(t))
  middle = median(pixels, offset)
  return (
    float(special.ndtr(-a / sigma)),
    ball(middle * math.exp(-2 * t), pixels, offset * math.exp(t)),
    1 - ball(middle * math.exp(2 * t), pixels, offset * math.exp(-t)),
  )


@functools.lru_cache(maxsize=2**14)
def median(pixels: int, offset: float) -> float:
  """The squared radius of a ball with half of the mass, see `ball`."""
  mean = pixels + offset**2
  deviation = math.sqrt(2 * (pixels + 2 * offset**2))
  lacks = lambda squared: ball(squared, pixels, offset) - 0.5
  # A median is within a standard deviation of the mean.
  low = max(0.0, mean - 1.01 * deviation)
  return _root(lacks, low, mean + 1.01 * deviation, 1e-13 * mean)


def ball(squared: float, pixels: int, offset: float) -> float:
  """P[|e - c|^2 <= squared] for e ~ N(0, I) and |c| = `offset`.

  With g the coordinate of e towards c and v = g - offset, the other squares sum
  to at most `squared` - v^2: a chi-square law. Where that is nearly sure the
  law of g is all there is; where it is not, it is integrated over the angle
  whose sine is v / sqrt(squared), in which it is smooth up to the ends.
  """
  if squared <= 0:
    return 0.0
  reach, rest = math.sqrt(squared), pixels - 1
  if not rest:
    return float(special.ndtr(reach - offset) - special.ndtr(-reach - offset))
  # Laurent and Massart (2000) bound both tails of the law of the rest.
  spread = 2 * math.sqrt(_NEVER * rest)
  inner = math.sqrt(max(0.0, squared - rest - spread - 2 * _NEVER))
  outer = math.sqrt(max(0.0, squared - max(0.0, rest - spread)))
  total = float(special.ndtr(inner - offset) - special.ndtr(-inner - offset))
  for low, high in ((-outer, -inner), (inner, outer)):
    low, high = max(low, -offset - _FAR), min(high, -offset + _FAR)
    if low >= high:
      continue
    first, last = math.asin(low / reach), math.asin(high / reach)
    angles = first + (last - first) * (1 + _NODES) / 2
    v, across = reach * np.sin(angles), reach * np.cos(angles)
    law = np.exp(-((v + offset) ** 2) / 2) / math.sqrt(2 * math.pi)
    within = special.gammainc(rest / 2, across**2 / 2)
    total += float(_WEIGHTS @ (law * within * across)) * (last - first) / 2
  return min(total, 1.0)


def _root(
  function: Callable[[float], float], low: float, high: float, close: float
) -> float:
  found: Any = optimize.brentq(
    function, low, high, xtol=close, rtol=np.float64(1e-14)
  )
  return float(found)
