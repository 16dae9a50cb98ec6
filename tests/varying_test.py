"""Radii under a varying level: tails against SciPy, radii against attacks."""

import math

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

from dualrs_jax import varying

PIXELS = 3_072

#: Radii of lb, level and rates .01, .02, .05 as they were published for 3,072
#: pixels, from a coarser search: up to 3 % below ours.
REPORTED = {
  (0.25, 0.8): (0.210, 0.203, 0.193, 0.150),
  (0.25, 0.99): (0.582, 0.562, 0.532, 0.404),
  (0.25, 0.9999): (0.930, 0.898, 0.851, 0.646),
  (0.5, 0.8): (0.421, 0.385, 0.328, 0.186),
  (0.5, 0.99): (1.163, 1.065, 0.907, 0.513),
  (0.5, 0.9999): (1.860, 1.702, 1.450, 0.820),
}


@pytest.mark.parametrize(('sigma', 'lower'), REPORTED)
def test_reported_table(sigma, lower):
  z = special.ndtri(lower)
  for rate, reported in zip(
    (0.0, 0.01, 0.02, 0.05), REPORTED[sigma, lower], strict=True
  ):
    radius = varying.certified_radius(z, sigma, rate=rate, pixels=PIXELS)
    assert reported - 5e-4 <= radius <= 1.03 * reported
    assert radius < sigma * z


@pytest.mark.parametrize('pixels', [3, 64, 784, 3_072])
@pytest.mark.parametrize('offset', [0.0, 0.5, 30.0, 200.0, 2_000.0])
def test_tails_are_those_of_scipy(pixels, offset):
  law = stats.ncx2(pixels, offset**2) if offset else stats.chi2(pixels)
  for mass in (1e-7, 1e-3, 0.3, 0.5, 0.999):
    found = varying.cdf(float(law.ppf(mass)), pixels, offset)
    assert abs(found - mass) < 2e-10 < varying._MARGIN / 4


@pytest.mark.parametrize('offset', [1e3, 1e4])
def test_far_centres_against_an_integral_of_another_kind(offset):
  """Over the one coordinate, adaptively, where SciPy's sum is long."""
  mean, spread = PIXELS + offset**2, math.sqrt(2 * PIXELS + 4 * offset**2)
  for at in (-2.0, 0.1, 3.0):
    squared = mean + at * spread

    def given(t, squared=squared):
      rest = max(0.0, squared - (t - offset) ** 2)
      inside = special.gammainc((PIXELS - 1) / 2, rest / 2)
      return inside * stats.norm.pdf(t)

    edge = offset - math.sqrt(squared - PIXELS)
    near = [edge - 400 / offset, edge, edge + 400 / offset]
    expected, _ = integrate.quad(
      given, -10, 10, points=near, limit=400, epsabs=1e-13, epsrel=1e-12
    )
    assert varying.cdf(squared, PIXELS, offset) == pytest.approx(
      expected, abs=3e-10
    )


def test_the_worst_level_is_at_an_end_of_the_interval():
  """Between the ends there is a dip and no peak, on either side."""
  mass, sigma, distance = 0.01, 0.5, 0.5
  for part, sign in ((varying.smaller_level, -1), (varying.larger_level, 1)):
    inside = [
      part(mass, distance, sigma, sigma * math.exp(sign * step), PIXELS)
      for step in np.geomspace(1e-4, 0.02, 25)
    ]
    falls = np.diff(inside) < -1e-12
    assert not np.any(np.diff(falls.astype(int)) > 0)  # never falls again
  same = special.ndtr(special.ndtri(mass) + distance / sigma)
  dip = varying.smaller_level(mass, distance, sigma, 0.9999 * sigma, PIXELS)
  assert dip == pytest.approx(0.092345, abs=2e-6)
  assert dip < same == pytest.approx(0.092362, abs=2e-6)


def true_mass(at, *, ball, centre, sigma, rate, pixels):
  """What a ball holds at a point of a line, where log sigma is rate * at."""
  level = sigma * math.exp(rate * at)
  return varying.cdf((ball / level) ** 2, pixels, abs(at - centre) / level)


@pytest.mark.parametrize('pixels', [100, 3_072])
@pytest.mark.parametrize('sign', [-1, 1])
def test_worst_classifiers_attain_the_radius(pixels, sign):
  """A ball, or its outside, and a level that changes as fast as it may.

  With the level falling along a line y is the outside of a ball, with the
  level growing its inside. One of them loses its majority at the radius; and
  there a certificate that looks at one side alone claims too much.
  """
  sigma, rate, z = 0.5, 0.1, 2.0
  mass = special.ndtr(-z)
  radius = varying.certified_radius(z, sigma, rate=rate, pixels=pixels)
  other = sigma * math.exp(sign * rate * radius)
  gap = sigma**2 - other**2
  centre = radius * sigma**2 / gap  # beyond x' or behind x
  here = abs(centre) / sigma
  inside = mass if sign < 0 else 1 - mass
  ball = sigma * math.sqrt(varying._quantile(inside, pixels, here))

  def loses(at):
    held = true_mass(
      at,
      ball=ball,
      centre=centre,
      sigma=sigma,
      rate=sign * rate,
      pixels=pixels,
    )
    return held if sign < 0 else 1 - held

  assert loses(0.0) == pytest.approx(mass, rel=1e-8)
  points = np.linspace(0, radius * (1 - 1e-6), 20)
  assert max(map(loses, points)) < 0.5
  # Of both sides, this one is worse where the level grows.
  if sign > 0:
    assert loses(radius * (1 + 1e-4)) > 0.5


def test_control_one_side_of_the_chi_square_alone():
  """Only levels that fall: above the truth where the level grows."""
  sigma, rate, z = 0.5, 0.1, 2.0
  mass = special.ndtr(-z)
  radius = varying.certified_radius(z, sigma, rate=rate, pixels=PIXELS)

  def part(side, sign):
    return lambda at: side(
      mass, at, sigma, sigma * math.exp(sign * rate * at), PIXELS
    )

  falls = part(varying.smaller_level, -1)
  grows = part(varying.larger_level, 1)
  alone = optimize.brentq(lambda at: falls(at) - 0.5, radius / 2, 2 * radius)
  assert alone > 1.005 * radius
  assert falls(alone * 0.999) < 0.5 < grows(alone * 0.999)


def test_limits():
  constant = varying.certified_radius(2.0, 0.5, rate=0.0, pixels=PIXELS)
  assert 1 - 1e-8 < constant < 1
  slow = varying.certified_radius(2.0, 0.5, rate=1e-7, pixels=PIXELS)
  assert 0.999 < slow < constant
  radii = [
    varying.certified_radius(2.0, 0.5, rate=rate, pixels=100)
    for rate in (0.01, 0.1, 1.0)
  ]
  assert radii == sorted(radii, reverse=True)
  for z in (0.0, -1.0, -math.inf, math.nan):
    assert varying.certified_radius(z, 0.5, rate=0.1, pixels=10) == 0
  for changes in ({'rate': -1.0}, {'rate': math.nan}, {'pixels': 0}):
    with pytest.raises(ValueError, match=next(iter(changes))):
      varying.certified_radius(
        1.0, 0.5, **({'rate': 0.1, 'pixels': 10} | changes)
      )


def test_where_a_tail_cannot_be_computed_nothing_is_claimed():
  for spread in (math.inf, math.nan, 30.0):
    assert varying.worst_mass(0.1, 1.0, 0.5, spread=spread, pixels=100) == 1
  assert math.isnan(varying.cdf(1e13, 3072, 10.0))
  for rate in (50.0, 1_500.0, 1e6):
    radius = varying.certified_radius(2.0, 0.5, rate=rate, pixels=16)
    assert 0 <= radius < 1 / rate
  with pytest.raises(ValueError, match='slack must not be negative'):
    varying.certified_radius(2.0, 0.5, rate=0.1, pixels=16, slack=-1.0)
