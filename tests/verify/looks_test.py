"""Sequential bounds by a second computation are those of the library."""

import numpy as np
import pytest

from dualrs_jax import boundaries, sequential
from dualrs_jax.verify import looks


@pytest.mark.parametrize('n', [1, 20, 32, 33, 100, 300, 1_000, 100_000])
def test_looks_and_their_budgets(n):
  assert looks.numbers(n) == sequential.default_looks(n)
  number = len(looks.numbers(n))
  for share in (0.5, 0.75):
    np.testing.assert_allclose(
      looks.spendable(number, share),
      np.cumsum(sequential.spending(number, share)),
    )


@pytest.mark.parametrize(
  ('n', 'alpha', 'share'),
  [(20, 0.01, 0.5), (100, 7e-4, 0.75), (300, 5e-5, 0.5), (1000, 2.5e-5, 0.5)],
)
def test_bounds_are_those_of_the_library(n, alpha, share):
  points = np.append(looks.grid(n, alpha), -np.inf)
  least, most = (
    np.concatenate([points[row] for row in rows])
    for rows in looks.table(n, alpha, share)
  )
  weights = sequential.spending(len(looks.numbers(n)), share)
  library = boundaries.lower_bounds(looks.numbers(n), alpha, weights)
  assert np.all(library >= least)
  assert np.all(library <= most)
  assert np.mean(least == most) > 0.99


def test_a_hypothesis_that_is_barely_rejected_may_be_kept(monkeypatch):
  """With a coarse sense of equality the two bounds come apart."""
  monkeypatch.setattr(looks, '_CLOSE', 1e-7)
  looks.table.cache_clear()
  least, most = looks.table(100, 0.001, 0.5)
  looks.table.cache_clear()
  pairs = [*zip(least, most, strict=True)]
  assert all(np.all(low <= high) for low, high in pairs)
  assert any(np.any(low < high) for low, high in pairs)
