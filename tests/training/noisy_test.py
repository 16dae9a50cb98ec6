"""Noisy copies on several devices, and slice by slice."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from dualrs_jax import sharding
from dualrs_jax.training import noisy
from tests.training import networks


def test_devices_share_the_copies_of_a_batch():
  """Weights that are right prove nothing: all could compute all of it."""
  mesh = sharding.data_mesh(16, jax.devices()[:2])
  spread = NamedSharding(mesh, PartitionSpec(sharding.DATA))
  images = jax.ShapeDtypeStruct((16, 4, 4, 1), jnp.float32, sharding=spread)
  sigma = jax.ShapeDtypeStruct((16,), jnp.float32, sharding=spread)
  program = jax.jit(noisy.noisy_logits, static_argnames='copies').lower(
    networks.Linear(), images, sigma, jax.random.key(0), copies=3
  )
  text = program.compile().as_text()
  assert text is not None
  assert 'f32[24,3]' in text, 'not half of 16 images, 3 copies each'
  assert 'f32[48,' not in text
  assert 'all-gather' not in text


def test_slices_are_put_together_in_order():
  images = jnp.arange(7, dtype=jnp.uint8).reshape(7, 1, 1, 1)

  def first(images, key):
    return images[:, 0, 0, 0]

  for size in (1, 3, 7, 100):
    found = noisy.by_slices(first, images, jax.random.key(0), size=size)
    np.testing.assert_array_equal(found, np.arange(7))
