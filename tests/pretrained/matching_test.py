"""What a file must hold: every array, of the right shape, and nothing else."""

import jax
import numpy as np
import pytest
from flax import nnx

from dualrs_jax.pretrained import matching
from dualrs_jax.pretrained.matching import ImportFailure, Target


class Net(nnx.Module):
  def __init__(self, *, width, rngs, dtype=None):
    self.layers = nnx.List([nnx.Linear(2, width, rngs=rngs)])
    self.norm = nnx.BatchNorm(width, rngs=rngs)


def same(array):
  return array


def third(position):
  return lambda array: np.split(array, 3)[position]


CORRESPONDENCE = {
  'fc.weight': Target(('layers', 0, 'kernel'), np.transpose),
  'fc.bias': Target(('layers', 0, 'bias'), same),
  'bn.weight': Target(('norm', 'scale'), same),
  'bn.others': [
    Target(('norm', 'bias'), third(0)),
    Target(('norm', 'mean'), third(1)),
    Target(('norm', 'var'), third(2)),
  ],
}


@pytest.fixture
def arrays():
  return {
    'fc.weight': np.arange(8, dtype='f4').reshape(4, 2),
    'fc.bias': np.arange(4, dtype='f2'),
    'bn.weight': np.arange(4, dtype='f8'),
    'bn.others': np.arange(12, dtype='f4'),
  }


@pytest.fixture
def model():
  return nnx.eval_shape(lambda: Net(width=4, rngs=nnx.Rngs(0)))


def assign(model, arrays):
  matching.assign(model, arrays, CORRESPONDENCE, source='file.pt')


def test_every_array_arrives_as_the_type_of_its_parameter(model, arrays):
  assign(model, arrays)
  layer, norm = model.layers[0], model.norm
  np.testing.assert_array_equal(layer.kernel, arrays['fc.weight'].T)
  np.testing.assert_array_equal(layer.bias, np.arange(4))
  np.testing.assert_array_equal(norm.scale, np.arange(4))
  parts = np.stack([norm.bias, norm.mean, norm.var])
  np.testing.assert_array_equal(parts, np.arange(12).reshape(3, 4))
  for leaf in jax.tree.leaves(nnx.state(model)):
    assert isinstance(leaf, jax.Array)
    assert leaf.dtype == np.float32


def test_missing_unexpected_and_misshapen_arrays_are_named_at_once(
  model, arrays
):
  del arrays['fc.bias'], arrays['bn.weight']
  arrays |= {'ema': np.zeros(1), 'fc2.weight': np.zeros(1)}
  arrays['fc.weight'] = np.zeros((2, 2), 'f4')
  with pytest.raises(ImportFailure) as failure:
    assign(model, arrays)
  assert str(failure.value) == (
    'file.pt does not fit the model: 2 missing: fc.bias, bn.weight;'
    ' 2 unexpected: ema, fc2.weight; 1 misfit: fc.weight of shape (2, 2) does'
    ' not give layers.0.kernel (2, 4)'
  )


@pytest.mark.parametrize(
  ('name', 'shape'),
  [
    ('fc.weight', (2, 4)),
    ('fc.weight', (4, 2, 1)),
    ('fc.bias', (5,)),
    ('bn.weight', (1, 4)),
    ('bn.others', (15,)),  # its thirds would fit a wider layer
    ('bn.others', (13,)),
  ],
)
def test_misshapen_arrays_are_all_named(model, arrays, name, shape):
  arrays[name] = np.zeros(shape, 'f4')
  arrays['fc.bias'] = np.zeros(7, 'f4')
  with pytest.raises(ImportFailure) as failure:
    assign(model, arrays)
  message = str(failure.value)
  assert 'fc.bias of shape (7,) does not give layers.0.bias (4,)' in message
  assert f'{name} of shape {arrays[name].shape}' in message
  for other in set(arrays) - {name, 'fc.bias'}:
    assert other not in message


def test_integers_and_values_that_are_not_finite_are_named(model, arrays):
  arrays['fc.bias'] = np.arange(4)
  arrays['bn.others'][7] = np.nan
  arrays['fc.weight'][0, 0] = np.inf
  with pytest.raises(ImportFailure) as failure:
    assign(model, arrays)
  assert 'fc.bias is of type int64, not floating' in str(failure.value)
  assert 'bn.others holds NaN or infinite values' in str(failure.value)
  assert 'fc.weight holds NaN or infinite values' in str(failure.value)


def test_a_refused_file_changes_nothing(arrays):
  model = Net(width=4, rngs=nnx.Rngs(0))
  before = np.asarray(model.layers[0].kernel)
  arrays['bn.others'] = np.zeros(2, 'f4')
  with pytest.raises(ImportFailure):
    assign(model, arrays)
  np.testing.assert_array_equal(model.layers[0].kernel, before)


def test_another_architecture_is_told_in_one_sentence(model):
  others = {f'blocks.{i}.weight': np.zeros(2, 'f4') for i in range(500)}
  with pytest.raises(ImportFailure) as failure:
    assign(model, others)
  assert str(failure.value) == (
    'file.pt is of another architecture: it holds none of the 4 arrays'
    " expected, such as 'fc.weight', but 'blocks.0.weight' and so on"
  )


def test_an_importer_that_leaves_a_parameter_unset_is_an_error(model, arrays):
  partial = {k: v for k, v in CORRESPONDENCE.items() if k != 'fc.bias'}
  with pytest.raises(KeyError, match='bias'):
    matching.assign(model, arrays, partial, source='file.pt')
  double = CORRESPONDENCE | {'again': CORRESPONDENCE['fc.bias']}
  with pytest.raises(KeyError, match='not exactly once'):
    matching.assign(model, arrays, double, source='file.pt')


def test_unknown_sizes_are_named_with_the_nearest(arrays):
  published = matching.Published(
    'file.pt', Net, {'widht': 4}, arrays, lambda model: CORRESPONDENCE
  )
  with pytest.raises(ValueError, match="'widht'; did you mean 'width'"):
    matching.build(published)
  for name in ('rngs', 'dtype', 'self'):
    other = published._replace(sizes={name: 1})
    with pytest.raises(ValueError, match=f"unknown size '{name}'"):
      matching.build(other)
  fitting = published._replace(sizes={'width': 4})
  assert matching.build(fitting).norm.scale.shape == (4,)


@pytest.mark.parametrize(
  ('sizes', 'message'),
  [
    ({'width': 'x'}, "file.pt: width is a number or several, not 'x'"),
    ({'width': None}, 'file.pt: width is a number or several, not None'),
    ({'width': 2.5}, r'file.pt: no Net has the sizes width=2.5 \(Shapes must'),
    ({'width': -1}, r'file.pt: no Net has the sizes width=-1 \('),
    ({}, r"file.pt: no Net has the sizes  \(.*missing 1 .*: 'width'\)"),
  ],
)
def test_sizes_that_make_no_sense_are_told(arrays, sizes, message):
  published = matching.Published(
    'file.pt', Net, sizes, arrays, lambda model: CORRESPONDENCE
  )
  with pytest.raises(ValueError, match=message):
    matching.build(published)


def test_a_model_without_weights_is_that_of_flax(model):
  """With one key for all weights, which are never drawn."""
  ours = matching.abstract(Net, {'width': 4})
  expected = nnx.to_flat_state(nnx.state(model))
  for (path, one), (name, other) in zip(
    nnx.to_flat_state(nnx.state(ours)), expected, strict=True
  ):
    assert (path, one.shape, one.dtype) == (name, other.shape, other.dtype)
