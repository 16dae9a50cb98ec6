"""Summary figures against cases worked out by hand."""

import jaxtyping
import numpy as np
import pytest
from scipy import stats

from dualrs_jax import metrics
from dualrs_jax.base import ABSTAIN

#         right   right  wrong  abstains  right  abstains
PREDICTED = np.array([3, 1, 2, ABSTAIN, 0, ABSTAIN])
LABELS = np.array([3, 1, 0, 4, 0, 5])
RADII = np.array([0.5, 0.25, 2.0, 0.0, 0.1, 0.0])


@pytest.fixture
def no_type_checks():
  """What a user meets, who does not check annotations."""
  jaxtyping.config.update('jaxtyping_disable', True)
  yield
  jaxtyping.config.update('jaxtyping_disable', False)


def test_by_hand():
  assert metrics.correct(PREDICTED, LABELS).tolist() == [
    *(True, True, False, False, True, False)
  ]
  assert metrics.clean_accuracy(PREDICTED, LABELS) == 3 / 6
  assert metrics.abstention_rate(PREDICTED) == 2 / 6
  at = [0.0, 0.1, 0.11, 0.25, 0.5, 0.51, 2.0]
  np.testing.assert_allclose(
    metrics.certified_accuracy(PREDICTED, LABELS, RADII, at),
    np.array([3, 3, 2, 2, 1, 0, 0]) / 6,
  )
  assert metrics.certified_accuracy(PREDICTED, LABELS, RADII, 0.2) == 2 / 6
  assert metrics.average_certified_radius(
    PREDICTED, LABELS, RADII
  ) == pytest.approx((0.5 + 0.25 + 0.1) / 6)


def test_abstentions_stay_in_the_denominator():
  predicted = np.array([0, ABSTAIN, ABSTAIN, ABSTAIN])
  labels = np.zeros(4, int)
  radii = np.array([1.0, 0.0, 0.0, 0.0])
  assert metrics.clean_accuracy(predicted, labels) == 0.25
  assert metrics.certified_accuracy(predicted, labels, radii, 0.0) == 0.25
  assert metrics.average_certified_radius(predicted, labels, radii) == 0.25


def test_an_abstention_is_never_right():
  """Not even where -1 stands for an unknown label."""
  predicted = labels = np.array([ABSTAIN, 1])
  assert metrics.correct(predicted, labels).tolist() == [False, True]
  assert metrics.certified_accuracy(predicted, labels, np.zeros(2), 0.0) == 0.5


def test_a_radius_that_is_nan_certifies_nothing():
  one, nan = np.array([1]), np.array([np.nan])
  assert metrics.certified_accuracy(one, one, nan, 0.0) == 0


def test_certified_accuracy_falls():
  generator = np.random.default_rng(0)
  predicted = generator.integers(-1, 3, 200)
  labels = generator.integers(0, 3, 200)
  radii = np.where(predicted < 0, 0, generator.uniform(0, 1, 200))
  curve = metrics.certified_accuracy(
    predicted, labels, radii, np.linspace(0, 1, 50)
  )
  assert np.all(np.diff(curve) <= 0)
  assert curve[0] == metrics.clean_accuracy(predicted, labels)


@pytest.mark.parametrize(
  ('predicted', 'labels'),
  [
    (np.zeros(3, int), np.zeros(4, int)),
    (np.zeros((2, 2), int), np.zeros((2, 2), int)),
    (np.zeros(3, int), np.zeros(1, int)),
  ],
)
@pytest.mark.usefixtures('no_type_checks')
def test_shapes(predicted, labels):
  with pytest.raises(ValueError, match=r'one array \[images\] each'):
    metrics.clean_accuracy(predicted, labels)


def test_no_rows():
  none = np.zeros(0, int)
  for summary in (
    lambda: metrics.clean_accuracy(none, none),
    lambda: metrics.certified_accuracy(none, none, none, 0.0),
    lambda: metrics.average_certified_radius(none, none, none),
    lambda: metrics.abstention_rate(none),
  ):
    with pytest.raises(ValueError, match='no rows to summarise'):
      summary()


@pytest.mark.parametrize('rows', [1, 7, 100, 500])
@pytest.mark.parametrize('alpha', [0.05, 0.001])
def test_interval_is_that_of_clopper_and_pearson(rows, alpha):
  hits = np.unique([0, 1, rows // 3, rows // 2, rows - 1, rows])
  low, high = metrics.accuracy_interval(hits / rows, rows, alpha=alpha)
  for index, hit in enumerate(hits):
    expected = stats.binomtest(int(hit), rows).proportion_ci(1 - alpha)
    assert low[index] == pytest.approx(expected.low, abs=1e-10)
    assert high[index] == pytest.approx(expected.high, abs=1e-10)
  assert low[0] == 0
  assert high[-1] == 1


def test_vote_probability_counts_invalid_votes():
  counts = np.array([[5, 3, 0], [0, 0, 0]])
  assert metrics.vote_probability(counts, 10).tolist() == [0.5, 0.0]


def test_ratio_by_hand():
  hits = np.array([True, True, True, False])
  baseline = np.array([True, True, False, False])
  ratio, low, high = metrics.paired_bootstrap_ratio(hits, baseline, seed=0)
  assert ratio == 1.5
  assert low <= 1.5 <= high
  better = np.stack([baseline, ~baseline | True])
  assert metrics.paired_bootstrap_ratio(hits, better, seed=0)[0] == 0.75


def test_bootstrap_is_paired():
  """The same images on both sides: identical rows leave no uncertainty."""
  hits = np.random.default_rng(0).random(300) < 0.4
  assert metrics.paired_bootstrap_ratio(hits, hits, seed=1) == (1, 1, 1)


def test_bootstrap_has_the_spread_of_theory():
  """Independent rows: the delta method gives the interval's width."""
  generator = np.random.default_rng(0)
  images = 4_000
  hits = generator.random(images) < 0.3
  baseline = generator.random(images) < 0.6
  ratio, low, high = metrics.paired_bootstrap_ratio(
    hits, baseline, seed=2, resamples=4_000
  )
  # Var(log ratio) of two independent shares.
  deviation = np.sqrt(
    (1 - hits.mean()) / hits.sum() + (1 - baseline.mean()) / baseline.sum()
  )
  width = ratio * 2 * stats.norm.isf(0.025) * deviation
  assert high - low == pytest.approx(width, rel=0.08)
  again = metrics.paired_bootstrap_ratio(
    hits, baseline, seed=2, resamples=4_000
  )
  assert again == (ratio, low, high)


def test_bootstrap_of_a_baseline_without_hits():
  nothing = np.zeros(10, bool)
  ratio, low, high = metrics.paired_bootstrap_ratio(nothing, nothing, seed=0)
  assert (ratio, low, high) == (0, 0, 0)
