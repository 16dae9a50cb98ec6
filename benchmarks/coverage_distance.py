"""A level that varies with the input: the worst classifier there is.

The other class is the outside of a ball, or its inside, and the level changes
along a line as fast as it may: `varying` says that no classifier loses its
majority earlier. Noisy points are drawn as their distances to the centre of the
ball, in all dimensions, so that neither tails nor bounds enter a vote.
"""

import functools
import math
from collections.abc import Iterator

import numpy as np
from scipy import optimize, special, stats

from benchmarks import coverage_cases as cases
from benchmarks.coverage_cases import Case
from dualrs_jax import confidence, varying

_PIXELS = 3_072
_SIGMA, _RATE = 0.5, 0.1


def worst(sign, z):
  """Where a ball is that takes the majority as early as it can.

  Args:
    sign: That of the change of the level, towards the point.
    z: The class has Phi(z) of the votes at the image.

  Returns:
    The true radius; how far the centre is, and the ball's radius squared, both
    in units of the level; and whether the other class is inside.
  """
  mass = special.ndtr(-z)
  side = varying.smaller_level if sign < 0 else varying.larger_level

  def excess(at):
    other = _SIGMA * math.exp(sign * _RATE * at)
    return side(mass, at, _SIGMA, other, _PIXELS) - varying._MARGIN - 0.5

  radius = optimize.brentq(excess, 1e-3, 2 * _SIGMA * z, xtol=1e-12)
  other = _SIGMA * math.exp(sign * _RATE * radius)
  _, offset = varying._offsets(radius, _SIGMA, other)
  inside = sign < 0
  squared = varying._quantile(mass if inside else 1 - mass, _PIXELS, offset)
  return radius, offset, squared, inside


def of_certificate(generator, images, *, sign, z, claims):
  """Whether the radius that votes give exceeds the true one."""
  radius, offset, squared, inside = worst(sign, z)
  drawn = generator.noncentral_chisquare(_PIXELS, offset**2, (images, cases.N))
  wins = ((drawn <= squared) != inside).sum(axis=1)
  found = np.array([claims(count) for count in range(cases.N + 1)])
  return found[wins] > radius


@functools.cache
def certified(wins):
  """What the library claims."""
  z = float(confidence.lower_z(cases.N, cases.ALPHA)[wins])
  return varying.certified_radius(z, _SIGMA, rate=_RATE, pixels=_PIXELS)


@functools.cache
def one_sided(wins):
  """What levels that fall would allow, if no level could grow: a mistake."""
  z = float(confidence.lower_z(cases.N, cases.ALPHA)[wins])
  if not z > 0:
    return 0.0
  mass = special.ndtr(-z)

  def excess(at):
    other = _SIGMA * math.exp(-_RATE * at)
    return varying.smaller_level(mass, at, _SIGMA, other, _PIXELS) - 0.5

  found = optimize.brentq(excess, 1e-3 * z, 2 * _SIGMA * z)
  return min(found, _SIGMA * z)


@functools.cache
def constant(wins):
  """What the level of the image alone would give: a mistake."""
  z = float(confidence.lower_z(cases.N, cases.ALPHA)[wins])
  return _SIGMA * max(z, 0.0)


def exact(sign, z, claims):
  """P[votes for which more is claimed than is true]."""
  radius, *_ = worst(sign, z)
  least = next(k for k in range(cases.N + 1) if claims(k) > radius)
  return float(stats.binom(cases.N, special.ndtr(z)).sf(least - 1))


def valid_cases() -> Iterator[Case]:
  # The truth is just below a bound that can be met.
  z = float(confidence.lower_z(cases.N, cases.ALPHA)[245]) - 1e-4
  for sign, name in ((-1, 'falls'), (1, 'grows')):
    yield _case(f'distance, the level {name}', sign, z, certified)


def mistakes() -> Iterator[Case]:
  name = 'distance, one side of the chi-square alone'
  yield _case(name, 1, 2.0, one_sided, 'caught')
  yield _case(
    'distance, as if the level were constant', 1, 2.0, constant, 'caught'
  )


def _case(name, sign, z, claims, kind='equal') -> Case:
  event = functools.partial(of_certificate, sign=sign, z=z, claims=claims)
  return Case(name, '', event, exact(sign, z, claims), kind)
