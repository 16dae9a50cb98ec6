"""The network: its sizes, its noise level, and independence in a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dualrs_jax import independence, models

SHAPE = (12, 10, 1)
SIZES = {'channels': (4, 6), 'hidden': 8, 'embedding': 5}


def create(seed=0, num_classes=3, **sizes):
  return models.create(
    'cnn',
    num_classes=num_classes,
    image_shape=SHAPE,
    seed=seed,
    **(SIZES | sizes),
  )


def conditioned(model):
  """The model with modulations that are no longer zero."""
  graph, parameters = nnx.split(model)
  leaves, tree = jax.tree.flatten(parameters)
  keys = jax.random.split(jax.random.key(3), len(leaves))
  moved = [
    leaf + 0.3 * jax.random.normal(key, leaf.shape)
    for leaf, key in zip(leaves, keys, strict=True)
  ]
  return nnx.merge(graph, tree.unflatten(moved))


def batch(size, seed=1):
  images = jax.random.uniform(jax.random.key(seed), (size, *SHAPE))
  return images, jnp.linspace(0.25, 1.0, size)


#: One compilation per network and shape; op by op, each one is compiled.
apply = jax.jit(lambda model, images, sigma: model(images, sigma))


@pytest.fixture(scope='module')
def model():
  return jax.jit(lambda: conditioned(create()))()


@pytest.mark.parametrize('num_classes', [2, 7])
@pytest.mark.parametrize(
  'sizes',
  [
    {},
    {'channels': (3,), 'kernels': (5,), 'strides': (3,)},
    {'channels': (2, 3, 4), 'kernels': (3, 3, 1), 'strides': (2, 1, 5)},
  ],
)
def test_one_row_of_logits_per_image(num_classes, sizes):
  images, sigma = batch(5)
  logits = nnx.eval_shape(
    lambda: create(num_classes=num_classes, **sizes)(images, sigma)
  )
  assert logits.shape == (5, num_classes)
  assert logits.dtype == jnp.float32


def test_seed_decides_the_weights():
  first, again, other = (apply(create(seed), *batch(6)) for seed in (0, 0, 1))
  assert np.isfinite(first).all()
  assert np.array_equal(first, again)
  assert not np.array_equal(first, other)


def test_rows_do_not_depend_on_their_companions(model):
  images, sigma = batch(6)
  whole = apply(model, images, sigma)
  order = np.array([4, 2, 5, 0, 3, 1])
  np.testing.assert_allclose(
    apply(model, images[order], sigma[order]),
    whole[order],
    rtol=1e-5,
    atol=1e-5,
  )
  others = images.at[1:].set(1e3)
  np.testing.assert_allclose(
    apply(model, others, sigma)[0], whole[0], rtol=1e-5, atol=1e-5
  )
  independence.check_companions(
    lambda copies: apply(models.inference_view(model), copies, 0 * sigma + 0.5),
    images[0],
    0.5,
    jax.random.key(0),
    chunk_size=6,
  )


def test_the_noise_level_matters_once_trained(model):
  images, sigma = batch(6)
  assert not np.allclose(
    apply(model, images, sigma), apply(model, images, 2 * sigma)
  )
  graph, parameters = nnx.split(model)

  def loss(parameters):
    model = nnx.merge(graph, parameters, copy=True)
    return jnp.sum(model(images, sigma) ** 2)

  gradients = jax.jit(jax.grad(loss))(parameters)
  for modulation in gradients['modulations'].values():
    assert np.abs(modulation['kernel'][...]).max() > 0


def test_fresh_network_sees_the_level_only_in_the_input_scale():
  model = create()
  images, _ = batch(6)
  low, high = jnp.full(6, 0.25), jnp.full(6, 1.0)
  deviation = lambda s: jnp.sqrt(model.image_deviation**2 + s**2)
  stretch = (deviation(high) / deviation(low))[:, None, None, None]
  stretched = (images - model.image_mean) * stretch + model.image_mean
  np.testing.assert_allclose(
    apply(model, images, low),
    apply(model, stretched, high),
    rtol=1e-4,
    atol=1e-5,
  )


def test_composes_with_jit_and_vmap(model):
  images, sigma = batch(6)
  eager = model(images, sigma)
  np.testing.assert_allclose(
    apply(model, images, sigma), eager, rtol=1e-5, atol=1e-5
  )
  mapped = jax.vmap(apply, in_axes=(None, 0, 0))(
    model, images[:, None], sigma[:, None]
  )
  np.testing.assert_allclose(mapped[:, 0], eager, rtol=1e-5, atol=1e-5)


def test_sizes_that_do_not_fit_together_are_refused():
  with pytest.raises(ValueError, match='of one length, not 3, 2 and 2'):
    create(channels=(4, 4, 4))
