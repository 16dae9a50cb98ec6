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


def test_a_baseline_is_shown_as_much_as_the_classifier():
  first = ConfigDict({'steps': 100, 'batch_size': 64, 'copies': 1})
  later = ConfigDict({'steps': 30, 'batch_size': 32, 'copies': 4})
  assert stages.single_steps(first, later, rounds=2) == 100 + 2 * 30 * 2
  first.steps = 0
  assert stages.single_steps(first, later, rounds=2) == 2 * 30 * 2
