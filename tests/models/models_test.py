"""Networks by name, and their inference views."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dualrs_jax import models


class Stateful(nnx.Module):
  """Has everything that inference must switch off."""

  def __init__(self):
    rngs = nnx.Rngs(0)
    self.norm = nnx.BatchNorm(4, rngs=rngs)
    self.dropout = nnx.Dropout(0.5, rngs=rngs)

  def __call__(self, x):
    return self.dropout(self.norm(x))


def test_inference_view_has_no_batch_statistics_and_no_dropout():
  model = Stateful()
  rows = jnp.arange(12.0).reshape(3, 4)
  view = models.inference_view(model)
  fresh = rows / jnp.sqrt(1 + model.norm.epsilon)
  np.testing.assert_allclose(view(rows), fresh, rtol=1e-6)
  np.testing.assert_allclose(view(rows[:1]), fresh[:1], rtol=1e-6)
  assert not np.allclose(model(rows), fresh)


def test_inference_view_shares_the_weights():
  model = models.create('cnn', num_classes=2, image_shape=(8, 8, 1), seed=0)
  view = models.inference_view(model)
  images, sigma = jnp.ones((2, 8, 8, 1)), jnp.ones(2)
  apply = jax.jit(lambda model: model(images, sigma))
  before = apply(model)
  assert np.array_equal(apply(view), before)
  model.logits.bias[...] = jnp.array([5.0, -5.0])
  assert not np.array_equal(apply(model), before)
  assert np.array_equal(apply(view), apply(model))


def test_unknown_architecture_is_named_with_the_nearest():
  with pytest.raises(ValueError, match="'ccn'; did you mean 'cnn'"):
    models.create('ccn', num_classes=2, image_shape=(8, 8, 1), seed=0)
