"""The composition rules, on vote counts alone.

The reference below is written from the definitions, one row at a time, with
SciPy's beta quantiles. Random rows include unanimous votes, ties, invalid
votes and levels that were not sampled.
"""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dualrs_jax import ABSTAIN, Counts, composition, smoothing
from dualrs_jax.composition import agreement, minimum, paper

RULES = [paper, minimum, agreement]
ROWS = 200


def random_votes(generator, shape, categories, n):
  """Votes of n voters per row; the last category is invalid, and dropped."""
  concentration = generator.choice([0.03, 0.3, 3.0], size=(*shape, 1))
  weights = generator.gamma(concentration, size=(*shape, categories + 1))
  weights[..., -1] *= generator.choice([0, 0, 0.2], size=shape)
  weights = weights + 1e-9 * np.eye(categories + 1)[0]
  return generator.multinomial(
    n, weights / weights.sum(axis=-1, keepdims=True)
  )[..., :-1].astype(np.int32)


def random_counts(seed, levels, classes, n, n0=10, rows=ROWS):
  """Counts of both stages, for `rows` images."""
  generator = np.random.default_rng(seed)

  def both(shape, categories):
    estimation = random_votes(generator, shape, categories, n)
    # Selection votes mostly, not always, agree with the estimation votes.
    noise = random_votes(generator, shape, categories, n0)
    scaled = np.rint(estimation * (n0 / n)).astype(np.int32)
    keep = generator.random((*shape, 1)) < 0.8
    return Counts(np.where(keep, scaled, noise), estimation)

  estimator = both((rows,), levels)
  classifier = both((rows, levels), classes)
  chosen = np.argmax(estimator.selection, axis=-1)
  sampled = generator.random((rows, levels)) < 0.7
  sampled[np.arange(rows), chosen] = True
  return estimator, Counts(*(c * sampled[..., None] for c in classifier))


def lower(count, n, alpha):
  """The Clopper-Pearson bound as a z-score."""
  if count == 0:
    return -np.inf
  return -stats.norm.ppf(stats.beta.isf(alpha, n - count + 1, count))


def upper(count, n, alpha):
  return -lower(n - count, n, alpha)


def reference(rule, estimator, classifier, sigmas, level_sigma, n, alpha):
  """Prediction, radius and stage radii of one row, from the definitions."""
  levels = len(sigmas)
  i = int(np.argmax(estimator.selection))
  y = int(np.argmax(classifier.selection[i]))
  votes = estimator.estimation
  y_votes = classifier.estimation[:, y]
  if rule is not agreement:
    share = alpha / 2 if rule is paper and levels > 1 else alpha
    first = level_sigma * lower(votes[i], n, share) if levels > 1 else np.inf
    second = sigmas[i] * lower(y_votes[i], n, share)
    radius = min(first, second)
  else:
    second = sigmas[i] * lower(y_votes[i], n, alpha)
    radius, first = second, np.inf
    z_i = lower(votes[i], n, 0.7 * alpha)
    for k in range(levels):
      if k != i:
        invalid = n - votes.sum()
        z_k = min(upper(votes[k] + invalid, n, 0.05 * alpha), -z_i)
        a_k = level_sigma / 2 * (z_i - z_k)
        b_k = sigmas[k] * lower(y_votes[k], n, 0.25 * alpha)
        radius = min(radius, max(a_k, b_k))
        first = min(first, a_k)
  return y if radius > 0 else ABSTAIN, *np.maximum([radius, first, second], 0)


def on_device(counts):
  return jax.tree.map(jnp.asarray, counts)


def row_of(counts, row):
  return jax.tree.map(lambda votes: votes[row], counts)


#: Every rule in NumPy; one on the device, where each needs its compilations.
BOTH_WAYS = [*((rule, lambda c: c) for rule in RULES), (agreement, on_device)]

many = hypothesis.settings(derandomize=True, deadline=None, max_examples=100)
seeds = st.integers(0, 2**31)
noise_levels = st.sampled_from([0.12, 0.25, 1 / 3, 0.5, 0.7, 1.0, 2.0])


@pytest.mark.parametrize('rule', RULES)
@hypothesis.settings(many, max_examples=25)
@hypothesis.given(
  seed=seeds,
  sigmas=st.lists(noise_levels, min_size=1, max_size=4),
  level_sigma=noise_levels,
  classes=st.integers(1, 4),
  n=st.sampled_from([10, 60, 1_000]),
  alpha=st.sampled_from([0.001, 0.05, 0.3]),
)
def test_rules_are_their_definitions(
  rule, seed, sigmas, level_sigma, classes, n, alpha
):
  counts = random_counts(seed, len(sigmas), classes, n, rows=20)
  found = rule(*counts, sigmas, level_sigma, n=n, alpha=alpha)
  sigmas = np.asarray(np.float32(sigmas), np.float64)
  level_sigma = np.float64(np.float32(level_sigma))
  for row in range(20):
    expected = reference(
      rule, *(row_of(c, row) for c in counts), sigmas, level_sigma, n, alpha
    )
    radii = np.array(
      [
        found.radius[row],
        found.estimator_radius[row],
        found.classifier_radius[row],
      ]
    )
    np.testing.assert_allclose(radii, expected[1:], rtol=1e-7, atol=1e-9)
    assert np.all(radii <= np.array(expected[1:]) * (1 + 1e-12))
    if abs(expected[1]) > 1e-8 or found.radius[row] == 0:
      assert found.prediction[row] == (expected[0] if radii[0] else ABSTAIN)


@many
@hypothesis.given(
  seed=seeds,
  sigmas=st.lists(noise_levels, min_size=1, max_size=4),
  level_sigma=noise_levels,
  n=st.sampled_from([12, 100, 1_000, 10_000]),
  alpha=st.sampled_from([0.001, 0.01, 0.05]),
)
def test_agreement_is_never_below_paper(seed, sigmas, level_sigma, n, alpha):
  """100 examples of 200 rows; one exception is a bug."""
  counts = random_counts(seed, len(sigmas), 3, n)
  options = {'n': n, 'alpha': alpha}
  wide = agreement(*counts, sigmas, level_sigma, **options)
  narrow = paper(*counts, sigmas, level_sigma, **options)
  full = minimum(*counts, sigmas, level_sigma, **options)
  assert np.all(wide.radius >= narrow.radius)
  assert np.all(full.radius >= narrow.radius)
  certified = narrow.prediction != ABSTAIN
  for other in (wide, full):
    np.testing.assert_array_equal(
      other.prediction[certified], narrow.prediction[certified]
    )
    assert np.all(other.classifier_radius >= narrow.classifier_radius)


def _rules_on_device(estimator, classifier, sigmas, level_sigma):
  return [
    rule(estimator, classifier, sigmas, level_sigma, n=100, alpha=0.01)
    for rule in RULES
  ]


rules_on_device = jax.jit(_rules_on_device)


@many
@hypothesis.given(
  seed=seeds,
  sigmas=st.lists(noise_levels, min_size=3, max_size=3),
  level_sigma=noise_levels,
)
def test_float32_keeps_the_order_and_the_safe_side(seed, sigmas, level_sigma):
  counts = random_counts(seed, 3, 3, 100)
  narrow = rules_on_device(
    *on_device(counts), jnp.float32(sigmas), jnp.float32(level_sigma)
  )
  assert np.all(narrow[2].radius >= narrow[0].radius)
  for rule, found in zip(RULES, narrow, strict=True):
    wide = rule(*counts, sigmas, level_sigma, n=100, alpha=0.01)
    for name in ('radius', 'estimator_radius', 'classifier_radius'):
      own, exact = np.float64(getattr(found, name)), getattr(wide, name)
      assert np.all(own <= exact), name
      np.testing.assert_allclose(own, exact, rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(found.sigma_index, wide.sigma_index)
    differs = found.prediction != wide.prediction
    assert np.all(np.asarray(found.prediction)[differs] == ABSTAIN)
    assert np.all(wide.radius[differs] < 1e-6)


def test_rows_are_a_fair_witness():
  """Of random rows some certify, some abstain, and agreement often gains."""
  counts = random_counts(0, 3, 3, 1_000, rows=2_000)
  sigmas, options = (0.25, 0.5, 1.0), {'n': 1_000, 'alpha': 0.001}
  old = paper(*counts, sigmas, 1.0, **options)
  new = agreement(*counts, sigmas, 1.0, **options)
  assert 0.1 < np.mean(old.radius > 0) < 0.9
  assert np.mean(new.radius > 1.1 * old.radius) > 0.05
  assert np.mean((new.radius > 0) & (old.radius == 0)) > 0.02


@pytest.mark.parametrize(('rule', 'where'), BOTH_WAYS)
def test_batch_is_loop(rule, where):
  counts = where(random_counts(3, 3, 3, 100, rows=6))
  options = {'n': 100, 'alpha': 0.05}
  shaped = jax.tree.map(lambda c: c.reshape(2, 3, *c.shape[1:]), counts)
  batch = rule(*shaped, (0.25, 0.5, 1.0), 1.0, **options)
  for row in range(6):
    single = rule(
      *(row_of(c, row) for c in counts), (0.25, 0.5, 1.0), 1.0, **options
    )
    for own, other in zip(single[:5], batch[:5], strict=True):
      np.testing.assert_array_equal(own, other.reshape(-1)[row])


@pytest.mark.parametrize(('rule', 'where'), BOTH_WAYS)
def test_one_level_is_plain_smoothing(rule, where):
  n, alpha, sigma = 100, 0.05, 0.3
  estimator, classifier = where(random_counts(4, 1, 3, n))
  found = rule(estimator, classifier, (sigma,), 0.1, n=n, alpha=alpha)
  plain = smoothing.certificate_of_counts(
    Counts(*(c[:, 0] for c in classifier)), sigma, n=n, alpha=alpha
  )
  np.testing.assert_array_equal(found.prediction, plain.prediction)
  np.testing.assert_array_equal(found.radius, plain.radius)
  np.testing.assert_array_equal(found.classifier_radius, plain.radius)
  assert np.all(np.isinf(np.asarray(found.estimator_radius)))
  assert np.all(np.asarray(found.sigma_index) == 0)
  assert 0 < np.mean(np.asarray(plain.prediction) == ABSTAIN) < 1


@pytest.mark.parametrize('rule', RULES)
def test_order_of_levels_and_names_of_classes_do_not_matter(rule):
  counts = random_counts(5, 3, 4, 100)
  # Ties of the selection go to the first: leave them out.
  second, first = np.sort(counts[0].selection, axis=-1)[:, -2:].T
  top = np.sort(counts[1].selection, axis=-1)[..., -2:]
  clear = (first > second) & np.all(
    (top[..., 1] > top[..., 0]) | (top[..., 1] == 0), axis=-1
  )
  assert clear.mean() > 0.4
  sigmas, options = np.array([0.25, 0.5, 1.0]), {'n': 100, 'alpha': 0.05}
  levels, names = np.array([2, 0, 1]), np.array([3, 1, 0, 2])
  moved = (
    Counts(*(c[:, levels] for c in counts[0])),
    Counts(*(c[:, levels][:, :, names] for c in counts[1])),
  )
  one = rule(*counts, sigmas, 1.0, **options)
  two = rule(*moved, sigmas[levels], 1.0, **options)
  np.testing.assert_array_equal(one.radius[clear], two.radius[clear])
  np.testing.assert_array_equal(
    one.sigma_index[clear], levels[two.sigma_index[clear]]
  )
  answered = clear & (one.prediction != ABSTAIN)
  np.testing.assert_array_equal(
    one.prediction[answered], names[two.prediction[answered]]
  )


@pytest.mark.parametrize('rule', RULES)
def test_leaving_out_a_level_never_raises_the_radius(rule):
  counts = random_counts(6, 3, 3, 100)
  sigmas, options = (0.25, 0.5, 1.0), {'n': 100, 'alpha': 0.05}
  full = rule(*counts, sigmas, 1.0, **options)
  less = False
  for level in range(3):
    keep = (np.arange(3) != level) | (np.arange(3) == full.sigma_index[:, None])
    partial = Counts(*(c * keep[..., None] for c in counts[1]))
    found = rule(counts[0], partial, sigmas, 1.0, **options)
    assert np.all(found.radius <= full.radius)
    less |= bool(np.any(found.radius < full.radius))
  assert less == (rule is agreement)


@pytest.mark.parametrize('rule', RULES)
def test_an_invalid_vote_is_worth_less_than_any_other(rule):
  """Wherever invalid votes might have gone, the radius is not smaller."""
  n, options = 100, {'n': 100, 'alpha': 0.05}
  generator = np.random.default_rng(7)
  estimator, classifier = random_counts(7, 3, 3, n)
  sigmas = (0.25, 0.5, 1.0)
  found = rule(estimator, classifier, sigmas, 1.0, **options)
  missing = n - estimator.estimation.sum(axis=-1)
  assert np.mean(missing > 0) > 0.1
  for _ in range(3):
    to = generator.integers(0, 3, missing.shape)
    votes = estimator.estimation + missing[:, None] * np.eye(3, dtype=int)[to]
    completed = rule(
      estimator._replace(estimation=votes), classifier, sigmas, 1.0, **options
    )
    assert np.all(found.radius <= completed.radius)


def counts_by_hand(estimator, classifier, n0=10):
  """Selection votes in proportion to the given estimation votes."""

  def both(votes):
    votes = np.array(votes, np.int32)
    return Counts(votes // n0, votes)

  return both(estimator), both(classifier)


def test_agreement_survives_an_undecided_estimator():
  counts = counts_by_hand([500, 480, 20], [[990, 10], [980, 20], [600, 400]])
  options = {'n': 1_000, 'alpha': 0.001}
  sigmas = (0.25, 0.5, 1.0)
  assert paper(*counts, sigmas, 1.0, **options).prediction == ABSTAIN
  found = agreement(*counts, sigmas, 1.0, **options)
  assert found.prediction == 0
  assert found.sigma_index == 0
  assert found.estimator_radius == 0
  assert found.radius == found.classifier_radius > 0.5 * 0.25


def test_agreement_needs_the_same_class():
  counts = counts_by_hand([500, 480, 20], [[990, 10], [20, 980], [990, 10]])
  found = agreement(*counts, (0.25, 0.5, 1.0), 1.0, n=1_000, alpha=0.001)
  assert found.prediction == ABSTAIN
  assert found.radius == 0
  assert found.classifier_radius > 0  # the stage by itself is sure


@pytest.mark.parametrize('rule', RULES)
def test_a_negative_bound_is_not_clipped_to_a_radius_of_zero(rule):
  """The selected level is undecided: nothing is certified, not even at 0."""
  counts = counts_by_hand([990, 10], [[510, 490], [1_000, 0]])
  found = rule(*counts, (0.25, 0.5), 1.0, n=1_000, alpha=0.001)
  assert (found.prediction, found.radius) == (ABSTAIN, 0)
  assert found.classifier_radius == 0
  assert found.estimator_radius > 0


@pytest.mark.parametrize(
  ('rule', 'fewest'), [(minimum, 10), (paper, 11), (agreement, 11)]
)
def test_fewest_votes_that_certify(rule, fewest):
  """.001 ** (1 / 10) > 1 / 2, and .0005 ** (1 / 11) > 1 / 2."""
  for n in (fewest - 1, fewest):
    counts = counts_by_hand([n, 0], [[n, 0], [n, 0]], n0=1)
    found = rule(*counts, (0.25, 0.5), 0.5, n=n, alpha=0.001)
    assert (found.radius > 0) == (n == fewest)


def test_shares_of_alpha_add_up():
  spent = agreement.keeps + agreement.avoids + agreement.agrees
  assert spent == pytest.approx(1, abs=1e-15)
  # The lower bound that all A_k share is at least that of `paper`: domination.
  assert agreement.keeps >= paper.keeps == 0.5


@pytest.mark.parametrize(
  ('shares', 'match'),
  [
    ({'keeps': 0.6, 'selected': 1.0, 'agrees': 0.45}, 'may spend alpha once'),
    ({'keeps': 1.0, 'selected': 1.1}, 'may spend alpha once'),
    ({'keeps': 0.0, 'selected': 1.0}, 'must be positive'),
    ({'keeps': 0.5, 'selected': 1.0, 'avoids': -0.1}, 'must be positive'),
  ],
)
def test_rules_that_overspend_are_refused(shares, match):
  with pytest.raises(ValueError, match=match):
    composition.CompositionRule('greedy', **shares)


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize('where', [lambda c: c, on_device])
@pytest.mark.parametrize('bad', [np.nan, -0.5, 0.0, np.inf])
def test_levels_that_make_no_sense_abstain(rule, where, bad):
  """Also where a negative sigma would make a negative bound a radius."""
  for votes in ([1_000, 0], [100, 900], [0, 0]):
    counts = where(counts_by_hand([900, 100], [votes, votes]))
    counts = (counts[0], Counts(counts[1].selection * 0 + 1, counts[1][1]))
    options = {'n': 1_000, 'alpha': 0.05}
    for sigmas, level_sigma in (((bad, 0.5), 1.0), ((0.5, 0.25), bad)):
      found = rule(*counts, sigmas, level_sigma, **options)
      assert (found.prediction, found.radius) == (ABSTAIN, 0)


@pytest.mark.parametrize('rule', RULES)
def test_counts_beyond_n_never_certify_on_a_device(rule):
  counts = on_device(counts_by_hand([2_000, 0], [[2_000, 0], [2_000, 0]]))
  found = rule(*counts, (0.25, 0.5), 1.0, n=1_000, alpha=0.05)
  assert found.prediction == ABSTAIN
