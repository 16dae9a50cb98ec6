"""The bottleneck networks: published size, shapes, modes, types."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dualrs_jax import models
from tests import parity_classifiers as parity

NAME = 'imagenet_resnet_a'


def create(**sizes):
  return models.create(
    'resnet',
    num_classes=5,
    image_shape=(32, 32, 3),
    seed=0,
    **{'stages': (1, 2), 'width': 3} | sizes,
  )


def test_the_parameter_count_is_the_published_one():
  abstract = parity.full_size(models.ResNet)
  leaves = jax.tree.leaves(nnx.state(abstract, nnx.Param))
  assert sum(leaf.size for leaf in leaves) == 25_557_032


def test_all_stages_but_the_first_halve_the_resolution():
  model = models.inference_view(nnx.eval_shape(create))
  x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
  for block, shape in zip(
    model.blocks, [(1, 8, 8, 12), (1, 4, 4, 24), (1, 4, 4, 24)], strict=True
  ):
    x = jax.eval_shape(lambda block, x: block(x), block, x)
    assert x.shape == shape


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_votes_do_not_depend_on_their_companions(dtype):
  view = models.inference_view(parity.model(NAME, dtype=dtype))
  parity.check_companions(view, parity.pixels(NAME))


def test_the_training_mode_is_refused():
  training = nnx.view(parity.model(NAME), use_running_average=False)
  with pytest.raises(ValueError, match='batch companions'):
    parity.check_companions(training, parity.pixels(NAME))


def test_bfloat16_is_inside_only():
  model = parity.model(NAME, dtype='bfloat16')
  for leaf in jax.tree.leaves(nnx.state(model)):
    assert leaf.dtype == jnp.float32
  low = parity.logits(model, parity.pixels(NAME))
  full = parity.arrays(NAME)['logits']
  largest = np.abs(full).max()
  assert low.dtype == np.float32
  np.testing.assert_allclose(low, full, atol=0.03 * largest)
  assert not np.allclose(low, full, atol=1e-4 * largest)


def test_constants_for_other_channels_are_refused():
  with pytest.raises(ValueError, match='each of 3 channels, not 1 and 3'):
    nnx.eval_shape(lambda: create(mean=(0.5,)))
