"""Bounds and tests of votes cast once are those of the library."""

import numpy as np
import pytest

from dualrs_jax import confidence, metrics
from dualrs_jax.verify import bounds


@pytest.mark.parametrize(('n', 'alpha'), [(1, 0.3), (60, 1e-3), (999, 1e-5)])
def test_the_bound_of_clopper_and_pearson(n, alpha):
  """The library's is below the exact one, by its margins and no more."""
  library = confidence.lower_z(n, alpha)
  least, most = np.array(
    [bounds.fixed(wins, n, alpha) for wins in range(n + 1)]
  ).T
  assert np.all(library <= most)
  assert np.all(library >= least)
  np.testing.assert_allclose(least, most, atol=1e-8)


@pytest.mark.parametrize('alpha', [0.3, 0.05, 0.001])
def test_the_decision_of_predict(alpha):
  fewest = confidence.fewest_wins(60, alpha)
  for votes in range(61):
    for wins in range(votes + 1):
      decided = bounds.is_winner(wins, votes - wins, alpha)
      assert decided == (wins >= fewest[votes])


@pytest.mark.parametrize('hits', [0, 1, 17, 40])
def test_the_interval_of_a_share(hits):
  low, high = metrics.accuracy_interval(hits / 40, 40, alpha=0.05)
  assert bounds.interval(hits, 40) == pytest.approx((float(low), float(high)))
