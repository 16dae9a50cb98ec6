"""The vision transformer: published size, independence, types, bad images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dualrs_jax import models
from tests import parity_classifiers as parity

TINY = {'patch': 4, 'width': 16, 'depth': 1, 'heads': 2, 'hidden': 24}


def create(image_shape=(8, 8, 3), **sizes):
  return models.create(
    'vit', num_classes=5, image_shape=image_shape, seed=0, **TINY | sizes
  )


def test_the_parameter_count_is_the_published_one():
  leaves = jax.tree.leaves(nnx.state(parity.full_size(models.ViT)))
  assert sum(leaf.size for leaf in leaves) == 85_806_346


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_votes_do_not_depend_on_their_companions(dtype):
  view = models.inference_view(parity.model('hf_vit_a', dtype=dtype))
  parity.check_companions(view, parity.pixels('hf_vit_a'))


def test_bfloat16_is_inside_only():
  model = parity.model('hf_vit_a', dtype='bfloat16')
  for leaf in jax.tree.leaves(nnx.state(model)):
    assert leaf.dtype == jnp.float32
  images = parity.pixels('hf_vit_a')
  low = parity.logits(model, images)
  full = parity.arrays('hf_vit_a')['logits']
  assert low.dtype == np.float32
  np.testing.assert_allclose(low, full, atol=0.08)
  assert not np.allclose(low, full, atol=1e-4)


@pytest.mark.parametrize('shape', [(8, 12, 3), (10, 10, 3)])
def test_images_that_are_not_squares_of_patches_are_refused(shape):
  with pytest.raises(ValueError, match='multiples of 4, not'):
    nnx.eval_shape(lambda: create(image_shape=shape))


def test_images_of_another_size_are_refused():
  with pytest.raises(ValueError, match=r'\(8, 8, 3\), not \(12, 12, 3\)'):
    nnx.eval_shape(create)(jnp.zeros((2, 12, 12, 3)), jnp.ones(2))


def test_sizes_that_do_not_fit_together_are_refused():
  with pytest.raises(ValueError, match='16 does not divide into 3 heads'):
    nnx.eval_shape(lambda: create(heads=3))
  with pytest.raises(ValueError, match='each of 3 channels, not 1 and 3'):
    nnx.eval_shape(lambda: create(mean=(0.5,)))
