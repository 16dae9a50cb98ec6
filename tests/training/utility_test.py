"""What a radius is worth, and the weights by which radii count alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualrs_jax.training import utility as lib

RADII = (0.0, 0.25, 0.5)


def report(**options):
  return lib.report_utility(**({'weights': ()} | options))


def test_report_counts_the_radii_that_are_passed():
  utility = report(radii=RADII, width=1e-3)
  radius = jnp.array([-1.0, 0.1, 0.3, 9.0])
  np.testing.assert_allclose(utility(radius), [0, 1 / 3, 2 / 3, 1], atol=1e-6)
  utility = report(radii=RADII, weights=(1.0, 1.0, 2.0), width=1e-3)
  np.testing.assert_allclose(utility(radius), [0, 0.25, 0.5, 1], atol=1e-6)


def test_report_is_smooth():
  utility = report(radii=RADII, width=0.1)
  slope = jax.vmap(jax.grad(lambda r: utility(r)))(jnp.linspace(-0.2, 0.7, 50))
  assert (np.asarray(slope) > 0.05).all()


@pytest.mark.parametrize(
  ('weights', 'sentence'),
  [
    ((1.0,), '3 utility radii need as many weights, not 1'),
    ((0.0, 0.0, 0.0), 'not all of them 0'),
    ((1.0, -1.0, 1.0), 'non-negative'),
    ((1.0, float('nan'), 1.0), 'non-negative'),
  ],
)
def test_weights_that_do_not_fit_are_refused(weights, sentence):
  with pytest.raises(ValueError, match=sentence):
    report(radii=RADII, weights=weights, width=0.1)


@pytest.mark.parametrize(
  ('text', 'weights'),
  [
    ('balanced', None),
    ('', ()),
    ('1,2.5, 3', (1.0, 2.5, 3.0)),
    ((1, 2), (1.0, 2.0)),
  ],
)
def test_weights_of_a_configuration(text, weights):
  assert lib.parse_weights(text) == weights


def test_other_words_for_weights_are_refused():
  with pytest.raises(ValueError, match="'balanced' or numbers.*'balance'"):
    lib.parse_weights('balance')


def test_balanced_radii_count_alike():
  # Of ten images, the first level certifies eight at 0 and six at .25, the
  # second four at .5; at 9 nobody is.
  bounds = np.full((10, 2), -1.0, np.float32)
  bounds[:8, 0], bounds[:6, 0] = 0.1, 0.3
  bounds[:4, 1] = 0.6
  radii = (0.0, 0.25, 0.5, 9.0)
  np.testing.assert_allclose(lib.best_shares(bounds, radii), [0.8, 0.6, 0.4, 0])
  np.testing.assert_allclose(
    lib.balanced(bounds, radii), [1 / 0.8, 1 / 0.6, 1 / 0.4, 0]
  )


def test_at_the_radius_0_an_image_must_be_certified():
  bounds = np.array([[0.0], [-0.1], [0.2], [0.3]], np.float32)
  np.testing.assert_allclose(lib.best_shares(bounds, (0.0,)), [0.5])


def test_a_radius_of_a_few_images_does_not_decide_for_all():
  bounds = np.full((10_000, 1), 0.1, np.float32)
  bounds[0] = 2.0
  np.testing.assert_allclose(lib.balanced(bounds, (0.0, 1.0)), [1, 100])


def test_where_nothing_is_certified_radii_count_alike():
  assert lib.balanced(np.full((5, 2), -0.1, np.float32), RADII) == (1, 1, 1)


def test_the_gain_of_a_choice_per_image():
  utility = lib.radius_utility(radii=(), weights=(), width=1.0)
  bounds = np.array([[1.0, 0.5], [0.5, 1.0], [-1.0, -2.0]], np.float32)
  found = lib.choice(bounds, utility)
  assert found == (0, pytest.approx(1 / 3))
  assert lib.choice(bounds[1:], utility) == (1, 0)
  assert lib.choice(bounds[2:], utility) == (0, 0)
