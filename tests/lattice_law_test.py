"""The law of integer noise, and its tables."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from scipy import special

from dualrs_jax import lattice_law

LEVELS = (0.12, 0.25, 0.5)


def exactly(level):
  """The level as float32 has it, which is the one that is sampled."""
  return float(np.float32(level))


def cell_by_series(t, level):
  """P[round(255 * level * N(0, 1)) = t], by integrating a Taylor series.

  The integral of phi over a cell around u of half width h is
  2 h phi(u) * sum over m of He_2m(u) h**2m / (2m + 1)!.
  """
  width = 1 / (255 * Decimal(level))
  u, h = t * width, width / 2
  pi = Decimal('3.14159265358979323846264338327950288419716939937510582097')
  previous, hermite = Decimal(0), Decimal(1)
  total, factor = Decimal(0), Decimal(1)
  for order in range(60):
    if order % 2 == 0:
      total += hermite * factor / (order + 1)
    previous, hermite = hermite, u * hermite - order * previous
    factor *= h / (order + 1)
  return 2 * h * (-u * u / 2).exp() / (2 * pi).sqrt() * total


def test_masses_are_the_nearest_and_the_distance_is_theirs():
  level, columns = exactly(0.06), 256
  law = lattice_law.law(level, columns)
  with localcontext(prec=60):
    ideal = [cell_by_series(t, level) for t in range(columns // 2)]
    exact = [mass * 2**64 for mass in ideal]
    masses = law.masses[columns // 2 :]
    for t in range(1, columns // 2):
      assert abs(masses[t] - exact[t]) <= Decimal('0.5000000001')
    # In total variation half of every difference counts, here by symmetry the
    # whole of those at t > 0; beyond the table the masses are 0.
    differences = [abs(m - e) for m, e in zip(masses, exact, strict=True)]
    beyond = 2**64 - exact[0] - 2 * sum(exact[1:])
    distance = (differences[0] + beyond) / 2 + sum(differences[1:])
    distance /= 2**64
  assert Decimal(law.total_variation) >= distance
  assert law.total_variation <= float(distance) * (1 + 1e-9)


@pytest.mark.parametrize('level', [*LEVELS, 0.001, 1e-9])
def test_masses_are_probabilities_of_a_normal_variable(level):
  law = lattice_law.law(exactly(level), 8192)
  assert len(law.masses) == 8192
  assert sum(law.masses) == 2**64
  assert min(law.masses) >= 0
  assert law.masses[0] == 0
  assert law.masses[1:] == law.masses[:0:-1]
  steps = np.arange(0, 4096)
  deviation = 255 * exactly(level)
  tails = special.ndtr(-(steps - 0.5) / deviation)
  ideal = tails - special.ndtr(-(steps + 0.5) / deviation)
  found = np.array(law.masses[4096:], np.float64) / 2.0**64
  np.testing.assert_allclose(found, ideal, rtol=1e-12, atol=2.0**-64)
  assert 0 < law.total_variation < 1e-16


def test_the_distribution_function_of_the_normal_law():
  """Against published digits: erf(1 / sqrt 2) / 2 and erf(sqrt 2) / 2."""
  digits = {
    1: '0.341344746068542948585232545632037922478',
    2: '0.477249868051820792799717362833466562528',
  }
  with localcontext(prec=60):
    for x, value in digits.items():
      found = lattice_law._phi_minus_half(Decimal(x))
      assert abs(found - Decimal(value)) < Decimal('1e-38')
    tail = Decimal('0.5') - lattice_law._phi_minus_half(Decimal(8))
  assert float(tail) == pytest.approx(special.ndtr(-8.0), rel=1e-13)
  assert lattice_law._phi_minus_half(Decimal(16)) == Decimal('0.5')


@pytest.mark.parametrize(
  'masses',
  [
    [4, 4, 4, 4],
    [16, 0, 0, 0],
    [0, 0, 1, 15],
    [5, 3, 5, 3],
    [1, 2, 3, 10],
    [7],
  ],
)
def test_alias_tables(masses):
  thresholds, aliases = lattice_law.alias_table(masses)
  size = sum(masses) // len(masses)
  found = [0] * len(masses)
  for column, (threshold, alias) in enumerate(
    zip(thresholds, aliases, strict=True)
  ):
    assert 0 <= threshold < size
    found[column] += threshold
    found[alias] += size - threshold
  assert found == masses


def test_the_largest_level_loses_little():
  """Beyond the table there is less than the rounding of a double."""
  assert lattice_law.law(0.0602, 256).total_variation < 1.2e-16
  assert lattice_law.law(0.065, 256).total_variation > 1e-15
