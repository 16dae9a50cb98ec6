"""Sequential bounds by a second computation are those of the library."""

import numpy as np
import pytest

from dualrs_jax import boundaries, lookups
from dualrs_jax.verify import looks
from dualrs_jax.verify.schedules import SCHEDULES, numbers


@pytest.mark.parametrize('n', [1, 20, 32, 33, 100, 300, 1_000, 100_000])
def test_looks_and_their_budgets(n):
  for asked, schedule in SCHEDULES.items():
    found = schedule(n)
    shape = lookups._deciding_shape if asked == 'class' else lookups._shape
    expected, weights = shape(n, asked)
    assert found.looks == expected
    np.testing.assert_allclose(found.spendable, np.cumsum(weights), rtol=1e-12)


@pytest.mark.parametrize(
  ('n', 'alpha', 'asked'),
  [
    (20, 0.01, 'grid'),
    (100, 7e-4, 'full'),
    (300, 5e-5, 'radius'),
    (300, 1e-3, 'class'),
    (300, 1e-3, 'nearly full'),
    (1000, 2.5e-5, 'radius'),
  ],
)
def test_bounds_are_those_of_the_library(n, alpha, asked):
  schedule = SCHEDULES[asked](n)
  points = np.append(looks.grid(n, alpha), -np.inf)
  least, most = (
    np.concatenate([points[row] for row in rows])
    for rows in looks.table(schedule, alpha)
  )
  weights = tuple(np.diff(schedule.spendable, prepend=0.0).tolist())
  library = boundaries.lower_bounds(schedule.looks, alpha, weights)
  assert np.all(library >= least)
  assert np.all(library <= most)
  assert np.mean(least == most) > 0.99


def test_a_hypothesis_that_is_barely_rejected_may_be_kept(monkeypatch):
  """With a coarse sense of equality the two bounds come apart."""
  monkeypatch.setattr(looks, '_CLOSE', 1e-7)
  looks.table.cache_clear()
  least, most = looks.table(SCHEDULES['radius'](100), 0.001)
  looks.table.cache_clear()
  pairs = [*zip(least, most, strict=True)]
  assert all(np.all(low <= high) for low, high in pairs)
  assert any(np.any(low < high) for low, high in pairs)


def test_a_class_is_looked_at_before_all_else():
  assert SCHEDULES['class'](100).looks == (16, 24, *numbers(100))
