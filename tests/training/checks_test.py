"""Checks of a configuration."""

import pytest

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
