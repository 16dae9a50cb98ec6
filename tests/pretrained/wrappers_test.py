"""Wrappers around weights: opened where one would do, asked for otherwise."""

import numpy as np
import pytest

from dualrs_jax.pretrained import wrappers
from dualrs_jax.pretrained.matching import ImportFailure


class Tensor:
  def numpy(self):
    return np.ones(1)


WEIGHTS = {'conv1.weight': Tensor()}
AVERAGE = {'conv1.weight': Tensor()}
OPTIMIZER = {'state': {0: {'exp_avg': Tensor()}}, 'param_groups': []}


@pytest.mark.parametrize('key', wrappers.USUAL + wrappers.AVERAGED)
def test_a_usual_key_is_opened_whatever_is_beside_it(key):
  content = {key: WEIGHTS, 'optimizer': OPTIMIZER, 'epoch': 3}
  found, notes, left = wrappers.unwrap(content, 'x')
  assert found is WEIGHTS
  assert notes == {'epoch': 3}
  assert left is None


def test_wrappers_within_wrappers_are_opened():
  content = {'model': {'module': WEIGHTS, 'arch': 'a'}, 'step': 1}
  found, notes, _ = wrappers.unwrap(content, 'x')
  assert found is WEIGHTS
  assert notes == {'step': 1, 'arch': 'a'}


def test_averaged_weights_are_a_choice():
  content = {'state_dict': WEIGHTS, 'state_dict_ema': AVERAGE}
  with pytest.raises(ImportFailure) as raised:
    wrappers.unwrap(content, 'x')
  assert str(raised.value) == (
    "x has weights in 'state_dict' and 'state_dict_ema': choose with --key, as"
    ' in --key state_dict'
  )
  for key, expected in (('state_dict', WEIGHTS), ('state_dict_ema', AVERAGE)):
    assert wrappers.unwrap(content, 'x', key=key)[0] is expected


def test_other_keys_are_named():
  content = {'generator': WEIGHTS, 'optimizer': OPTIMIZER}
  with pytest.raises(ImportFailure, match="x has weights in 'generator': choo"):
    wrappers.unwrap(content, 'x')
  assert wrappers.unwrap(content, 'x', key='generator')[0] is WEIGHTS


def test_a_key_that_is_not_there_may_be_a_prefix():
  assert wrappers.unwrap({'model': WEIGHTS}, 'x', key='ema')[2] == 'ema'
  arrays = {'ema.conv1.weight': np.ones(1), 'net.conv1.weight': np.zeros(1)}
  for key, value in (('ema', 1), ('net', 0)):
    chosen = wrappers.without_prefix(
      arrays, 'conv1.weight', source='x', key=key
    )
    assert {n: a.tolist() for n, a in chosen.items()} == {
      'conv1.weight': [value]
    }


def test_layers_of_the_same_name_further_inside_are_no_second_network():
  arrays = dict.fromkeys(
    ['module.conv1.weight', 'module.layer1.0.conv1.weight', 'n_averaged'],
    np.ones(1),
  )
  found = wrappers.without_prefix(arrays, 'conv1.weight', source='x')
  assert list(found) == ['conv1.weight', 'layer1.0.conv1.weight']


def test_what_is_no_checkpoint_is_told():
  for content, message in (
    ([], 'x holds a list, not a dictionary of tensors'),
    ({'epoch': 1}, 'x holds no tensors, only epoch'),
    ({'optimizer': OPTIMIZER}, 'x holds no tensors, only optimizer'),
  ):
    with pytest.raises(ImportFailure, match=f'^{message}$'):
      wrappers.unwrap(content, 'x')
