"""The residual network that is told the noise level."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dualrs_jax import independence, models
from dualrs_jax.models import conditional_resnet


def create(**sizes):
  sizes = {'patch': 2, 'widths': (4, 6), 'blocks': (1, 1)} | sizes
  return models.create(
    'conditional_resnet',
    num_classes=5,
    image_shape=(8, 8, 3),
    seed=0,
    **sizes,
  )


def parameters(model):
  return sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))


def logits(model, images, sigma):
  apply = jax.jit(lambda model, images, sigma: model(images, sigma))
  return apply(models.inference_view(model), images, jnp.asarray(sigma))


@pytest.fixture
def images():
  return jax.random.uniform(jax.random.key(0), (4, 8, 8, 3))


def told(model):
  """The same network, as if it had learnt to use the noise level."""
  for block in model.blocks:
    kernel = block.modulation.kernel
    kernel[...] = jax.random.normal(jax.random.key(1), kernel.shape)
  return model


def test_patches_are_the_pixels_of_squares():
  image = jnp.arange(4 * 6 * 3.0).reshape(1, 4, 6, 3)
  found = conditional_resnet.patches(image, 2)
  assert found.shape == (1, 2, 3, 12)
  np.testing.assert_array_equal(found[0, 1, 2], image[0, 2:4, 4:6].reshape(-1))


def test_stages_halve_the_resolution():
  model = nnx.eval_shape(lambda: create(blocks=(2, 1)))
  x = jax.ShapeDtypeStruct((1, 4, 4, 4), jnp.float32)
  level = jax.ShapeDtypeStruct((1, 32), jnp.float32)
  view = models.inference_view(model)
  for block, shape in zip(
    view.blocks, [(4, 4, 4), (4, 4, 4), (2, 2, 6)], strict=True
  ):
    x = jax.eval_shape(lambda block, *x: block(*x), block, x, level)
    assert x.shape == (1, *shape)


def test_widths_and_blocks_make_it_larger():
  small = parameters(nnx.eval_shape(create))
  assert parameters(nnx.eval_shape(lambda: create(widths=(8, 12)))) > 2 * small
  assert parameters(nnx.eval_shape(lambda: create(blocks=(2, 2)))) > 1.5 * small


def test_a_new_network_is_the_same_at_all_levels_but_for_the_scale(images):
  model = create()
  mean = jnp.asarray(model.mean).reshape(1, 1, 1, 3)
  scale = lambda sigma: np.sqrt(model.deviation**2 + sigma**2)
  moved = (images - mean) * scale(1.0) / scale(0.25) + mean
  np.testing.assert_allclose(
    logits(model, images, [0.25] * 4),
    logits(model, moved, [1.0] * 4),
    rtol=1e-4,
  )


def test_it_is_told_the_level_of_each_image(images):
  model = told(create())
  mixed = logits(model, images, [0.25, 1.0, 0.25, 1.0])
  low, high = (logits(model, images, [sigma] * 4) for sigma in (0.25, 1.0))
  np.testing.assert_allclose(mixed[::2], low[::2], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(mixed[1::2], high[1::2], rtol=1e-5, atol=1e-6)
  assert not np.allclose(low, high, atol=1e-3)


def test_votes_do_not_depend_on_their_companions(images):
  view = models.inference_view(told(create()))
  key = jax.random.key(0)
  independence.check_batch_independence(view, images[0], 0.5, key, chunk_size=4)
  with pytest.raises(ValueError, match='batch companions'):
    independence.check_batch_independence(
      create(), images[0], 0.5, key, chunk_size=4
    )


def test_bfloat16_is_inside_only(images):
  model = create(dtype='bfloat16')
  for leaf in jax.tree.leaves(nnx.state(model)):
    assert leaf.dtype == jnp.float32
  found = logits(model, images, [0.5] * 4)
  assert found.dtype == jnp.float32
  full = logits(create(), images, [0.5] * 4)
  np.testing.assert_allclose(found, full, atol=0.05 * np.abs(full).max())


@pytest.mark.parametrize(
  ('sizes', 'sentence'),
  [
    ({'widths': (4,)}, 'widths and blocks must be of one length, not 1 and 2'),
    ({'patch': 3}, 'patch must divide the sides of the image, 8 and 8'),
    ({'patch': 0}, 'patch must divide'),
    ({'mean': (0.5,)}, 'one entry for each of 3 channels'),
  ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, sentence):
  with pytest.raises(ValueError, match=sentence):
    create(**sizes)
