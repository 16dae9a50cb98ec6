"""What is saved in these tests, and how two of them compare."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from dualrs_jax import checkpoints


class Net(nnx.Module):
  """A network with every kind of array: weights, statistics, random state."""

  def __init__(self, seed, width=32):
    rngs = nnx.Rngs(seed)
    self.layers = nnx.List(
      [
        nnx.Linear(64, width, rngs=rngs),
        nnx.BatchNorm(width, rngs=rngs),
      ]
    )
    self.dropout = nnx.Dropout(0.5, rngs=rngs)


def items(model):
  parameters = nnx.state(model, nnx.Param)
  return {
    'model': checkpoints.model_state(model),
    'optimizer': optax.adam(0.1).init(parameters),
  }


def arrays(tree):
  def data(leaf):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)

  return [data(leaf) for leaf in jax.tree.leaves(tree)]


def assert_same(tree, other):
  assert jax.tree.structure(tree) == jax.tree.structure(other)
  for left, right in zip(arrays(tree), arrays(other), strict=True):
    np.testing.assert_array_equal(left, right, strict=True)
