"""Bounds against independent computations, and always on the safe side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dualrs_jax import confidence

SIZES = [(10, 0.05), (100, 0.05), (1_000, 0.001), (10_000, 0.0005)]


def tail(n, counts, z):
  """P[c or more of n] at p = Phi(z), from the precise side."""
  with np.errstate(under='ignore'):
    return np.where(
      z < 0,
      stats.binom.sf(counts - 1, n, stats.norm.cdf(z)),
      stats.binom.cdf(n - counts, n, stats.norm.sf(z)),
    )


@pytest.mark.parametrize(
  ('n', 'alpha', 'largest', 'fewest'),
  [
    (1_000, 0.001, None, 550),
    (1_000, 0.0005, None, 553),
    (10_000, 0.001, 3.1986, 5_156),
    (10_000, 0.0005, 3.1709, 5_166),
    (100_000, 0.001, 3.8115, 50_490),
    (100_000, 0.0005, 3.7878, 50_521),
  ],
)
def test_published_figures(n, alpha, largest, fewest):
  table = confidence.lower_z(n, alpha)
  assert np.argmax(table > 0) == fewest
  unanimous = stats.norm.isf(-np.expm1(np.log(alpha) / n))
  assert table[n] == pytest.approx(unanimous, rel=1e-9)
  assert table[n] <= unanimous
  if largest is not None:
    assert table[n] == pytest.approx(largest, abs=6e-5)


@pytest.mark.parametrize(
  ('n', 'alpha'), [*SIZES, (100_000, 0.001), (10_000, 1e-12)]
)
def test_tail_at_the_bound_is_alpha_and_never_more(n, alpha):
  counts = np.arange(1, n + 1)
  reached = tail(n, counts, confidence.lower_z(n, alpha)[1:])
  assert np.all(reached <= alpha)
  assert np.all(reached >= alpha * (1 - 1e-6))


@pytest.mark.parametrize(('n', 'alpha'), SIZES)
def test_tables_are_increasing_and_symmetric(n, alpha):
  lower, upper = confidence.lower_z(n, alpha), confidence.upper_z(n, alpha)
  assert lower.dtype == upper.dtype == np.float64
  assert lower.shape == upper.shape == (n + 1,)
  assert np.all(np.diff(lower[1:]) > 0)
  assert lower[0] == -np.inf
  assert upper[n] == np.inf
  np.testing.assert_array_equal(upper, -lower[::-1])
  assert np.all(lower < upper)
  counts = np.arange(n)
  # P[c or fewer] at the upper bound is alpha, on the other side of it.
  reached = tail(n, n - counts, -upper[:-1])
  np.testing.assert_allclose(reached, alpha, rtol=1e-6)
  assert np.all(reached <= alpha)


def test_tables_are_shared_and_cannot_be_changed():
  assert confidence.lower_z(50, 0.01) is confidence.lower_z(50, 0.01)
  for table in (
    confidence.lower_z(50, 0.01),
    confidence.upper_z(50, 0.01),
    confidence.fewest_wins(50, 0.01),
  ):
    with pytest.raises(ValueError, match='read-only'):
      table[3] = 0


def test_coverage_of_the_lower_bound_is_exact():
  """For every p, by summation: the bound is above p with at most alpha."""
  n, alpha = 60, 0.05
  table = confidence.lower_z(n, alpha)
  counts = np.arange(n + 1)
  for z in np.concatenate([np.linspace(-3, 3, 201), table[1:] - 1e-9]):
    wrong = stats.binom.pmf(counts, n, stats.norm.cdf(z))[table > z].sum()
    assert wrong <= alpha * (1 + 1e-9)


@pytest.mark.parametrize('n', range(1, 10))
def test_nine_votes_never_certify(n):
  assert np.all(confidence.lower_z(n, 0.001) <= 0)
  with pytest.raises(ValueError, match='at least 10 are needed'):
    confidence.check_possible(n, 0.001)


def test_ten_votes_may_certify():
  assert confidence.lower_z(10, 0.001)[10] > 0
  confidence.check_possible(10, 0.001)


@pytest.mark.parametrize('power', range(1, 30))
def test_fewest_votes_in_the_message_are_right(power):
  alpha = 0.5**power
  with pytest.raises(ValueError, match=f'at least {power + 1} are needed'):
    confidence.check_possible(power, alpha)
  confidence.check_possible(power + 1, alpha)


@pytest.mark.parametrize('alpha', [0.0, 1.0, -0.1, 1.5, float('nan')])
def test_alpha_is_a_probability(alpha):
  for function in (
    confidence.check_possible,
    confidence.lower_z,
    confidence.upper_z,
    confidence.fewest_wins,
  ):
    with pytest.raises(ValueError, match=r'failure probability in \(0, 1\)'):
      function(100, alpha)


def test_the_least_alpha_leaves_digits_to_all_of_its_shares():
  least = confidence.LEAST_ALPHA
  with pytest.raises(ValueError, match='the smallest failure .* is 1e-300'):
    confidence.check_possible(2000, np.nextafter(least, 0))
  confidence.check_possible(2000, least, share=1e-6)
  assert least * 1e-6 > np.finfo(np.float64).tiny


def test_no_votes():
  with pytest.raises(ValueError, match='n must be at least 1, not 0'):
    confidence.check_possible(0, 0.1)


@pytest.mark.parametrize(('n', 'alpha'), [*SIZES, (100_000, 0.001)])
def test_float32_is_never_above_float64(n, alpha):
  table = confidence.lower_z(n, alpha)
  counts = np.arange(n + 1)
  exact = confidence.lookup(table, counts)
  np.testing.assert_array_equal(exact, table)
  narrow = confidence.lookup(table, jnp.asarray(counts))
  assert narrow.dtype == jnp.float32
  narrow = np.asarray(narrow, np.float64)
  assert np.all(narrow <= exact)
  np.testing.assert_allclose(narrow, exact, rtol=2e-7)


def test_counts_out_of_range():
  table = confidence.lower_z(20, 0.05)
  counts = jnp.array([-21, -1, 0, 20, 21, 2**30])
  found = jax.jit(lambda c: confidence.lookup(table, c))(counts)
  assert np.asarray(found)[[0, 1, 2, 4, 5]].tolist() == [-np.inf] * 5
  assert found[3] > 1
  for bad in (-1, 21):
    with pytest.raises(IndexError):
      confidence.lookup(table, np.array([3, bad]))


@pytest.mark.parametrize('sign', [-1, 1])
def test_products_round_down(sign):
  generator = np.random.default_rng(0)
  factors = generator.uniform(0.01, 3, 20_000).astype(np.float32)
  values = sign * generator.uniform(1e-3, 4, 20_000).astype(np.float32)
  product = confidence.scale_down(jnp.asarray(factors), jnp.asarray(values))
  exact = factors.astype(np.float64) * values
  assert np.all(np.asarray(product, np.float64) <= exact)
  np.testing.assert_allclose(product, exact, rtol=3e-7)
  wide = confidence.scale_down(factors.astype(np.float64), values.astype(float))
  assert np.all(wide < exact)  # the exact product is itself a float64
  np.testing.assert_allclose(wide, exact, rtol=1e-15)


def test_narrowing_rounds_down():
  values = np.array([0.1, 1 / 3, -0.1, 1.0, -np.inf, 1e-50])
  narrow = confidence.round_down_to_float32(values)
  assert narrow.dtype == np.float32
  assert np.all(narrow.astype(np.float64) <= values)
  assert narrow[3] == 1


@pytest.mark.parametrize('bad', [0.0, -0.5, np.nan, np.inf, -np.inf])
def test_a_level_that_makes_no_sense_is_nan(bad):
  for values in (np.zeros(1), jnp.zeros(1)):
    levels = np.asarray(confidence.level_like(np.float32([bad, 0.5]), values))
    assert np.isnan(levels[0])
    assert levels[1] == 0.5


def test_level_is_the_float32_that_scaled_the_noise():
  level = confidence.level_like(0.1, np.zeros(1))
  assert level == np.float64(np.float32(0.1))
  assert level.dtype == np.float64


@pytest.mark.parametrize('alpha', [0.001, 0.05, 0.3])
def test_fewest_wins_is_the_binomial_test(alpha):
  table = confidence.fewest_wins(60, alpha)
  assert table.dtype == np.int32
  for trials in range(61):
    wins = [
      w
      for w in range(trials // 2 + 1, trials + 1)
      if stats.binomtest(w, trials, 0.5).pvalue <= alpha
    ]
    assert table[trials] == min(wins, default=trials + 1)


@pytest.mark.parametrize('alpha', [0.001, 0.05])
def test_fewest_wins_of_many_votes(alpha):
  table = confidence.fewest_wins(100_000, alpha)
  for trials in (999, 1_000, 12_345, 100_000):
    wins = int(table[trials])
    assert stats.binomtest(wins, trials, 0.5).pvalue <= alpha
    assert stats.binomtest(wins - 1, trials, 0.5).pvalue > alpha
