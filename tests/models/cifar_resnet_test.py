"""The CIFAR residual networks: sizes, modes, and independence in a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dualrs_jax
from dualrs_jax import models
from tests import parity_classifiers as parity


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
  abstract = nnx.eval_shape(lambda: create(depth))
  weights = nnx.state(abstract, nnx.Param)
  assert sum(leaf.size for leaf in jax.tree.leaves(weights)) == parameters


@pytest.mark.parametrize('side', [32, 16])
def test_stages_halve_the_resolution(side):
  model = create(widths=(2, 3, 4))
  x = jnp.zeros((1, side, side, 2))
  for block, shape in zip(
    models.inference_view(model).blocks,
    [(side, 2), (side // 2, 3), (side // 4, 4)],
    strict=True,
  ):
    x = block(x)
    assert x.shape == (1, shape[0], shape[0], shape[1])


def test_only_the_inference_view_is_independent_of_companions():
  model = create(widths=(2, 3, 4))
  image = jax.random.uniform(jax.random.key(1), (32, 32, 3))

  def check(network):
    dualrs_jax.check_batch_independence(
      network, image, 0.5, jax.random.key(0), chunk_size=8
    )

  check(models.inference_view(model))
  with pytest.raises(ValueError, match='batch companions'):
    check(model)


def test_the_image_is_normalised_inside():
  plain = create(mean=(0.0,) * 3, deviation=(1.0,) * 3)
  shifted = create(mean=(0.5, 0.4, 0.3), deviation=(0.2, 0.3, 0.4))
  images = jax.random.uniform(jax.random.key(1), (2, 32, 32, 3))
  moved = (images - np.array([0.5, 0.4, 0.3], 'f4').reshape(1, 1, 1, 3)) / (
    np.array([0.2, 0.3, 0.4], 'f4').reshape(1, 1, 1, 3)
  )
  sigma = jnp.ones(2)
  np.testing.assert_allclose(
    models.inference_view(shifted)(images, sigma),
    models.inference_view(plain)(moved, sigma),
    rtol=1e-4,
    atol=1e-5,
  )


def test_bfloat16_is_inside_only():
  name = 'cifar_resnet20_a'
  model = parity.model(name, dtype='bfloat16')
  for leaf in jax.tree.leaves(nnx.state(model)):
    assert leaf.dtype == jnp.float32
  low = parity.logits(model, parity.pixels(name))
  full = parity.arrays(name)['logits']
  largest = np.abs(full).max()
  assert low.dtype == np.float32
  np.testing.assert_allclose(low, full, atol=0.02 * largest)
  assert not np.allclose(low, full, atol=1e-4 * largest)


def test_an_impossible_depth_is_refused():
  with pytest.raises(ValueError, match='6 n \\+ 2'):
    create(depth=18)
