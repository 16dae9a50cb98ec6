"""Certificates at one noise level, against classifiers of known radius."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dualrs_jax import (
  ABSTAIN,
  Counts,
  certify,
  confidence,
  predict,
  smoothing,
)
from tests import oracles

DIRECTION = np.array([0.6, -0.8])
STATISTICS = {'n0': 50, 'n': 500, 'alpha': 0.05, 'chunk_size': 550}
IMAGE = jnp.float32([0.5, 0.5])
AT = float(np.float32(DIRECTION) @ np.asarray(IMAGE))


def half_space(radius):
  """A classifier whose true radius at IMAGE is `radius`."""
  return oracles.half_space(DIRECTION, AT + radius)


@pytest.mark.parametrize('sigma', [0.12, 0.5, 2.0])
def test_half_space_is_tight_as_the_votes_grow(sigma):
  """Never far above the truth, and within 6 deviations of the estimate."""
  truth = 1.5 * sigma
  # The slope of z in the count, times the count's deviation, at p = Phi(1.5).
  p = stats.norm.cdf(1.5)
  for n in (1_000, 100_000):
    answer = certify(
      half_space(truth),
      IMAGE,
      sigma,
      jax.random.key(n),
      n0=100,
      n=n,
      alpha=0.001,
      chunk_size=20_000,
    )
    deviation = np.sqrt(p * (1 - p) / n) / stats.norm.pdf(1.5) * sigma
    assert answer.prediction == 0
    assert truth - 8 * deviation < float(answer.radius) <= truth
    # n = 100,000 knows the radius to 2%.
    assert n < 100_000 or float(answer.radius) > 0.98 * truth


@pytest.mark.parametrize('sigma', [0.25, 1.0])
def test_half_space_fails_as_often_as_it_may(sigma):
  """End to end: 5,000 certificates at a p where the bound just fails.

  Failing means a radius above the truth. The number has to lie in the
  binomial interval of the exact probability .05, false alarm 1e-6 per side;
  a true error of .075 would be found with probability .99, and one of .03 too.
  """
  trials, n, alpha = 5_000, 100, 0.05
  table = confidence.lower_z(n, alpha)
  critical = 95
  z = table[critical] * (1 - 1e-5)
  exact = stats.binom.sf(critical - 1, n, stats.norm.cdf(z))
  assert exact == pytest.approx(alpha, rel=1e-3)
  low, high = oracles.binomial_limits(trials, exact)
  assert stats.binom.sf(high, trials, 0.075) > 0.99
  assert stats.binom.cdf(low - 1, trials, 0.03) > 0.99

  answers = _certify_many(
    half_space(sigma * z),
    jnp.float32(sigma),
    jax.random.split(jax.random.key(11), trials),
  )
  failures = (answers.prediction == 0) & (answers.radius > sigma * z)
  assert low <= int(failures.sum()) <= high
  # The class is never mistaken here: p is .91.
  assert np.all(np.asarray(answers.prediction) == 0)


@jax.jit
def _certify_many(classifier, sigma, keys):
  return jax.vmap(
    lambda key: certify(
      classifier, IMAGE, sigma, key, n0=20, n=100, alpha=0.05, chunk_size=120
    )
  )(keys)


MANY = {'n0': 1_000, 'n': 20_000, 'alpha': 0.001, 'chunk_size': 21_000}


def test_slab_is_certified_on_the_safe_side():
  """The certificate knows only p; the true radius is larger."""
  at, width, sigma = 0.2, 0.6, 0.25
  answer = certify(
    oracles.slab([0.0, 1.0], width),
    jnp.float32([0.5, at]),
    sigma,
    jax.random.key(1),
    **MANY,
  )
  truth = oracles.slab_radius(at, width, sigma)
  allowed = sigma * stats.norm.ppf(oracles.slab_probability(at, width, sigma))
  assert answer.prediction == 0
  assert 0.95 * allowed < float(answer.radius) < allowed < truth


def test_slab_under_much_noise():
  """Where the slab has less than half, its outside is certified: rightly."""
  sigma, width = 1.0, 0.3
  answer = certify(
    oracles.slab([0.0, 1.0], width),
    jnp.float32([0.5, 0.0]),
    sigma,
    jax.random.key(1),
    **MANY,
  )
  assert oracles.slab_probability(0.0, width, sigma) < 0.5
  assert answer.prediction == 1
  outside = 1 - oracles.slab_probability(0.0, width, sigma)
  # The outside has more than half everywhere: the true radius is infinite.
  assert float(answer.radius) < sigma * stats.norm.ppf(outside) + 0.05


def test_three_classes_on_a_line():
  """method: a = .5, g = .4, sigma = 1; the one-sided form is conservative."""
  sigma = 1.0
  # At x = 0: p_A = Phi(.5), true radius .7, one-sided .5.
  first = certify(
    oracles.three_on_a_line(0.5, 0.9),
    jnp.zeros(2),
    sigma,
    jax.random.key(0),
    **MANY,
  )
  assert first.prediction == 0
  assert 0.46 < float(first.radius) < 0.5
  # Nobody has half of the votes: A leads with .4345, and one-sided abstains.
  second = certify(
    oracles.three_on_a_line(0.5 - 0.665, 0.9 - 0.665),
    jnp.zeros(2),
    sigma,
    jax.random.key(0),
    **MANY,
  )
  shares = np.asarray(second.counts.estimation) / 20_000
  assert shares[0] == pytest.approx(0.4345, abs=0.01)
  assert np.argmax(second.counts.selection) == 0
  assert second.prediction == ABSTAIN
  assert second.radius == 0


def test_a_perturbed_image_keeps_its_class():
  """1,000 points of each certified ball, half of them at its boundary."""
  sigma = 0.5
  generator = np.random.default_rng(0)
  truths = generator.uniform(0.05, 1.5, 40)
  certified = 0
  for index, truth in enumerate(truths):
    answer = certify(
      half_space(truth),
      IMAGE,
      sigma,
      jax.random.key(index),
      **(STATISTICS | {'alpha': 0.001}),
    )
    if answer.prediction == ABSTAIN:
      continue
    certified += 1
    steps = generator.normal(size=(1_000, 2))
    steps[::2] = DIRECTION
    steps *= float(answer.radius) / np.linalg.norm(steps, axis=1, keepdims=True)
    steps[1::2] *= generator.uniform(size=(500, 1))
    # Exactly: g is class 0 where p_0 > 1/2, which is inside the half-space.
    inside = (np.asarray(IMAGE) + steps) @ DIRECTION < AT + truth
    assert np.all(inside == (answer.prediction == 0))
  assert certified > 30


def counts_of(selection, estimation, xp=np):
  return Counts(
    xp.asarray(selection, xp.int32), xp.asarray(estimation, xp.int32)
  )


@pytest.mark.parametrize('xp', [np, jnp])
def test_certificate_of_counts(xp):
  n, alpha, sigma = 100, 0.05, 0.5
  z = confidence.lower_z(n, alpha)
  answer = smoothing.certificate_of_counts(
    counts_of(
      [[9, 1], [1, 9], [5, 5], [9, 1], [0, 0]],
      [[90, 10], [90, 10], [100, 0], [50, 50], [0, 0]],
      xp,
    ),
    sigma,
    n=n,
    alpha=alpha,
  )
  # Selected on the selection votes, bounded by the estimation votes.
  assert answer.prediction.tolist() == [0, ABSTAIN, 0, ABSTAIN, ABSTAIN]
  expected = np.array([sigma * z[90], 0, sigma * z[100], 0, 0])
  assert np.all(np.asarray(answer.radius, np.float64) <= expected)
  np.testing.assert_allclose(answer.radius, expected, rtol=3e-7)
  assert answer.radius.dtype == (np.float64 if xp is np else np.float32)


def test_invalid_votes_oppose():
  """90 votes of 100 are bounded as 90 of 100, not as 90 of 90."""
  n, alpha = 100, 0.05
  valid = smoothing.certificate_of_counts(
    counts_of([9, 1], [90, 0]), 0.5, n=n, alpha=alpha
  )
  full = smoothing.certificate_of_counts(
    counts_of([9, 1], [90, 10]), 0.5, n=n, alpha=alpha
  )
  assert valid.radius == full.radius
  offset = 0.3 * stats.norm.ppf(0.8)
  answer = certify(
    oracles.invalid_beyond(offset),
    jnp.zeros(1),
    0.3,
    jax.random.key(0),
    **STATISTICS,
  )
  votes = int(answer.counts.estimation[0])
  assert votes == int(answer.counts.estimation.sum()) < 450
  assert answer.radius == pytest.approx(
    0.3 * confidence.lower_z(500, 0.05)[votes], rel=1e-5
  )
  assert float(answer.radius) < offset


def test_float32_radius_is_never_above_float64():
  n, alpha = 1_000, 0.001
  votes = np.arange(n + 1)
  estimation = np.stack([votes, n - votes], axis=1)
  selection = np.tile([9, 1], (n + 1, 1))
  for sigma in (0.1, 0.12, 0.25, 1 / 3, 0.7, 1.0):
    narrow = smoothing.certificate_of_counts(
      counts_of(selection, estimation, jnp), sigma, n=n, alpha=alpha
    )
    wide = smoothing.certificate_of_counts(
      counts_of(selection, estimation), sigma, n=n, alpha=alpha
    )
    radius = np.asarray(narrow.radius, np.float64)
    # What the noise was scaled by is the float32 of sigma, in both.
    exact = np.float64(np.float32(sigma)) * confidence.lower_z(n, alpha)
    assert np.all(radius <= wide.radius)
    assert np.all(wide.radius <= np.maximum(exact, 0))
    np.testing.assert_allclose(radius, wide.radius, rtol=4e-7)
    np.testing.assert_array_equal(narrow.prediction, wide.prediction)


def test_a_device_certificate_can_be_recomputed_from_its_counts():
  answer = certify(half_space(0.4), IMAGE, 0.3, jax.random.key(0), **STATISTICS)
  again = smoothing.certificate_of_counts(
    jax.tree.map(np.asarray, answer.counts), 0.3, n=500, alpha=0.05
  )
  assert again.prediction == answer.prediction
  assert float(answer.radius) <= again.radius
  assert float(answer.radius) == pytest.approx(again.radius, rel=4e-7)


@pytest.mark.parametrize('sigma', [np.nan, -0.5, 0.0, np.inf, -np.inf])
def test_a_traced_sigma_that_makes_no_sense_abstains(sigma):
  for offset in (100.0, -100.0):
    classifier = oracles.half_space(DIRECTION, offset)
    answer = _traced_certify(classifier, IMAGE, jnp.float32(sigma))
    assert (answer.prediction, answer.radius) == (ABSTAIN, 0)
    for xp in (np, jnp):
      for votes in ([100, 0], [20, 80], [0, 0]):
        of_counts = smoothing.certificate_of_counts(
          counts_of([9, 1], votes, xp), sigma, n=100, alpha=0.05
        )
        assert (of_counts.prediction, of_counts.radius) == (ABSTAIN, 0)


def test_a_traced_image_that_is_not_finite_abstains():
  constant = oracles.constant([1.0, 0.0])
  for pixel in (np.nan, np.inf):
    answer = _traced_certify(constant, IMAGE.at[0].set(pixel), jnp.float32(0.5))
    assert (answer.prediction, answer.radius) == (ABSTAIN, 0)


@jax.jit
def _traced_certify(classifier, image, sigma):
  return certify(classifier, image, sigma, jax.random.key(0), **STATISTICS)


@pytest.mark.parametrize('xp', [np, jnp])
@pytest.mark.parametrize(
  ('votes', 'prediction'),
  [
    ([65, 35], 0),  # p = .0035
    ([35, 65], 1),
    ([61, 39], 0),  # p = .0352
    ([60, 40], ABSTAIN),  # p = .0569
    ([50, 50], ABSTAIN),
    ([100, 0], 0),
    ([0, 0], ABSTAIN),
    ([40, 0], ABSTAIN),  # 60 invalid votes may all be for the other
    ([61, 0], 0),
    ([60, 39], ABSTAIN),
  ],
)
def test_prediction_of_two_classes(votes, prediction, xp):
  answer = smoothing.prediction_of_counts(
    xp.asarray(votes, xp.int32), n=100, alpha=0.05
  )
  assert answer.prediction == prediction


@pytest.mark.parametrize('xp', [np, jnp])
@pytest.mark.parametrize('classes', [1, 2, 5])
def test_predictions_are_those_of_the_binomial_test(xp, classes):
  n, alpha = 60, 0.05
  generator = np.random.default_rng(classes)
  votes = np.stack(
    [
      generator.multinomial(n, generator.dirichlet(np.ones(classes + 1)))
      for _ in range(150)
    ]
  )[:, :classes]  # the last one is invalid
  answer = smoothing.prediction_of_counts(
    xp.asarray(votes, xp.int32), n=n, alpha=alpha
  )
  for row, found in zip(votes, np.asarray(answer.prediction), strict=True):
    ordered = np.sort(np.append(row, 0))[::-1]
    rival = ordered[1] + n - row.sum()
    test = stats.binomtest(
      int(ordered[0]), max(int(ordered[0] + rival), 1), 0.5
    )
    decided = ordered[0] > rival and test.pvalue <= alpha
    assert found == (np.argmax(row) if decided else ABSTAIN)
  assert 0 < np.mean(np.asarray(answer.prediction) == ABSTAIN) < 1


@jax.jit
def _traced_predict(classifier, sigma, key):
  return predict(
    classifier, IMAGE, sigma, key, n=500, alpha=0.001, chunk_size=500
  )


def test_predict():
  sigma, key = jnp.float32(0.5), jax.random.key(0)
  sure = _traced_predict(half_space(0.3), sigma, key)
  assert sure.prediction == 0
  assert sure.counts.sum() == 500
  assert _traced_predict(half_space(-0.3), sigma, key).prediction == 1
  assert _traced_predict(half_space(0.0), sigma, key).prediction == ABSTAIN
  for bad in (np.nan, -0.5, 0.0):
    found = _traced_predict(half_space(0.3), jnp.float32(bad), key)
    assert found.prediction == ABSTAIN


def test_predict_casts_estimation_votes():
  """PREDICT and CERTIFY of one image see the same estimation noise."""
  key = jax.random.key(5)
  votes = _traced_predict(half_space(0.1), jnp.float32(0.5), key).counts
  certified = certify(half_space(0.1), IMAGE, 0.5, key, **STATISTICS)
  chex.assert_trees_all_equal(votes, certified.counts.estimation)
