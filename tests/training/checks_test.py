"""Checks of a configuration."""

import pytest

from dualrs_jax import confidence
from dualrs_jax.training import checks


def test_valid_levels():
  checks.levels((0.25, 0.5), 0.3, ())
  checks.levels((0.25,), 1.0, (0.25, 0.1))


@pytest.mark.parametrize(
  ('levels', 'message'),
  [
    (((), 1.0, ()), 'sigmas must be positive and increasing'),
    (((0.0, 1.0), 1.0, ()), 'sigmas must be'),
    (((0.5, 0.25), 1.0, ()), 'sigmas must be'),
    (((0.5, 0.5), 1.0, ()), 'sigmas must be'),
    (((0.5,), 0.0, ()), 'estimator_sigma must be positive, not 0.0'),
    (((0.5,), 1.0, (0.5, -1.0)), 'baselines must be positive'),
  ],
)
def test_levels_that_are_none(levels, message):
  with pytest.raises(ValueError, match=message):
    checks.levels(*levels)


def test_a_choice_names_the_nearest():
  checks.choice('estimator.loss', 'paper', {'paper': 1, 'certificate': 2})
  with pytest.raises(ValueError, match="did you mean 'certificate'"):
    checks.choice('estimator.loss', 'certify', {'paper': 1, 'certificate': 2})


def test_radius_cap_is_reported_with_its_number(caplog):
  options = {'n': 10_000, 'alpha': 0.0005}
  cap = checks.radius_cap((0.25, 1.0), 0.5, **options)
  assert cap == 0.5 * confidence.lower_z(10_000, 0.0005)[-1]
  assert cap == pytest.approx(3.1709 * 0.5, abs=1e-4)
  checks.warn_of_radius_cap((0.25, 1.0), 0.5, **options)
  assert 'estimator_sigma 0.5 is below the largest of sigmas, 1' in caplog.text
  assert 'at most 1.585 (n = 10000)' in caplog.text


def test_no_cap_at_the_largest_level(caplog):
  assert checks.radius_cap((0.25, 1.0), 1.0, n=100, alpha=0.001) is None
  checks.warn_of_radius_cap((0.25, 1.0), 1.0, n=100, alpha=0.001)
  assert not caplog.text


@pytest.mark.parametrize(
  'levels',
  [
    ((0.25, float('nan')), 0.5, ()),
    ((0.25, 0.5), float('inf'), ()),
    ((0.25, 0.5), 0.5, (float('nan'),)),
  ],
)
def test_levels_are_finite(levels):
  with pytest.raises(ValueError, match='must be positive'):
    checks.levels(*levels)
