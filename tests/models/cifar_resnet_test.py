"""The CIFAR residual networks: sizes, modes, and independence in a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dualrs_jax import models
from dualrs_jax.models.cifar_resnet import RESNET110
from dualrs_jax.pretrained import matching
from tests import parity_classifiers as parity

NAME = 'cifar_resnet20_a'


def create(depth=8, **sizes):
  return models.create(
    'cifar_resnet',
    num_classes=10,
    image_shape=(32, 32, 3),
    seed=0,
    depth=depth,
    **sizes,
  )


@pytest.mark.parametrize(
  ('depth', 'parameters'), [(20, 272_474), (110, 1_730_714)]
)
def test_parameter_counts_are_the_published_ones(depth, parameters):
  sizes = RESNET110 | {'depth': depth}
  abstract = matching.abstract(models.CIFARResNet, sizes)
  weights = nnx.state(abstract, nnx.Param)
  assert sum(leaf.size for leaf in jax.tree.leaves(weights)) == parameters


@pytest.mark.parametrize('side', [32, 16])
def test_stages_halve_the_resolution(side):
  model = models.inference_view(
    nnx.eval_shape(lambda: create(widths=(2, 3, 4)))
  )
  x = jax.ShapeDtypeStruct((1, side, side, 2), jnp.float32)
  for block, shape in zip(
    model.blocks, [(side, 2), (side // 2, 3), (side // 4, 4)], strict=True
  ):
    x = jax.eval_shape(lambda block, x: block(x), block, x)
    assert x.shape == (1, shape[0], shape[0], shape[1])


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_votes_do_not_depend_on_their_companions(dtype):
  view = models.inference_view(parity.model(NAME, dtype=dtype))
  parity.check_companions(view, parity.pixels(NAME))


def test_the_training_mode_is_refused():
  training = nnx.view(parity.model(NAME), use_running_average=False)
  with pytest.raises(ValueError, match='batch companions'):
    parity.check_companions(training, parity.pixels(NAME))


def test_a_new_network_is_in_training_mode():
  new = nnx.eval_shape(create)
  assert not new.stem_norm.use_running_average
  assert models.inference_view(new).stem_norm.use_running_average


def test_the_image_is_normalised_inside():
  @jax.jit
  def logits(model, images):
    plain = nnx.view(model)
    plain.mean, plain.deviation = (0.0,) * 3, (1.0,) * 3
    moved = (images - row(model.mean)) / row(model.deviation)
    sigma = jnp.ones(len(images))
    return model(images, sigma), plain(moved, sigma)

  row = lambda values: np.array(values, np.float32).reshape(1, 1, 1, 3)
  inside, outside = logits(parity.model(NAME), parity.pixels(NAME)[:2])
  np.testing.assert_allclose(inside, outside, rtol=1e-4, atol=1e-4)


def test_bfloat16_is_inside_only():
  model = parity.model(NAME, dtype='bfloat16')
  for leaf in jax.tree.leaves(nnx.state(model)):
    assert leaf.dtype == jnp.float32
  low = parity.logits(model, parity.pixels(NAME))
  full = parity.arrays(NAME)['logits']
  largest = np.abs(full).max()
  assert low.dtype == np.float32
  np.testing.assert_allclose(low, full, atol=0.02 * largest)
  assert not np.allclose(low, full, atol=1e-4 * largest)


def test_an_impossible_depth_is_refused():
  with pytest.raises(ValueError, match='6 n \\+ 2'):
    create(depth=18)
