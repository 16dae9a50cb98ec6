"""The radius of a varying level, by other integrals than the library's."""

import numpy as np
import pytest
from scipy import stats

from dualrs_jax import varying
from dualrs_jax.verify import tails


@pytest.mark.parametrize(
  ('pixels', 'offset', 'squared'),
  [
    (1, 2.0, 3.0),
    (2, 0.5, 1.0),
    (3, 5.0, 20.0),
    (16, 30.0, 900.0),
    (64, 3.0, 40.0),
    (3072, 100.0, 12_500.0),
    (3072, 100.0, 13_500.0),
    (150_528, 300.0, 240_500.0),
  ],
)
def test_the_mass_of_a_ball(pixels, offset, squared):
  """SciPy sums Poisson weights; here it is an integral."""
  expected = stats.ncx2.cdf(squared, pixels, offset**2)
  found = tails.ball(squared, pixels, offset)
  assert found == pytest.approx(expected, rel=1e-10)
  middle = tails.median(pixels, offset)
  assert tails.ball(middle, pixels, offset) == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize('z', [1e-3, 0.3, 1.5, 3.1, 4.5])
@pytest.mark.parametrize(
  ('pixels', 'sigma', 'rate', 'slack'),
  [
    (3072, 0.5, 0.01, 3e-5),
    (3072, 0.5, 1e-6, 1e-6),
    (150_528, 1.0, 0.005, 1e-3),
    (64, 0.25, 1.0, 1e-6),
    (16, 0.25, 5.0, 0.1),
    (3, 1.0, 0.3, 1e-6),
    (2, 1.0, 2.0, 1e-6),
    (1, 1.0, 2.0, 1e-6),
  ],
)
def test_the_radius_is_that_of_the_library(z, pixels, sigma, rate, slack):
  """Which is below the exact one by its margins, and no more."""
  said = varying.certified_radius(
    z, sigma, rate=rate, pixels=pixels, slack=slack
  )
  least, most = tails.radius(z, sigma, rate, slack, pixels)
  assert least <= said <= most
  # Probabilities are moved by 1e-9: more of a radius, the rarer they are.
  assert most - least < (1e-7 + 2e-9 / stats.norm.pdf(z)) * sigma


@pytest.mark.parametrize(
  ('pixels', 'a', 't'), [(3072, 0.6, 0.02), (3072, 0.3, 1e-4), (5, 0.8, 0.7)]
)
def test_the_masses_at_x_have_half_elsewhere(pixels, a, t):
  """The library goes the other way, from x to x', on either side."""
  sigma = 0.5
  same, falls, grows = tails.masses(a, sigma, t, pixels)
  assert stats.norm.cdf(stats.norm.ppf(same) + a / sigma) == pytest.approx(0.5)
  for mass, there, level in (
    (falls, varying.smaller_level, sigma * np.exp(-t)),
    (grows, varying.larger_level, sigma * np.exp(t)),
  ):
    assert there(mass, a, sigma, level, pixels) == pytest.approx(0.5, abs=1e-7)
