"""One training step, and the schedules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from dualrs_jax import checkpoints, models
from dualrs_jax.training import state

KEY = jax.random.key(0)


class Norm(nnx.Module):
  """Weights beside batch statistics and dropout."""

  def __init__(self):
    rngs = nnx.Rngs(0)
    self.map = nnx.Linear(4, 2, rngs=rngs)
    self.norm = nnx.BatchNorm(2, rngs=rngs)
    self.dropout = nnx.Dropout(0.5, rngs=rngs)

  def __call__(self, x, sigma):
    return self.dropout(self.norm(self.map(x)))


def loss(model, context, batch, key, step):
  logits = model(batch, None)
  noise = jax.random.normal(key, logits.shape)
  metrics = {'noise': noise[0, 0], 'step': jnp.float32(step)}
  return jnp.mean((logits - context - noise) ** 2), metrics


def make(optimizer=None):
  optimizer = optimizer or optax.sgd(0.1)
  graphdef, first = state.create(Norm(), optimizer)
  batch = jax.random.normal(jax.random.key(1), (8, 4))

  @functools.partial(jax.jit, static_argnums=1)
  def step(current, decay):
    return state.update(
      graphdef,
      current,
      loss,
      optimizer,
      jnp.float32(3),
      batch,
      KEY,
      decay=decay,
    )

  return graphdef, first, step


def same(left, right):
  return all(
    np.array_equal(a, b)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
  )


def test_a_step_moves_weights_and_statistics():
  graphdef, first, step = make()
  after, metrics = step(first, 0.0)
  assert int(after.step) == 1
  assert not same(first.parameters, after.parameters)
  model = state.trained_model(graphdef, after)
  assert not np.array_equal(model.norm.mean[...], np.zeros(2))
  assert set(metrics) == {'loss', 'noise', 'step'}


def test_noise_is_a_function_of_the_step():
  _, first, step = make()
  one, metrics = step(first, 0.0)
  _, again = step(first, 0.0)
  _, later = step(one, 0.0)
  assert metrics['noise'] == again['noise'] != later['noise']
  assert (metrics['step'], again['step'], later['step']) == (0, 0, 1)


def test_the_average_follows_the_weights():
  _, current, step = make()
  last, _ = step(current, 0.0)
  assert same(last.average, last.parameters), 'decay 0 keeps the last weights'
  weights, average = [], None
  for number in range(12):
    current, _ = step(current, 0.5)
    weight = np.asarray(current.parameters['map']['kernel'][...])
    kept = min(0.5, (1 + number) / (10 + number))
    before = weights[-1] if average is None and weights else average
    if before is None:
      before = np.asarray(Norm().map.kernel[...])
    average = kept * before + (1 - kept) * weight
    weights.append(weight)
  np.testing.assert_allclose(
    current.average['map']['kernel'][...], average, rtol=1e-4, atol=1e-6
  )


def test_a_state_survives_its_checkpoint(tmp_path):
  graphdef, first, step = make(state.make_optimizer(**options()))
  current, _ = step(first, 0.9)
  with checkpoints.Saver(tmp_path, keep=1) as saver:
    saver.save(1, state.to_items(current), {})
  items, _, _ = checkpoints.restore(tmp_path, state.to_items(first))
  restored = state.from_items(items)
  there, back = step(current, 0.9)[0], step(restored, 0.9)[0]
  assert same(there.parameters, back.parameters)
  assert same(there.optimizer_state, back.optimizer_state)
  model = checkpoints.load_model(tmp_path, Norm())
  np.testing.assert_array_equal(
    model.map.kernel[...], current.average['map']['kernel'][...]
  )
  models.inference_view(model)(jnp.ones((2, 4)), None)


def options(**changed):
  return {
    'name': 'adamw',
    'steps': 90,
    'learning_rate': 0.1,
    'weight_decay': 0.0,
    'schedule': 'halving',
    'warmup_steps': 0,
    'gradient_clip': 1.0,
    **changed,
  }


def rates(**changed):
  """How far a constant gradient moves a weight in each step."""
  optimizer = state.make_optimizer(**options(**changed))
  weight, moved = jnp.zeros(()), []
  current = optimizer.init(weight)
  update = jax.jit(optimizer.update)
  for _ in range(options(**changed)['steps']):
    step, current = update(jnp.ones(()), current, weight)
    moved.append(-float(step))
  return np.array(moved)


def test_halving_is_the_papers():
  np.testing.assert_allclose(
    rates()[[0, 29, 30, 59, 60, 89]],
    [0.1, 0.1, 0.05, 0.05, 0.025, 0.025],
    rtol=1e-4,
  )


def test_cosine_rises_then_falls_to_zero():
  moved = rates(schedule='cosine', warmup_steps=9)
  np.testing.assert_allclose(moved[:10], np.arange(1, 11) / 100, rtol=1e-4)
  assert (np.diff(moved[9:]) < 0).all()
  assert moved[-1] < 1e-3


def test_long_gradients_are_clipped():
  gradient = jnp.array([30.0, 40.0])
  clip = optax.clip_by_global_norm(1.0)
  expected, _ = clip.update(gradient, clip.init(gradient))
  np.testing.assert_allclose(expected, [0.6, 0.8], rtol=1e-6)
  optimizer = state.make_optimizer(**options(gradient_clip=1e-9))
  step, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
  assert np.abs(np.asarray(step)).max() < 0.1  # Adam's epsilon shows


@pytest.mark.parametrize(
  ('changed', 'message'),
  [
    (
      {'schedule': 'cosin'},
      r"one of \['cosine', 'decades', 'halving'\], not 'cosin'",
    ),
    ({'warmup_steps': 90}, r'warmup_steps must be in \[0, 90\)'),
  ],
)
def test_bad_options(changed, message):
  with pytest.raises(ValueError, match=message):
    state.make_optimizer(**options(**changed))


def accumulated(parts, loss=None):
  """One step whose batch is taken in that many parts."""
  optimizer = optax.sgd(0.1)
  graphdef, first = state.create(Norm(), optimizer)
  batch = jax.random.normal(jax.random.key(1), (8, 4))
  step = jax.jit(
    lambda current: state.update(
      graphdef,
      current,
      loss or globals()['loss'],
      optimizer,
      jnp.float32(3),
      batch,
      KEY,
      decay=0.0,
      accumulate=parts,
    )
  )
  return batch, *step(first)


def test_parts_of_a_batch_add_up_to_its_gradient():
  def plain(model, context, batch, key, step):
    error = (model.map(batch) - context) ** 2
    return error.mean(), {'error': error.max(-1).mean()}

  _, whole, metrics = accumulated(1, plain)
  for parts in (2, 4, 8):
    _, split, same = accumulated(parts, plain)
    for left, right in zip(
      jax.tree.leaves(whole.parameters),
      jax.tree.leaves(split.parameters),
      strict=True,
    ):
      np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
    assert metrics['error'] == pytest.approx(float(same['error']), rel=1e-5)
    assert metrics['loss'] == pytest.approx(float(same['loss']), rel=1e-5)


def test_parts_have_their_own_noise_and_statistics():
  seen = []

  def note(model, context, batch, key, step):
    jax.debug.callback(lambda *x: seen.append(x), batch, key)
    return loss(model, context, batch, key, step)

  batch, after, _ = accumulated(2, note)
  jax.effects_barrier()
  (one, _), (two, _) = seen[:2]
  np.testing.assert_array_equal(one, batch[0::2])
  np.testing.assert_array_equal(two, batch[1::2])
  _, first = state.create(Norm(), optax.sgd(0.1))
  moved = np.asarray(after.rest['norm']['mean'][...])
  mapped = [np.asarray(Norm().map(x).mean(0)) for x in (one, two)]
  decay = 0.99  # Flax's default
  expected = decay * (1 - decay) * mapped[0] + (1 - decay) * mapped[1]
  np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-7)


def test_decades_and_momentum_are_cohens():
  moved = rates(name='sgd', schedule='decades', gradient_clip=0.0)
  momentum = (1 - 0.9 ** np.arange(1, 31)) / 0.1
  np.testing.assert_allclose(moved[:30], 0.1 * momentum, rtol=1e-4)
  np.testing.assert_allclose(moved[[59, 89]], [0.1, 0.01], rtol=1e-2)


def test_weight_decay_of_sgd_is_part_of_the_gradient():
  optimizer = state.make_optimizer(
    **options(name='sgd', weight_decay=0.5, gradient_clip=0.0)
  )
  weight = jnp.array(2.0)
  step, _ = optimizer.update(jnp.ones(()), optimizer.init(weight), weight)
  np.testing.assert_allclose(step, -0.1 * (1 + 0.5 * 2), rtol=1e-6)


def test_no_clip():
  gradient = jnp.array([3e4, 4e4])
  optimizer = state.make_optimizer(**options(name='sgd', gradient_clip=0.0))
  step, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
  np.testing.assert_allclose(step, -0.1 * gradient, rtol=1e-6)
