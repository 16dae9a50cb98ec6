"""Bounds at every number of votes: published figures, exact laws, numerics."""

import numpy as np
import pytest
from scipy import special

from dualrs_jax import confidence, mixture

#: Lower bounds on p at alpha = .0005, from a computation of its own.
TABLE = {
  (10_000, 9_785): 0.97128,
  (10_000, 9_586): 0.94882,
  (10_000, 8_768): 0.86082,
  (10_000, 10_000): 0.99912,
  (1_000, 900): 0.85259,
}


@pytest.mark.parametrize(('votes', 'bound'), TABLE.items())
def test_published_bounds(votes, bound):
  found = special.ndtr(mixture.lower_z(*votes, 0.0005))
  np.testing.assert_allclose(found, bound, atol=5.1e-6)
  assert found < special.ndtr(confidence.lower_z(votes[0], 0.0005)[votes[1]])


def test_bounds_are_mirrored():
  wins = np.arange(201)
  lower = mixture.lower_z(200, wins, 0.01)
  np.testing.assert_array_equal(mixture.upper_z(200, 200 - wins, 0.01), -lower)
  assert np.all(np.diff(lower[lower > -np.inf]) > 0)
  assert lower[0] == -np.inf


@pytest.mark.parametrize('alpha', [0.5, 0.05, 0.001, 1e-9])
@pytest.mark.parametrize('n', [1, 7, 100])
def test_all_smaller_thresholds_are_rejected(n, alpha):
  """The bound is the end of the rejected thresholds, and they have no gap."""
  for wins in range(n + 1):
    bound = mixture.lower_z(n, wins, alpha)
    if bound > -np.inf:
      below = np.linspace(-8, bound, 500)
      evidence = mixture.log_evidence(below, float(wins), float(n - wins))
      assert np.all(evidence >= -np.log(alpha))
      assert np.all(np.diff(evidence) <= 1e-9)


@pytest.mark.parametrize(('won', 'lost'), [(1, 0), (40, 3), (700, 300)])
def test_evidence_is_a_mean_of_likelihood_ratios(won, lost):
  """Of all p above the threshold, weighed by the arcsine law."""
  for z in (-1.0, 0.1, 1.5):
    p = special.ndtr(z)
    # p = cos^2, so that the arcsine law is uniform in the angle.
    angles = np.linspace(0, np.arccos(np.sqrt(p)), 200_001)
    angles = (angles[1:] + angles[:-1]) / 2
    ratio = won * np.log(np.cos(angles) ** 2 / p)
    ratio += lost * np.log(np.sin(angles) ** 2 / (1 - p))
    np.testing.assert_allclose(
      mixture.log_evidence(z, float(won), float(lost)),
      special.logsumexp(ratio) - np.log(len(angles)),
      atol=1e-5,
    )


def ever_wrong(alpha, p, votes):
  """P[a bound of the first votes is not below p], vote by vote, exactly."""
  law = np.zeros(votes + 1)  # by failures
  law[0] = 1
  z = special.ndtri(p)
  for n in range(1, votes + 1):
    law[1 : n + 1] = law[1 : n + 1] * p + law[:n] * (1 - p)
    law[0] *= p
    # Few failures are a bound of p or more, so that a search finds how many.
    low, high = -1, n
    while low < high:
      middle = (low + high + 1) // 2
      won, lost = float(n - middle), float(middle)
      wrong = mixture._rejected(z, won, lost, -np.log(alpha))
      low, high = (middle, high) if wrong else (low, middle - 1)
    law[: low + 1] = 0
  return 1 - law.sum()


@pytest.mark.parametrize('p', [0.5, 0.95])
def test_never_wrong_more_often_than_alpha_at_all_numbers_at_once(p):
  assert 0.01 < ever_wrong(0.05, p, 300) <= 0.05


def test_a_two_sided_constant_twice_over_is_seen():
  """Half of the evidence that is needed: alpha as if there were two sides."""
  assert ever_wrong(4 * 0.05, 0.5, 300) > 0.05


@pytest.mark.parametrize(
  ('n', 'wins', 'alpha', 'error'),
  [
    (10, 11, 0.1, IndexError),
    (10, -1, 0.1, IndexError),
    (10, 5, 0.0, ValueError),
    (mixture.MOST_VOTES + 1, 5, 0.1, ValueError),
  ],
)
def test_what_is_refused(n, wins, alpha, error):
  with pytest.raises(error):
    mixture.lower_z(n, wins, alpha)
