"""Bounds at every number of votes, by another integral than the library's."""

import math

import numpy as np
import pytest

from dualrs_jax import mixture as library
from dualrs_jax.verify import mixture

COUNTS = [
  (1, 1),
  (7, 7),
  (40, 21),
  (40, 39),
  (300, 150),
  (300, 299),
  (300, 10),
  (10_000, 10_000),
  (10_000, 9_585),
  (10_000_000, 9_999_000),
  (10_000_000, 5_010_000),
]


@pytest.mark.parametrize('alpha', [0.3, 1e-3, 2.5e-5])
@pytest.mark.parametrize(('n', 'wins'), COUNTS)
def test_the_bound_is_that_of_the_library(n, wins, alpha):
  """Which is below the exact one by its margins, and no more."""
  said = library.lower_z(n, wins, alpha)
  least, most = mixture.bound(n, wins, alpha)
  assert least <= said <= most
  if math.isfinite(most):
    assert most - least < 1e-5


@pytest.mark.parametrize(('n', 'wins'), COUNTS)
def test_the_evidence_is_that_of_the_library(n, wins):
  for z in (-3.0, -1.0, 0.0, 0.5):
    expected = library.log_evidence(z, float(wins), float(n - wins))
    found = mixture.log_evidence(z, wins, n - wins)
    if expected > -1:  # else nothing is rejected, whatever it is
      assert found == pytest.approx(expected, abs=1e-6, rel=1e-9)


def test_a_bound_grows_with_the_votes_for_a_class():
  bounds = np.array([mixture.bound(200, wins, 0.01) for wins in range(201)])
  assert np.all(np.diff(bounds[:, 1][np.isfinite(bounds[:, 1])]) > 0)
  assert np.isneginf(bounds[0]).all()
