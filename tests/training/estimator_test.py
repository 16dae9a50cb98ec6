"""The estimator's stage."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dualrs_jax.training import estimator, feed, utility
from tests.training import networks


def test_an_image_that_no_level_certifies_has_no_weight():
  def per_image(logits, bounds, frequencies, estimator_sigma, guidance):
    return jnp.abs(logits).sum((0, 2)) + bounds.sum(-1)

  loss = estimator.make_loss(per_image, copies=2, steps=10)
  context = estimator.Context(jnp.float32(0.5), jnp.ones(2) / 2)
  images = jnp.asarray(networks.source(4).images)
  bounds = jnp.array([[0.1, -0.3], [0.2, 0.4], [-0.1, -0.2], [-3.0, -2.0]])
  key = jax.random.key(0)
  model = networks.Linear(num_classes=2)
  value, metrics = loss(model, context, feed.Examples(images, bounds), key, 0)
  other = images.at[2:].set(255 - images[2:])
  moved = bounds.at[2:].add(-1.0)
  same, _ = loss(model, context, feed.Examples(other, moved), key, 0)
  np.testing.assert_array_equal(value, same)
  assert 0 <= metrics['best_level_rate'] <= 1

  nobody = feed.Examples(images, -jnp.abs(bounds))
  none, _ = loss(model, context, nobody, key, 0)
  assert none == 0


def test_guidance_ends_over_the_second_half():
  def per_image(logits, bounds, frequencies, estimator_sigma, guidance):
    return jnp.full(len(bounds), guidance)

  loss = estimator.make_loss(per_image, copies=2, steps=10)
  context = estimator.Context(jnp.float32(0.5), jnp.ones(2) / 2)
  images = jnp.asarray(networks.source(4).images)
  batch = feed.Examples(images, jnp.ones((4, 2)))
  model = networks.Linear(num_classes=2)

  @jax.jit
  def guidance(step):
    return loss(model, context, batch, jax.random.key(0), step)[0]

  found = [guidance(step) for step in (0, 4, 5, 6, 8, 9)]
  np.testing.assert_allclose(found, [1, 1, 1, 0.8, 0.4, 0.2], rtol=1e-6)


def test_selections_are_the_majority():
  images = jnp.zeros((3, 4, 4, 1), jnp.uint8)
  images = images.at[0, 0, 1].set(255).at[1, 0, 0].set(255).at[2, 0, 2].set(255)
  selected = estimator.selections(
    networks.Brightest(3),
    images,
    jnp.float32(0.5),
    jax.random.key(0),
    votes=101,
    batch_size=2,
  )
  np.testing.assert_array_equal(selected, [1, 0, 2])


def test_a_constant_estimator_is_reported(caplog):
  report = functools.partial(
    estimator.selected_shares,
    sigmas=(0.25, 0.5, 1.0),
    worth=utility.Choice(2, 0.123),
  )
  shares = report(jnp.array([0, 2, 2, 0]))
  assert shares == {'selected/0.25': 0.5, 'selected/0.5': 0, 'selected/1': 0.5}
  assert not caplog.text
  report(jnp.array([1, 1, 1]))
  assert 'selects sigma 0.5 for every validation image' in caplog.text
  assert '1 is the best for all' in caplog.text
  assert 'a choice per image worth 12.3% more' in caplog.text


def test_a_single_level_is_no_collapse(caplog):
  worth = utility.Choice(0, 0.0)
  shares = estimator.selected_shares(jnp.array([0, 0]), (0.5,), worth)
  assert shares == {'selected/0.5': 1}
  assert not caplog.text
