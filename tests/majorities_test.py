"""The certificate of a cascade, from counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dualrs_jax import Counts, cascade_prediction, confidence, majorities

SIGMAS = (0.25, 0.5, 1.0)
N0, N, ALPHA = 100, 1_000, 0.001


def certify(selection, estimation, sigmas=SIGMAS, n=N, alpha=ALPHA):
  counts = Counts(np.array(selection), np.array(estimation))
  return majorities.certificate_of_counts(
    counts, sigmas, n0=N0, n=n, alpha=alpha
  )


def z(votes, n=N, alpha=ALPHA):
  return confidence.lower_z(n, alpha)[votes]


def test_radius_is_the_smallest_of_its_terms():
  """Undecided at 1.0, decided for class 1 at 0.5: both levels limit."""
  selection = [[0, 100, 0], [2, 98, 0], [40, 30, 30]]
  estimation = [[0, 0, 0], [20, 980, 0], [400, 300, 300]]
  found = certify(selection, estimation)
  assert (found.prediction, found.sigma_index) == (1, 1)
  assert found.level_radius == pytest.approx(0.5 * z(980), rel=1e-12)
  assert found.earlier_radius == pytest.approx(1.0 * z(600), rel=1e-12)
  assert found.radius == min(found.level_radius, found.earlier_radius)
  np.testing.assert_array_equal(found.cast.selection, [N0] * 3)
  np.testing.assert_array_equal(found.cast.estimation, [0, N, N])
  # With more votes for class 0 above, and none left over for class 1, it is
  # that level which limits.
  estimation[2] = [450, 0, 550]
  found = certify(selection, estimation)
  assert found.prediction == -1
  assert found.radius == found.earlier_radius == 0


def test_an_earlier_level_that_agrees_does_not_limit():
  """At 1.0 class 1 has a majority too: what matters are the others there."""
  selection = [[0, 100, 0], [0, 100, 0], [30, 60, 10]]
  estimation = [[0, 0, 0], [0, 1000, 0], [300, 600, 100]]
  found = certify(selection, estimation)
  assert (found.prediction, found.sigma_index) == (1, 1)
  assert found.earlier_radius == pytest.approx(z(700), rel=1e-12)
  assert found.radius == pytest.approx(min(z(700), 0.5 * z(1000)), rel=1e-12)


@pytest.mark.parametrize('invalid', [0, 50, 600])
def test_invalid_votes_count_against_everything(invalid):
  selection = [[0, 0, 0], [0, 100, 0], [40, 30, 30]]
  valid = np.array([[0, 0, 0], [0, 1000 - invalid, 0], [200, 100, 100]])
  found = certify(selection, valid)
  # 600 invalid votes at 1.0, each for class 0 as well as for class 2.
  assert found.earlier_radius == max(0, z(200))
  expected = np.maximum(0.5 * z(1000 - invalid), 0)
  assert found.level_radius == pytest.approx(expected, rel=1e-12)


def test_a_level_without_votes_certifies_nothing():
  selection = [[0, 100, 0], [0, 100, 0], [40, 30, 30]]
  found = certify(selection, [[0, 0, 0], [0, 1000, 0], [0, 0, 0]])
  assert found.prediction == -1
  found = certify(selection, [[0, 0, 0], [0, 0, 0], [300, 300, 400]])
  assert found.prediction == -1


def test_levels_that_do_not_count():
  """Those after the one that answers, whatever their votes."""
  selection = [[0, 0, 100], [0, 0, 100], [100, 0, 0]]
  votes = [[0, 0, 1000], [0, 0, 1000], [1000, 0, 0]]
  found = certify(selection, votes)
  assert (found.prediction, found.sigma_index) == (0, 2)
  assert found.earlier_radius == np.inf
  assert found.radius == pytest.approx(z(1000), rel=1e-12)


def test_the_order_is_that_of_the_levels():
  assert majorities.visits([0.25, 1.0, 0.5]).tolist() == [2, 0, 1]
  assert majorities.visits([0.5, 1.0, 0.5, 1.0]).tolist() == [2, 0, 3, 1]
  traced = jax.jit(majorities.visits)(jnp.float32([0.5, 1.0, 0.5, 1.0]))
  assert traced.tolist() == [2, 0, 3, 1]
  selection = np.array([[0, 100, 0], [2, 98, 0], [40, 30, 30]])
  estimation = np.array([[0, 0, 0], [20, 980, 0], [400, 300, 300]])
  here = certify(selection, estimation)
  turned = certify(selection[::-1], estimation[::-1], SIGMAS[::-1])
  assert here.radius == turned.radius
  assert here.sigma_index == turned.sigma_index == 1


@pytest.mark.parametrize('bad', [np.nan, -1.0, 0.0])
@pytest.mark.parametrize('at', [0, 1, 2])
def test_a_level_that_is_none_abstains_everywhere(bad, at):
  sigmas = np.float32(SIGMAS)
  sigmas[at] = bad
  votes = np.array([[0, 1000, 0]] * 3)
  assert certify(votes // 10, votes, sigmas).prediction == -1


def test_choice_prefers_the_first_level_that_promises_enough():
  selection = np.array([[0, 100], [0, 100], [5, 95]])
  likely = majorities.likely_z(selection, N0)
  # Of two classes, what level 1.0 gives to the other limits all later ones.
  level, label, promised = majorities.choose(likely, SIGMAS)
  assert (level, label) == (2, 1)
  assert promised == pytest.approx(stats.norm.ppf(95.5 / 101), rel=1e-5)
  several = np.array([[0, 0, 100], [0, 0, 100], [16, 16, 68]])
  likely = majorities.likely_z(several, N0)
  assert majorities.choose(likely, SIGMAS)[0] == 1
  assert majorities.choose(likely, SIGMAS, 0.4)[0] == 2


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_host_and_device_choose_alike_and_round_down(seed):
  """Counts of all kinds: the same choice, a float32 radius not above."""
  generator = np.random.default_rng(seed)
  concentration = generator.choice([0.1, 0.5, 3.0])
  p = generator.dirichlet(np.full(4, concentration), size=(40, 3))
  selection, estimation = (
    generator.multinomial(n, p)[..., :3].astype(np.int32) for n in (N0, N)
  )
  options = {'n0': N0, 'n': N, 'alpha': ALPHA}
  host = majorities.certificate_of_counts(
    Counts(selection, estimation), SIGMAS, **options
  )
  device = majorities.certificate_of_counts(
    Counts(jnp.asarray(selection), jnp.asarray(estimation)),
    jnp.float32(SIGMAS),
    **options,
  )
  np.testing.assert_array_equal(host.sigma_index, device.sigma_index)
  np.testing.assert_array_equal(host.cast.estimation, device.cast.estimation)
  assert np.all(np.asarray(device.radius, float) <= host.radius)
  np.testing.assert_allclose(device.radius, host.radius, rtol=1e-5)
  agreed = device.prediction == host.prediction
  assert np.all(agreed | (np.asarray(device.prediction) == -1))


def test_prediction():
  needed = int(confidence.fewest_wins(N, ALPHA)[N])
  none = [300, 300, 400]

  def predict(*levels):
    votes = np.array(levels)
    found = cascade_prediction.prediction_of_counts(
      votes, SIGMAS, n=N, alpha=ALPHA
    )
    return int(found.prediction), int(found.sigma_index)

  assert predict([0, 0, 0], [0, 0, 0], [0, needed, 0]) == (1, 2)
  assert predict([0, 0, 0], [0, 0, needed], none) == (2, 1)
  assert predict([0, needed, 0], none, none) == (1, 0)
  # Neither sure of a class nor sure to have none.
  assert predict([0, 0, 0], [0, 0, 1000], [0, needed - 1, 0]) == (-1, -1)
  assert predict(none, none, none) == (-1, -1)
  # Invalid votes could be anybody's.
  assert predict([0, 0, 0], [0, 0, 1000], [300, 0, 0]) == (-1, -1)
