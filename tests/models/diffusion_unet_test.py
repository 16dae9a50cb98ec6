"""The diffusion UNet against outputs of the original code, and its options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dualrs_jax import models
from dualrs_jax.models import diffusion_blocks, diffusion_unet
from tests import parity_unets
from tests.parity_unets import apply, nchw, nhwc

NAMES = sorted(parity_unets.SIZES)
TOLERANCE = 3e-4


def batch(name):
  io = parity_unets.arrays(name, 'io_unet')
  return (nhwc(io['x']), jnp.asarray(io['timesteps'])), io['out']


@pytest.mark.parametrize('name', NAMES)
def test_parity_with_the_original(name):
  inputs, out = batch(name)
  model = models.inference_view(parity_unets.network(name))
  result = apply(model, *inputs)
  assert result.dtype == jnp.float32
  np.testing.assert_allclose(nchw(result), out, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize('name', NAMES)
def test_rows_do_not_depend_on_their_companions(name):
  (images, times), _ = batch(name)
  model = parity_unets.network(name)
  whole = apply(model, images, times)
  order = np.array([2, 0, 3, 1])
  np.testing.assert_allclose(
    apply(model, images[order], times[order]),
    whole[order],
    rtol=0,
    atol=1e-4,
  )
  others = apply(model, images.at[1:].set(9.0), times.at[1:].set(7.0))
  np.testing.assert_allclose(others[0], whole[0], rtol=0, atol=1e-4)


def test_bfloat16_computes_the_same_roughly_with_float32_weights():
  inputs, out = batch('guided_unet_a')
  model = parity_unets.network('guided_unet_a', dtype=jnp.bfloat16)
  assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {
    jnp.dtype('float32')
  }
  result = apply(model, *inputs)
  assert result.dtype == jnp.float32
  error = np.sqrt(np.mean((nchw(result) - out) ** 2))
  assert 1e-3 < error < 0.04  # of outputs with a deviation of 0.57


def test_the_other_order_of_attention_is_a_permutation_of_weights():
  block = parity_unets.network('improved_unet_a').middle_block[1]
  other = diffusion_blocks.AttentionBlock(
    64, 4, heads_first=False, dtype=jnp.float32, rngs=nnx.Rngs(0)
  )
  state = dict(nnx.to_flat_state(nnx.state(block)))
  for path in [('projection', 'kernel'), ('projection', 'bias')]:
    weights = np.asarray(state[path][...])
    parts = weights.reshape(*weights.shape[:-1], 4, 3, 16)
    moved = np.swapaxes(parts, -3, -2).reshape(weights.shape)
    state[path] = state[path].replace(jnp.asarray(moved))
  nnx.update(other, nnx.from_flat_state(state.items()))
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 64)), 'f4')
  np.testing.assert_allclose(
    apply(other, x), apply(block, x), rtol=0, atol=1e-5
  )


def test_a_block_without_scale_adds_the_timestep_before_normalising():
  def normalised(h):
    groups = h.reshape(2, 16, 32, -1)
    mean = groups.mean((1, 3), keepdims=True)
    variance = jnp.square(groups - mean).mean((1, 3), keepdims=True)
    return ((groups - mean) / jnp.sqrt(variance + 1e-5)).reshape(h.shape)

  @jax.jit
  def both(x, embedding):
    block = diffusion_blocks.ResidualBlock(
      inputs=32,
      outputs=64,
      embedding=5,
      scale_shift=False,
      dtype=jnp.float32,
      rngs=nnx.Rngs(0),
      resample=lambda x: x,
    )
    h = block.convolution1(jax.nn.silu(normalised(x)))
    h = h + (embedding @ block.embedding.kernel[...])[:, None, None, :]
    h = block.convolution2(jax.nn.silu(normalised(h)))
    return block(x, embedding), block.shortcut(x) + h

  random = np.random.default_rng(0)
  result, expected = both(
    jnp.asarray(random.normal(size=(2, 4, 4, 32)), jnp.float32),
    jnp.asarray(random.normal(size=(2, 5)), jnp.float32),
  )
  np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


def test_without_learned_variance_there_is_one_output_per_channel():
  def outputs():
    model = diffusion_unet.DiffusionUNet(
      **parity_unets.SIZES['improved_unet_a'],
      channels=1,
      learned_variance=False,
      rngs=nnx.Rngs(0),
    )
    return model(jnp.zeros((2, 6, 8, 1)), jnp.zeros(2))

  assert nnx.eval_shape(outputs).shape == (2, 6, 8, 1)


def test_images_that_cannot_be_halved_are_refused():
  model = parity_unets.network('guided_unet_a')
  with pytest.raises(ValueError, match='multiples of 2, not 8 and 7'):
    model(jnp.zeros((1, 8, 7, 3)), jnp.zeros(1))


@pytest.mark.parametrize(
  ('heads', 'message'),
  [
    ({'heads': 4, 'head_width': 64}, 'one of heads and head_width, not 4 and'),
    ({}, 'one of heads and head_width, not None and'),
    ({'heads': 5}, '64 channels do not divide into 5 heads'),
    ({'head_width': 48}, '64 channels do not divide into heads of width 48'),
  ],
)
def test_heads_that_do_not_fit_are_refused(heads, message):
  sizes = {'width': 32, 'multipliers': (2,), 'blocks': 1}
  with pytest.raises(ValueError, match=message):
    nnx.eval_shape(
      lambda: diffusion_unet.DiffusionUNet(
        **sizes, attention_factors=(1,), **heads, rngs=nnx.Rngs(0)
      )
    )
