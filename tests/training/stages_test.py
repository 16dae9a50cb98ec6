"""Which stages leave weights."""

from ml_collections import ConfigDict

from dualrs_jax.training import stages


def test_all_stages():
  assert stages.names(
    rounds=2, classifier_steps=5, finetune_steps=5, baselines=(0.25,)
  ) == [
    'classifier-0',
    'estimator-1',
    'classifier-1',
    'estimator-2',
    'classifier-2',
    'single-0.25-0',
    'single-0.25',
  ]


def test_a_stage_of_no_steps_leaves_nothing():
  steps = {'classifier_steps': 0, 'finetune_steps': 0}
  assert stages.names(rounds=1, baselines=(), **steps) == ['estimator-1']
  assert stages.origin('classifier-1', **steps) is None
  assert stages.origin('classifier-0', **steps) is None


def test_a_stage_of_no_steps_hands_on_what_it_was_given():
  steps = {'classifier_steps': 5, 'finetune_steps': 0}
  assert stages.origin('classifier-2', **steps) == 'classifier-0'
  steps = {'classifier_steps': 0, 'finetune_steps': 5}
  assert stages.origin('classifier-2', **steps) == 'classifier-2'
  assert stages.origin('classifier-0', **steps) is None
  assert stages.origin('single-0.5', **steps) == 'single-0.5'


def test_a_baseline_takes_the_steps_of_the_classifier():
  first, later = ConfigDict({'steps': 100}), ConfigDict({'steps': 30})
  steps = {'classifier_steps': 100, 'finetune_steps': 30}
  names = stages.of_single(0.25, **steps)
  assert names == ['single-0.25-0', 'single-0.25']

  def of(stage):
    return stages.options_of(stage, first, later, rounds=2)

  assert [of(name) for name in names] == [(first, 100), (later, 60)]
  assert of('classifier-0') == (first, 100)
  assert [of('classifier-1'), of('classifier-2')] == [(later, 30)] * 2


def test_a_baseline_has_one_stage_where_the_classifier_has():
  first, later = ConfigDict({'steps': 0}), ConfigDict({'steps': 30})
  steps = {'classifier_steps': 0, 'finetune_steps': 30}
  assert stages.of_single(1.0, **steps) == ['single-1']
  assert stages.options_of('single-1', first, later, rounds=1) == (later, 30)
  assert stages.of_single(1.0, **dict.fromkeys(steps, 0)) == ['single-1']
  first.steps, later.steps = 100, 0
  steps = {'classifier_steps': 100, 'finetune_steps': 0}
  assert stages.of_single(1.0, **steps) == ['single-1']
  assert stages.options_of('single-1', first, later, rounds=1) == (first, 100)


def test_the_level_of_a_stage():
  assert stages.level_of_single('single-0.25') == '0.25'
  assert stages.level_of_single('single-0.25-0') == '0.25'
  assert stages.level_of_single('classifier-0') is None
