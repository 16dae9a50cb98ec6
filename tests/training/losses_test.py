"""The losses against their formulas, written out naively in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from dualrs_jax.training import losses
from dualrs_jax.training import utility as utility_lib

COPIES, BATCH, LEVELS = 3, 5, 4
SIGMA = jnp.float32(0.5)
GUIDED = jnp.float32(1)
RADII = (0.0, 0.25, 0.5)

# Compiled as a whole: the inverse normal alone is some hundred operations.
soft_certificate = jax.jit(losses.soft_certificate)


@pytest.fixture
def logits():
  return 2 * jax.random.normal(jax.random.key(0), (COPIES, BATCH, LEVELS))


@pytest.fixture
def bounds():
  values = jax.random.uniform(jax.random.key(1), (BATCH, LEVELS))
  return 1.5 * values - 0.4


def report(**options):
  return utility_lib.report_utility(**({'weights': ()} | options))


def test_cross_entropy_is_the_mean_over_copies(logits):
  labels = jnp.array([3, 0, 1, 1, 2])
  logs = special.log_softmax(np.asarray(logits, np.float64), axis=-1)
  expected = [
    -np.mean([logs[m, i, labels[i]] for m in range(COPIES)])
    for i in range(BATCH)
  ]
  actual = losses.cross_entropy(logits, labels)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)
  soft = losses.soft_cross_entropy(logits, jax.nn.one_hot(labels, LEVELS))
  np.testing.assert_allclose(soft, expected, rtol=1e-5)


def test_consistency_is_divergence_and_entropy(logits):
  p = special.softmax(np.asarray(logits, np.float64), axis=-1)
  mean = p.mean(0)
  divergence = np.mean(
    [[stats.entropy(mean[i], p[m, i]) for i in range(BATCH)] for m in range(3)],
    axis=0,
  )
  entropy = stats.entropy(mean, axis=-1)
  actual = losses.consistency(logits, divergence=40.0, entropy=0.5)
  np.testing.assert_allclose(actual, 40 * divergence + 0.5 * entropy, rtol=1e-4)


def test_equal_copies_are_consistent(logits):
  same = jnp.broadcast_to(logits[:1], logits.shape)
  value = losses.consistency(same, divergence=40.0, entropy=0.0)
  np.testing.assert_allclose(value, 0, atol=1e-5)


def test_soft_targets_of_the_radius_are_the_papers(bounds):
  utility = utility_lib.radius_utility(radii=RADII, weights=(), width=0.1)
  actual = losses.soft_targets(bounds, utility=utility, temperature=1.0)
  expected = special.softmax(np.maximum(bounds, 0), axis=-1)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_levels_have_the_same_say():
  bounds = np.array(
    [[0.9, 0.1]] * 6 + [[0.1, 0.9]] * 2 + [[-0.1, -0.2]] * 5, np.float32
  )
  frequencies = losses.best_level_frequencies(bounds)
  np.testing.assert_allclose(frequencies, [0.75, 0.25])
  weights = losses.inverse_frequencies(
    jnp.asarray(bounds), jnp.asarray(frequencies)
  )
  np.testing.assert_allclose(weights[:8].mean(), 1, rtol=1e-6)
  np.testing.assert_allclose(weights[:6].sum(), weights[6:8].sum(), rtol=1e-6)


def test_a_level_that_is_best_for_nobody():
  frequencies = jnp.array([0.5, 0.5, 0.0])
  weights = losses.inverse_frequencies(
    jnp.array([[0.9, 0.1, 0.0], [-0.9, -0.9, -0.1]]), frequencies
  )
  np.testing.assert_allclose(weights, [1, 0])


@pytest.mark.parametrize(('reach', 'level'), [('strong', 2), ('weak', 0)])
def test_reachable_radius_is_at_an_extreme_selection(reach, level):
  selected = jnp.array([[0], [2], [1]])
  logits = jax.nn.one_hot(selected, 4)
  bounds = jnp.array([[0.3, 0.7, 0.6, 5.0]])
  radius = losses.reachable_radius(logits, bounds, reach=reach)
  np.testing.assert_allclose(radius, bounds[:, level])
  assert losses.reachable_radius(logits, -bounds, reach=reach) == 0


def test_soft_certificate_is_the_agreement_radius(logits, bounds):
  p = special.softmax(np.asarray(logits, np.float64), axis=-1).mean(0)
  z = special.ndtri(p)
  expected = np.empty((BATCH, LEVELS))
  for b in range(BATCH):
    for i in range(LEVELS):
      radius = bounds[b, i]
      for k in range(LEVELS):
        if k != i:
          keeps = 0.5 / 2 * (z[b, i] - z[b, k])
          radius = min(radius, max(keeps, bounds[b, k]))
      expected[b, i] = radius
  actual = soft_certificate(logits, bounds, SIGMA)
  # Apart from the small mixture that keeps the z-scores finite.
  np.testing.assert_allclose(actual, expected, atol=0.02)
  assert (np.asarray(actual) < 0).any()
  assert (np.asarray(actual) > 0).any()


def test_soft_certificate_of_one_level_is_its_bound():
  bounds = jnp.array([[0.7], [-0.2]])
  value = soft_certificate(jnp.zeros((3, 2, 1)), bounds, SIGMA)
  np.testing.assert_allclose(value, bounds)


def test_soft_certificate_has_a_gradient_where_it_is_certain():
  logits = jnp.array([[[30.0, -30.0]]])

  def first(logits):
    bounds = jnp.array([[9.0, -1.0]])
    return soft_certificate(logits, bounds, SIGMA)[0, 0]

  assert np.isfinite(first(logits))
  assert np.isfinite(jax.jit(jax.grad(first))(logits)).all()


LOSSES = {
  'paper': functools.partial(
    losses.paper_loss,
    temperature=1.0,
    divergence=1.0,
    entropy=0.1,
    reach='strong',
  ),
  'certificate': functools.partial(
    losses.certificate_loss,
    gain=3.0,
    temperature=0.1,
    imitation=0.1,
    rescue=1.0,
    divergence=0.1,
    entropy=0.0,
  ),
}


@pytest.mark.parametrize('name', LOSSES)
def test_minimising_selects_the_best_level(name):
  assert losses.ESTIMATOR_LOSSES[name] is LOSSES[name].func
  utility = report(radii=(0.0, 0.25, 0.5, 0.75, 1.0), width=0.1)
  bounds = jnp.array(
    [[0.8, 0.2, -0.3], [0.1, 0.9, 0.3], [-0.5, -0.2, 0.6], [0.6, 0.7, 0.5]]
  )
  frequencies = jnp.asarray(losses.best_level_frequencies(np.asarray(bounds)))

  @jax.jit
  @jax.grad
  def objective(logits):
    copies = jnp.stack([logits, logits])
    loss = LOSSES[name](
      copies, bounds, frequencies, SIGMA, GUIDED, utility=utility
    )
    return loss.sum()

  logits = jnp.zeros((4, 3))
  for _ in range(300):
    logits = logits - 0.3 * objective(logits)
  np.testing.assert_array_equal(logits.argmax(-1), bounds.argmax(-1))


def test_paper_loss_is_its_formula(logits, bounds):
  frequencies = jnp.array([0.4, 0.3, 0.2, 0.1])
  utility = utility_lib.radius_utility(radii=(), weights=(), width=1.0)
  actual = losses.paper_loss(
    logits,
    bounds,
    frequencies,
    SIGMA,
    GUIDED,
    utility=utility,
    temperature=1.0,
    divergence=40.0,
    entropy=0.5,
    reach='weak',
  )
  targets = special.softmax(np.maximum(bounds, 0), axis=-1)
  logs = special.log_softmax(logits, axis=-1)
  lowest = np.asarray(logits.argmax(-1)).min(0)
  reached = np.maximum(np.asarray(bounds)[np.arange(BATCH), lowest], 0)
  steady = losses.consistency(logits, divergence=40.0, entropy=0.5)
  balance = 1 / (LEVELS * np.asarray(frequencies)[np.argmax(bounds, -1)])
  expected = balance * (
    -(targets * logs).sum(-1).mean(0) + reached * np.asarray(steady)
  )
  np.testing.assert_allclose(actual, expected, rtol=1e-4)


@pytest.mark.parametrize(('shift', 'guidance'), [(0, 1.0), (7, 1.0), (7, 0.25)])
def test_certificate_loss_is_its_formula(logits, bounds, shift, guidance):
  logits = logits.at[..., 1].add(shift)  # of one mind, or not
  utility = report(radii=RADII, width=0.1)
  actual = losses.certificate_loss(
    logits,
    bounds,
    jnp.zeros(LEVELS),
    SIGMA,
    jnp.float32(guidance),
    utility=utility,
    gain=3.0,
    temperature=0.2,
    imitation=0.3,
    rescue=0.5,
    divergence=2.0,
    entropy=0.1,
  )
  p = special.softmax(logits, axis=-1).mean(0)
  counted = (np.asarray(bounds) > 0).any(-1)
  uniformity = max(0, p[counted].mean(0).max() - 0.9) / 0.1
  assert (uniformity > 0) == (shift > 0)
  worth = utility(soft_certificate(logits, bounds, SIGMA))
  targets = special.softmax(
    np.asarray(utility(jnp.maximum(bounds, 0))) / 0.2, axis=-1
  )
  logs = special.log_softmax(logits, axis=-1)
  expected = (
    -3 * (p * np.asarray(worth)).sum(-1)
    - guidance * (0.3 + 0.5 * uniformity) * (targets * logs).sum(-1).mean(0)
    + np.asarray(losses.consistency(logits, divergence=2.0, entropy=0.1))
  )
  np.testing.assert_allclose(actual, expected, rtol=1e-4)


@pytest.mark.parametrize('name', LOSSES)
def test_images_without_a_best_level_give_no_nan(name):
  utility = report(radii=RADII, width=0.1)
  bounds = jnp.array([[0.8, 0.2], [-2.0, -1.0]])

  @jax.jit
  @jax.grad
  def objective(logits):
    frequencies = jnp.array([1.0, 0.0])
    return LOSSES[name](
      logits, bounds, frequencies, SIGMA, GUIDED, utility=utility
    ).sum()

  gradient = objective(jnp.ones((2, 2, 2)))
  assert np.isfinite(gradient).all()


def test_a_batch_of_one_mind():
  bounds = jnp.array([[0.5, 0.1]] * 10 + [[-1.0, -1.0]] * 5)
  first, second = jnp.array([30.0, -30.0]), jnp.array([-30.0, 30.0])

  def uniformity(seconds):
    # Images that no level certifies choose the other level.
    rows = [second] * seconds + [first] * (10 - seconds) + [second] * 5
    return losses.uniformity(jnp.stack(rows)[None], bounds)

  np.testing.assert_allclose(uniformity(0), 1, rtol=1e-5)
  assert uniformity(1) == pytest.approx(0, abs=1e-5)
  assert uniformity(5) == 0
  assert losses.uniformity(jnp.zeros((1, 5, 2)), -jnp.ones((5, 2))) == 0


def test_imitation_leads_out_of_one_level_for_all():
  # Half of the images need the other level, and every image is certain of the
  # first: there the certificate alone has hardly a gradient.
  bounds = jnp.array([[0.9, 0.6], [-0.2, 0.6]] * 8)
  utility = report(radii=(0.0, 0.25, 0.5, 0.75), width=0.1)

  def choices(rescue):
    loss = functools.partial(
      LOSSES['certificate'], utility=utility, imitation=0.02, rescue=rescue
    )

    @jax.jit
    @jax.grad
    def objective(logits):
      copies = jnp.stack([logits, logits])
      return loss(copies, bounds, jnp.ones(2) / 2, SIGMA, GUIDED).sum()

    logits = jnp.tile(jnp.array([[8.0, -8.0]]), (16, 1))
    for _ in range(150):
      logits = logits - 0.3 * objective(logits)
    return logits.argmax(-1)

  np.testing.assert_array_equal(choices(0.0), 0)
  np.testing.assert_array_equal(choices(3.0), bounds.argmax(-1))


def test_the_certificate_has_the_last_word():
  # The estimator cannot tell the images apart. Soft targets would have it in
  # two minds for ever, and a certificate needs one.
  bounds = jnp.array([[0.9, -0.2], [0.9, -0.2], [0.3, 0.9]] * 8)
  utility = report(radii=(0.0, 0.25, 0.5, 0.75), width=0.1)
  loss = functools.partial(
    LOSSES['certificate'], utility=utility, imitation=0.3, rescue=3.0
  )

  @jax.jit
  @jax.grad
  def objective(logits, guidance):
    copies = jnp.broadcast_to(logits, (2, *bounds.shape))
    return loss(copies, bounds, jnp.ones(2) / 2, SIGMA, guidance).mean()

  def first(least):
    logits = jnp.zeros(2)
    for guidance in np.clip(np.linspace(2, 0, 600), least, 1):
      logits -= 0.5 * objective(logits, jnp.float32(guidance))
    return jax.nn.softmax(logits)[0]

  assert first(least=1.0) < 0.96
  assert first(least=0.0) > 0.97
