"""What a configuration cannot mean is said before anything is computed."""

import json
import math

import pytest

from dualrs_jax import sharding
from dualrs_jax.runtime import processes
from dualrs_jax.training import loop, recipe
from tests.training import tiny


def changed(**fields):
  config = tiny.get_config().unlock()
  for name, value in fields.items():
    *groups, field = name.split('__')
    place = config
    for group in groups:
      place = place[group]
    place[field] = value
  return config


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'rounds': 0}, 'rounds must be at least 1, not 0'),
    ({'classifier__optimizer': 'nonsense'}, 'classifier: .*nonsense'),
    ({'finetune__warmup_steps': 40}, r'finetune: warmup_steps must be in'),
    (
      {'finetune__copies': 1, 'finetune__divergence_of_neighbours': 3.0},
      'finetune.copies must be at least 2 with a finetune.divergence_of_n',
    ),
    (
      {'finetune__divergence_of_neighbours': -1.0},
      'finetune.divergence_of_neighbours must be a finite number from 0 on',
    ),
    ({'targets__shard_size': 0}, 'targets.shard_size must be at least 1'),
    ({'checkpoint__every_steps': 0}, 'checkpoint.every_steps must be at least'),
  ],
)
def test_refused(fields, message):
  recipe.check(tiny.get_config())
  with pytest.raises(ValueError, match=message):
    recipe.check(changed(**fields))


def test_options_by_which_nothing_is_trained_are_not_looked_at():
  # The baselines then have those of fine-tuning, as the classifier has.
  recipe.check(changed(classifier__steps=0, classifier__optimizer='nonsense'))


@pytest.mark.parametrize(
  ('fields', 'stage'),
  [
    ({'finetune__batch_size': 33}, 'finetune'),
    ({'estimator__batch_size': 6, 'estimator__accumulate': 2}, 'estimator'),
    ({'classifier__batch_size': 5}, 'classifier'),
  ],
)
def test_rows_that_do_not_divide_over_the_processes(monkeypatch, fields, stage):
  def data_mesh(rows):
    if rows % 2:
      raise ValueError(f'{rows} rows at a time do not divide over 2 processes')

  monkeypatch.setattr(sharding, 'data_mesh', data_mesh)
  recipe.check_together(tiny.get_config())
  with pytest.raises(
    ValueError, match=rf'^{stage}: \d+ rows .* another {stage}\.a'
  ):
    recipe.check_together(changed(**fields))


def test_processes_with_other_configurations(monkeypatch):
  first = json.dumps(recipe._in_step(tiny.get_config()))
  monkeypatch.setattr(processes, 'agreed_text', lambda own: first)
  recipe.check_same(changed(name='another', workers=7))
  message = (
    'process 0 was given another configuration: certify.n is 50 there and 60'
    ' here; checkpoint.keep is 2 there and 3 here'
  )
  with pytest.raises(ValueError, match=message):
    recipe.check_same(changed(checkpoint__keep=3, certify__n=60))


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'workers': -3}, 'workers must be a finite number from 0 on, not -3'),
    ({'targets__alpha': 2.0}, r'targets.alpha must be in \(0, 1\), not 2.0'),
    ({'estimator__batch_size': 0}, 'estimator.batch_size must be at least 1'),
    ({'estimator__average': 1.5}, r'estimator.average must be in \[0, 1\)'),
    ({'classifier__learning_rate': math.nan}, 'must be positive and finite'),
    ({'estimator__utility__width': 0.0}, 'width must be positive and finite'),
    ({'estimator__utility__radii': ()}, 'there are none: name those of the'),
    (
      {'estimator__certificate__gain': math.nan},
      'gain must be a finite number',
    ),
  ],
)
def test_numbers_that_cannot_be_meant(changes, message):
  config = changed(**changes)
  with pytest.raises(ValueError, match=message):
    recipe.check(config)


@pytest.mark.parametrize('role', ['classifier', 'estimator'])
def test_networks_are_drawn_up_before_anything_is_written(tmp_path, role):
  config = tiny.get_config().unlock()
  network = config.model[role].to_dict()
  config.model[role] = {**network, 'strides': (1, 1, 1)}
  with pytest.raises(ValueError, match=f'model.{role}: .* of one length'):
    loop.train(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
