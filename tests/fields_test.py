"""The usual values of a configuration's fields, and what takes their place."""

import pytest

from dualrs_jax import fields

GROUPS = {
  name: getattr(fields, name)
  for name in ('run', 'classifier', 'targets', 'estimator', 'finetune')
} | {'checkpoint': fields.checkpoint, 'certify': fields.certify}


def test_a_change_takes_the_place_of_one_value_alone():
  usual = fields.estimator()
  changed = fields.estimator(steps=7, utility={'radii': (0.5,)})
  assert changed['steps'] == 7
  assert changed['utility'] == usual['utility'] | {'radii': (0.5,)}
  assert changed | {'steps': 0, 'utility': usual['utility']} == usual


@pytest.mark.parametrize('name', GROUPS)
def test_nothing_is_shared_between_two_groups(name):
  def spoil(group):
    for field, value in group.items():
      spoil(value) if isinstance(value, dict) else group.update({field: None})

  spoil(GROUPS[name]())
  assert None not in GROUPS[name]().values()
  assert GROUPS[name]() == GROUPS[name]()


def test_a_name_that_is_no_field_is_refused():
  with pytest.raises(ValueError, match='finetune has no field step; its fiel'):
    fields.finetune(step=7)
  with pytest.raises(ValueError, match=r'estimator\.utility has no field radi'):
    fields.estimator(utility={'radius': 1})
  with pytest.raises(ValueError, match='a configuration has no field sigma;'):
    fields.run(sigma=1)
