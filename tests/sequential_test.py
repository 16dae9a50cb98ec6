"""Sequential bounds against enumeration, plain summation and simulation."""

import itertools

import numpy as np
import pytest
from scipy import special, stats

from dualrs_jax import boundaries, confidence, sequential
from tests import crossing, oracles

LOOKS = (3, 6, 8, 13)
ALPHA = 0.05


@pytest.fixture(autouse=True, scope='module')
def _own_cache(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('DUALRS_JAX_CACHE', str(tmp_path_factory.mktemp('cache')))
    yield


@pytest.fixture(scope='module')
def thousand():
  return sequential.table(1_000, ALPHA)


def rounded_down(values, grid):
  """The largest entry of the grid that is not above each value."""
  levels = np.concatenate([[-np.inf], grid])
  return levels[np.searchsorted(grid, values, side='right')]


def enumerated(z, looks, alpha, weights):
  """d_k(z) from the probabilities of all sequences of votes."""
  sequences = np.array(list(itertools.product([0, 1], repeat=looks[-1])))
  failures = np.cumsum(sequences, axis=1)[:, np.array(looks) - 1]
  q = special.ndtr(-z)
  total = failures[:, -1]
  probability = q**total * (1 - q) ** (looks[-1] - total)
  going_on, limits = np.ones(len(total), bool), []
  for k in range(len(looks)):
    spent = probability[~going_on].sum()
    for limit in range(looks[k], -2, -1):
      crosses = going_on & (failures[:, k] <= limit)
      if spent + probability[crosses].sum() <= alpha * sum(weights[: k + 1]):
        break
    going_on &= ~crosses
    limits.append(limit)
  return limits


@pytest.mark.parametrize('alpha', [0.05, 0.3])
@pytest.mark.parametrize('weights', [(0.1, 0.2, 0.2, 0.5), (0.25,) * 4])
def test_boundaries_are_those_of_enumeration(alpha, weights):
  z = np.linspace(-2.99, 1.9, 60)
  found = boundaries.boundaries(z, LOOKS, alpha, weights)
  expected = [enumerated(one, LOOKS, alpha, weights) for one in z]
  np.testing.assert_array_equal(found, np.transpose(expected))
  assert np.any(found >= 0)
  assert np.any(found < 0)


@pytest.mark.parametrize('final_share', [0.5, 0.75])
def test_boundaries_are_those_of_plain_summation(final_share):
  """At a size where transforms, windows and cuts all matter."""
  looks = sequential.default_looks(2_000)
  weights = sequential.spending(len(looks), final_share)
  z = np.concatenate([np.linspace(-2.9, 2.6, 23), [0.0, 1e-3, 2.65]])
  z.sort()
  found = boundaries.boundaries(z, looks, 0.001, weights)
  for one, limits in zip(z, found.T, strict=True):
    law, votes, spent = np.ones(1), 0, 0.0
    for k, look in enumerate(looks):
      more = look - votes
      pmf = stats.binom.pmf(np.arange(more + 1), more, special.ndtr(-one))
      law = np.convolve(law, pmf)
      tail = spent + np.cumsum(law)
      budget = 0.001 * sum(weights[: k + 1])
      assert limits[k] == np.count_nonzero(tail <= budget) - 1
      spent = tail[limits[k]] if limits[k] >= 0 else spent
      law[: limits[k] + 1] = 0
      votes = look


def test_bounds_are_nested():
  """A bound is the last grid point up to which everything is rejected."""
  weights = sequential.spending(len(LOOKS), 0.5)
  z = boundaries.grid(LOOKS[-1], ALPHA)
  limits = boundaries.boundaries(z, LOOKS, ALPHA, weights)
  table = sequential.table(LOOKS[-1], ALPHA, looks=LOOKS)
  for k, row in enumerate(crossing.by_failures(table)):
    for failures, bound in enumerate(row):
      rejected = limits[k] >= failures
      first = np.argmin(rejected) if not rejected.all() else len(z)
      assert bound == (z[first - 1] if first else -np.inf)
  assert np.any(np.diff(limits, axis=1) > 0), 'nesting must have work to do'


@pytest.mark.parametrize(
  ('n', 'alpha'),
  [(1, 0.3), (10, 0.05), (100, 0.001), (1_000, 0.05), (10_000, 0.001)],
)
def test_one_look_is_clopper_pearson_rounded_down(n, alpha):
  table = sequential.table(n, alpha, looks=[n])
  exact = confidence.lower_z(n, alpha)
  expected = rounded_down(exact, boundaries.grid(n, alpha))
  np.testing.assert_array_equal(table.lower_z(0, np.arange(n + 1)), expected)
  assert np.any(expected > -np.inf)


@pytest.mark.parametrize('n', [10, 96, 1_000, 10_000, 100_000])
def test_grid_is_fine_and_exact_in_float32(n):
  grid = boundaries.grid(n, 0.001)
  step = grid[1] - grid[0]
  assert grid[0] == -3 + 2.0**-21
  assert np.all(np.diff(grid) == step)
  assert 0.05 / np.sqrt(n) <= step <= 0.1 / np.sqrt(n)
  np.testing.assert_array_equal(grid.astype(np.float32), grid)
  best = -special.ndtri(-np.expm1(np.log(0.001) / n))
  assert 0 <= best - grid[-1] < step


@pytest.mark.parametrize('sigma', [0.12, 0.25, 0.5, 1.0])
def test_radii_at_grid_points_survive_rounding(sigma):
  grid = boundaries.grid(10_000, 0.001)
  for z in (0.5, 1.0, 1.75, 2.0, 3.0):
    point = grid[np.searchsorted(grid, z)]
    assert point == pytest.approx(z, abs=1e-6)
    for dtype in (np.float32, np.float64):
      level = confidence.level_like(sigma, np.zeros(1))
      found = confidence.scale_down(dtype(level), dtype(point))
      assert found >= sigma * z


def test_where_nothing_can_be_said():
  assert boundaries.grid(1, 1e-4).size == 0
  table = sequential.table(1, 1e-4)
  np.testing.assert_array_equal(table.lower_z(0, np.arange(2)), -np.inf)


def test_bounds_fall_with_failures_and_rise_with_votes(thousand):
  rows = crossing.by_failures(thousand)
  for row in rows:
    assert np.all(row[1:] <= row[:-1])
    assert row[-1] == -np.inf
  for early, late in itertools.pairwise(rows):
    assert np.all(late[: len(early)] >= early)


@pytest.mark.parametrize('final_share', [0.5, 0.75])
def test_unanimous_votes_lose_nothing_at_the_end(final_share):
  table = sequential.table(1_000, 0.001, final_share=final_share)
  best = confidence.lower_z(1_000, 0.001)[-1]
  last = len(table.looks) - 1
  assert table.lower_z(last, 1_000) == boundaries.grid(1_000, 0.001)[-1]
  assert table.lower_z(last, 1_000) > best - 0.002
  exact = confidence.lower_z(1_000, 0.001)
  assert np.all(table.lower_z(last, np.arange(1_001)) <= exact)


@pytest.mark.parametrize('final_share', [0.5, 0.75])
def test_all_looks_together_are_wrong_with_at_most_alpha(final_share):
  """For many truths, most of them just below a grid point: the worst ones."""
  table = sequential.table(1_000, ALPHA, final_share=final_share)
  bounds = crossing.by_failures(table)
  grid = boundaries.grid(1_000, ALPHA)
  truths = np.concatenate([grid[::97] - 1e-9, np.linspace(-3.5, 2.7, 20)])
  wrong = [
    crossing.crossing_probability(
      table.looks, crossing.wrong_limits(bounds, z), z
    )
    for z in truths
  ]
  assert np.max(wrong) <= ALPHA
  # and little of alpha is left unused, except where counts are few
  middle = np.abs(truths) < 1.5
  middle[len(grid[::97]) :] = False
  assert np.min(np.array(wrong)[middle]) > 0.75 * ALPHA
  assert np.mean(np.array(wrong)[middle]) > 0.9 * ALPHA


def test_truth_at_a_grid_point_is_also_covered(thousand):
  """The bound is strict: not even equality has more than alpha."""
  bounds = crossing.by_failures(thousand)
  for z in boundaries.grid(1_000, ALPHA)[::211]:
    limits = crossing.wrong_limits(bounds, np.nextafter(z, -np.inf))
    found = crossing.crossing_probability(thousand.looks, limits, z)
    assert found <= ALPHA


@pytest.mark.parametrize('z', [-0.5, 0.75, 1.5])
def test_simulated_errors_equal_the_crossing_probability(thousand, z):
  trials = 20_000
  truth = z - 1e-6
  steps = np.diff(thousand.looks, prepend=0)
  generator = np.random.default_rng(7)
  draws = generator.binomial(steps, special.ndtr(truth), (trials, len(steps)))
  wins = np.cumsum(draws, axis=1)
  found = thousand.lower_z(np.arange(len(steps)), wins)
  events = np.count_nonzero(np.any(found > truth, axis=1))
  limits = crossing.wrong_limits(crossing.by_failures(thousand), truth)
  expected = crossing.crossing_probability(thousand.looks, limits, truth)
  low, high = oracles.binomial_limits(trials, expected)
  assert low <= events <= high


def test_peeking_with_fixed_bounds_is_wrong_much_more_often(thousand):
  bounds = [confidence.lower_z(n, ALPHA)[::-1] for n in thousand.looks]
  wrong = crossing.crossing_probability(
    thousand.looks, crossing.wrong_limits(bounds, 0.5), 0.5
  )
  assert wrong == pytest.approx(0.18596, abs=5e-6)


@pytest.mark.parametrize('z', [-2.5, 0.0, 1.0, 2.9])
def test_convolution_misses_less_than_it_charges(z):
  win, fail = special.ndtr([z]), special.ndtr([-z])
  law, _, charge = boundaries._increment(5_792, win, fail)
  more, _, _ = boundaries._increment(2_400, win, fail)
  found, missed = boundaries._convolve(law, more)
  precise = [row.astype(np.longdouble) for row in (law[0], more[0])]
  exact = np.convolve(*precise)
  assert np.maximum(exact - found[0], 0).sum() <= missed[0]
  assert missed[0] + charge < 2e-12
  assert np.all(found >= 0)
  # Transforms of radix 2 have a proven error (Higham 2002, theorem 24.2).
  width = found.shape[1]
  error = 6.7 * 2.0**-53 * np.log2(width)
  norms = np.linalg.norm(law), np.linalg.norm(more)
  proven = 2 * error * width * norms[0] * norms[1]
  proven += error * np.sqrt(width) * np.linalg.norm(found)
  assert missed[0] >= proven


@pytest.mark.parametrize('z', [-3.0, -1.0, 0.0, 2.0, 4.0])
@pytest.mark.parametrize('trials', [1, 32, 2_304, 30_000])
def test_increments_are_binomial(trials, z):
  win, fail = special.ndtr([z]), special.ndtr([-z])
  law, low, charge = boundaries._increment(trials, win, fail)
  counts = low[0] + np.arange(law.shape[1])
  exact = stats.binom.pmf(counts, trials, fail[0])
  np.testing.assert_allclose(law[0], exact, rtol=1e-9, atol=1e-300)
  assert 1 - exact.sum() < 1e-11
  outside = stats.binom.cdf(low[0] - 1, trials, fail[0])
  outside += stats.binom.sf(counts[-1], trials, fail[0])
  assert outside <= 2 * boundaries._TAIL
  assert charge < 1e-11


def test_what_cannot_be_computed_counts_as_rejected(monkeypatch):
  """A larger charge for errors gives smaller bounds, or none at all."""
  weights = sequential.spending(len(LOOKS), 0.5)
  z = np.linspace(-2.9, 1.5, 40)
  before = boundaries.boundaries(z, LOOKS, 0.05, weights)
  monkeypatch.setattr(boundaries, '_TAIL', 0.001)
  charged = boundaries.boundaries(z, LOOKS, 0.05, weights)
  assert np.all(charged <= before)
  assert np.any(charged < before)
  monkeypatch.setattr(boundaries, '_TAIL', 0.1)
  hopeless = boundaries.boundaries(z, LOOKS, 0.05, weights)
  np.testing.assert_array_equal(hopeless[1:], np.tile(hopeless[0], (3, 1)))


@pytest.mark.parametrize('source', ['_increment', '_convolve'])
def test_every_charge_counts(source, monkeypatch):
  """What later looks may miss lowers their boundaries, not the first one's."""
  looks, z = (4, 7, 9, 14), np.linspace(-2.9, 1.5, 40)
  weights = sequential.spending(len(looks), 0.5)
  before = boundaries.boundaries(z, looks, 0.05, weights)
  honest = getattr(boundaries, source)

  def charging(trials, *arguments):
    *result, charge = honest(trials, *arguments)
    is_first = np.array_equal(trials, looks[0])
    return *result, charge + (0.0 if is_first else 0.003)

  monkeypatch.setattr(boundaries, source, charging)
  after = boundaries.boundaries(z, looks, 0.05, weights)
  np.testing.assert_array_equal(after[0], before[0])
  assert np.all(after <= before)
  assert np.all(np.any(after[1:] < before[1:], axis=1))


def test_the_margin_is_on_the_safe_side(monkeypatch):
  assert boundaries._MARGIN == confidence._MARGIN
  z = np.linspace(-0.9, 0.9, 40)
  looks, weights = (50, 100, 200), (0.25, 0.25, 0.5)
  before = boundaries.boundaries(z, looks, 0.05, weights)
  monkeypatch.setattr(boundaries, '_MARGIN', 0.05)
  after = boundaries.boundaries(z, looks, 0.05, weights)
  assert np.all(after <= before)
  assert np.any(after[1:] < before[1:])


def test_upper_bounds_are_lower_bounds_of_the_other_side(thousand):
  look, wins = np.array([[0], [3]]), np.array([0, 7, 20, 32])
  votes = np.array(thousand.looks)[look]
  np.testing.assert_array_equal(
    thousand.upper_z(look, wins), -thousand.lower_z(look, votes - wins)
  )
  assert np.all(thousand.upper_z(look, wins) > thousand.lower_z(look, wins))
  assert thousand.upper_z(0, 32) == np.inf


def test_default_looks():
  looks = sequential.default_looks(10_000)
  assert looks[:6] == (32, 64, 96, 128, 192, 256)
  assert looks[-4:] == (4_096, 5_792, 8_192, 10_000)
  assert all(look % 32 == 0 for look in looks[:-1])
  assert sequential.default_looks(1) == (1,)
  assert sequential.default_looks(32) == (32,)
  assert sequential.default_looks(33) == (32, 33)
  for n in range(1, 700):
    looks = sequential.default_looks(n)
    assert looks[-1] == n
    assert np.all(np.diff(looks) > 0)


def test_spending():
  assert sequential.spending(1, 0.5) == (1.0,)
  assert sequential.spending(3, 0.5) == (0.25, 0.25, 0.5)
  assert sequential.spending(6, 0.75) == (0.05,) * 5 + (0.75,)


def test_tables_are_shared_and_cannot_be_changed(thousand):
  assert sequential.table(1_000, ALPHA) is thousand
  looks = sequential.default_looks(1_000)
  weights = sequential.spending(len(looks), 0.5)
  same = sequential.table(1_000, ALPHA, looks=list(looks), weights=weights)
  assert same is thousand
  with pytest.raises(ValueError, match='read-only'):
    thousand.bounds[0] = 9
  with pytest.raises(AttributeError):
    thousand.alpha = 0.5


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'alpha': 0.0}, r'alpha is a failure probability in \(0, 1\), not 0.0'),
    ({'n': 0}, 'n must be at least 1, not 0'),
    ({'looks': ()}, r'looks must be positive .* end with n = 100, not \(\)'),
    ({'looks': (0, 100)}, r'looks must be positive'),
    ({'looks': (50, 99)}, r'looks must be .* end with n = 100, not \(50, 99\)'),
    ({'looks': (60, 60, 100)}, 'looks must increase'),
    ({'final_share': 1.0}, r'final_share is a share of alpha in \(0, 1\)'),
    ({'weights': (1.0,)}, 'one weight for each of the 4 looks, not 1'),
    ({'weights': (0.5, 0.5, 0.5, -0.5)}, 'weights must be positive and sum'),
    ({'weights': (0.5, 0.5, 0.5, 0.5)}, 'weights must be positive and sum'),
    ({'weights': (np.nan,) * 4}, 'weights must be positive and sum'),
  ],
)
def test_bad_arguments(arguments, message):
  given = {'n': 100, 'alpha': 0.05} | arguments
  with pytest.raises(ValueError, match=message):
    sequential.table(given.pop('n'), given.pop('alpha'), **given)


@pytest.mark.parametrize(
  ('look', 'wins'), [(-1, 5), (10, 5), (0, -1), (0, 33), (0, np.array([1, 99]))]
)
def test_counts_out_of_range(thousand, look, wins):
  for read in (thousand.lower_z, thousand.upper_z):
    with pytest.raises(IndexError, match='(?i)look'):
      read(look, wins)
