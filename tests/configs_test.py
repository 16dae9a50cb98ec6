"""The configurations: locked, valid, and honest about their fields."""

import pytest

from configs import digits
from dualrs_jax.training import loop


@pytest.mark.parametrize('arg', ['', 'full'])
def test_a_configuration_is_valid_and_locked(arg):
  config = digits.get_config(arg)
  loop.check(config)
  assert config.is_locked
  with pytest.raises(AttributeError, match='Did you mean "seed"'):
    config.seeed = 1
  with pytest.raises(AttributeError, match='Did you mean "steps"'):
    _ = config.classifier.stepz


def test_full_is_what_the_results_table_needs():
  config = digits.get_config('full')
  assert config.name == 'digits-full'
  assert config.baselines == config.sigmas == (0.25, 0.5, 1.0)
  assert (config.certify.n, config.certify.count) == (10_000, 0)
  assert config.certify.alpha == 0.001


def test_the_quick_one_is_quick():
  config = digits.get_config()
  assert config.name == 'digits'
  assert (config.certify.n, config.certify.count) == (1000, 100)
  assert config.baselines == ()


def test_an_unknown_argument():
  with pytest.raises(ValueError, match="'full' or none, not 'ful'"):
    digits.get_config('ful')
