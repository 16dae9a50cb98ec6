"""Counts of multiplications, against their closed forms."""

import jax
import jax.numpy as jnp
import pytest

from dualrs_jax.cost import operations


def test_counts():
  """In closed form: batched products, strides, groups, calls, no loops."""
  x = jnp.zeros((5, 3, 7))
  assert operations.multiply_adds(lambda x: x @ x.mT, x) == 5 * 3 * 3 * 7
  assert (
    operations.multiply_adds(jax.jit(lambda x: x @ x.mT + x @ x.mT), x) == 630
  )
  convolve = lambda x, kernel: jax.lax.conv_general_dilated(
    x,
    kernel,
    (2, 2),
    'SAME',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=2,
  )
  found = operations.multiply_adds(
    convolve, jnp.zeros((2, 8, 6, 4)), jnp.zeros((3, 5, 2, 10))
  )
  assert found == 2 * 4 * 3 * 10 * (3 * 5 * 2)
  loop = lambda x: jax.lax.fori_loop(0, 3, lambda _, x: x @ x, x)
  with pytest.raises(ValueError, match='more than once'):
    operations.multiply_adds(loop, jnp.zeros((3, 3)))
