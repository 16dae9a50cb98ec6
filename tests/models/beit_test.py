"""BEiT: published size, relative positions, independence, types."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dualrs_jax import models
from dualrs_jax.models import beit
from tests import parity_classifiers as parity


def test_the_parameter_count_is_the_published_one():
  abstract = parity.full_size(models.BEiT)
  leaves = jax.tree.leaves(nnx.state(abstract))
  assert sum(leaf.size for leaf in leaves) == 305_674_728
  assert abstract.blocks[0].table.shape == (3972, 16)


def test_steps_between_tokens_are_those_of_the_definition():
  side = 3
  steps = beit.steps_between_tokens(side)
  rows = beit.number_of_steps(side)
  assert steps.shape == (10, 10)
  assert steps[0, 0] == rows - 1
  assert set(steps[0, 1:]) == {rows - 3}
  assert set(steps[1:, 0]) == {rows - 2}
  for i in range(side**2):
    for j in range(side**2):
      down, right = i // side - j // side, i % side - j % side
      expected = (down + side - 1) * (2 * side - 1) + right + side - 1
      assert steps[1 + i, 1 + j] == expected
  assert set(steps.ravel()) == set(range(rows))


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_votes_do_not_depend_on_their_companions(dtype):
  view = models.inference_view(parity.model('hf_beit_a', dtype=dtype))
  parity.check_companions(view, parity.pixels('hf_beit_a'))


def test_bfloat16_is_inside_only():
  model = parity.model('hf_beit_a', dtype='bfloat16')
  for leaf in jax.tree.leaves(nnx.state(model)):
    assert leaf.dtype == jnp.float32
  images = parity.pixels('hf_beit_a')
  low = parity.logits(model, images)
  full = parity.arrays('hf_beit_a')['logits']
  assert low.dtype == np.float32
  np.testing.assert_allclose(low, full, atol=0.1)
  assert not np.allclose(low, full, atol=1e-4)
