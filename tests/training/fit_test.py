"""A stage: interrupted anywhere, it ends in the same weights."""

import contextlib
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dualrs_jax import checkpoints, sharding
from dualrs_jax.runtime import settings
from dualrs_jax.training import feed, fit, recorder, rhythm, state
from tests.clocks import hours_pass_while_saving
from tests.training import networks

STEPS = 23
MESH = sharding.data_mesh(16, jax.devices()[:1])
RHYTHM = rhythm.Rhythm(
  metrics_steps=5, checkpoint_steps=10, evaluate_steps=10, keep=2
)


class Stop(Exception):
  """An interruption."""


def loss(model, context, batch, key, step):
  images, labels = batch
  assert images.dtype == jnp.uint8
  noisy = images.astype(jnp.float32) / 255 + context * jax.random.normal(
    key, images.shape
  )
  logits = model(noisy, jnp.full(len(images), context))
  logs = jax.nn.log_softmax(logits)
  picked = jnp.take_along_axis(logs, labels[:, None], -1)
  return -picked.mean(), {'first_label': labels[0].astype(jnp.float32)}


def run(workdir, *, stop_at=None, steps=STEPS, examples=40, width=3, **options):
  """Trains; `stop_at` interrupts before that evaluation is recorded."""
  source = networks.source(examples)
  calls = iter(range(100))

  def evaluate(model):
    if next(calls) == stop_at:
      raise Stop
    return {'weight': float(model.map.kernel[0, 0])}

  arguments = {
    'stage': 'classifier-0',
    'steps': steps,
    'batch_size': 16,
    'accumulate': 1,
    'optimizer': state.make_optimizer(
      name='adamw',
      steps=STEPS,
      learning_rate=0.01,
      weight_decay=0.01,
      schedule='cosine',
      warmup_steps=3,
      gradient_clip=1.0,
    ),
    'decay': 0.9,
    'seed': 3,
    'workdir': workdir,
    'settings': {},
    'rhythm': RHYTHM,
    'evaluate': evaluate,
    'mesh': MESH,
    'preempted': lambda: False,
  }
  return fit.fit(
    networks.Linear(num_classes=width),
    loss,
    feed.Feed(source, source.labels),
    jnp.float32(0.25),
    **(arguments | options),
  )


def weights(model):
  return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model))]


def assert_same(model, other):
  for left, right in zip(weights(model), weights(other), strict=True):
    np.testing.assert_array_equal(left, right)


def test_a_save_that_failed_is_asked_about_at_each_step(tmp_path, monkeypatch):
  steps = []

  def check(_):
    if len(steps) == 14:
      raise checkpoints.CheckpointError('the disk is full')

  monkeypatch.setattr(checkpoints.Saver, 'check', check)
  with pytest.raises(checkpoints.CheckpointError, match='the disk is full'):
    run(tmp_path, preempted=lambda: steps.append(1))
  assert len(steps) == 14


def test_a_clock_that_jumps_does_not_show(undisturbed, tmp_path, monkeypatch):
  jumps, now = itertools.cycle([0.0, 90.0, -90.0, 10.0]), time.time()
  monkeypatch.setattr(time, 'time', lambda: now + next(jumps))
  assert_same(run(tmp_path), undisturbed[1])
  found = checkpoints.steps(tmp_path / 'checkpoints' / 'classifier-0')
  assert found == [23, 20]


def test_a_clock_put_by_hours_during_a_save_costs_that_save(
  undisturbed, tmp_path
):
  with (
    hours_pass_while_saving(),
    pytest.raises(checkpoints.CheckpointError, match='not be written'),
  ):
    run(tmp_path)
  assert_same(run(tmp_path), undisturbed[1])


def rows(workdir):
  return recorder.read(workdir / 'metrics' / recorder.LINES)


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('undisturbed')
  return workdir, run(workdir)


def test_a_stage_learns_and_reports(undisturbed):
  workdir, model = undisturbed
  recorded = rows(workdir)
  assert [row['step'] for row in recorded] == [5, 10, 15, 20, 23]
  assert recorded[-1]['loss'] < recorded[0]['loss']
  assert ['weight' in row for row in recorded] == [0, 1, 0, 1, 1]
  assert checkpoints.steps(workdir / 'checkpoints' / 'classifier-0') == [23, 20]
  assert_same(
    model,
    checkpoints.load_model(
      workdir / 'checkpoints' / 'classifier-0', networks.Linear()
    ),
  )


@pytest.mark.parametrize('stop_at', [0, 1, 2])
def test_interrupted_and_resumed_is_undisturbed(tmp_path, undisturbed, stop_at):
  with pytest.raises(Stop):
    run(tmp_path, stop_at=stop_at)
  workdir, model = undisturbed
  assert_same(run(tmp_path), model)
  assert rows(tmp_path) == rows(workdir)


def test_a_damaged_checkpoint_costs_only_time(tmp_path, undisturbed, caplog):
  with pytest.raises(Stop):
    run(tmp_path, stop_at=2)
  path = tmp_path / 'checkpoints' / 'classifier-0' / '20'
  (path / 'optimizer' / '_METADATA').write_text('{')
  assert_same(run(tmp_path), undisturbed[1])
  assert 'is damaged' in caplog.text
  assert rows(tmp_path) == rows(undisturbed[0])


def test_a_damaged_last_checkpoint_is_made_again(tmp_path, undisturbed, caplog):
  run(tmp_path)
  path = tmp_path / 'checkpoints' / 'classifier-0' / '23'
  (path / 'model' / '_METADATA').write_text('{')
  assert_same(run(tmp_path), undisturbed[1])
  assert 'is damaged' in caplog.text


def test_reporting_and_saving_do_not_change_the_weights(tmp_path, undisturbed):
  other = run(tmp_path, rhythm=rhythm.Rhythm(7, 4, 6, 1))
  assert_same(other, undisturbed[1])


def test_many_steps_in_one_call(tmp_path, undisturbed, monkeypatch):
  """As on an accelerator: equal up to the rounding of another program."""
  monkeypatch.setattr(rhythm, '_STEPS_PER_CALL', {})
  model = run(tmp_path)
  for left, right in zip(weights(model), weights(undisturbed[1]), strict=True):
    np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-5)
  for row, expected in zip(rows(tmp_path), rows(undisturbed[0]), strict=True):
    assert row['step'] == expected['step']
    assert row['loss'] == pytest.approx(expected['loss'], rel=1e-3)


def test_a_finished_stage_is_not_trained_again(undisturbed, monkeypatch):
  monkeypatch.delattr(state, 'update')
  assert_same(run(undisturbed[0]), undisturbed[1])


def test_another_seed_is_another_training(tmp_path, undisturbed):
  assert not np.array_equal(
    weights(run(tmp_path, seed=4))[0], weights(undisturbed[1])[0]
  )


def test_too_few_examples(tmp_path):
  with pytest.raises(ValueError, match='8 examples, fewer than its batch_size'):
    run(tmp_path, examples=8)


def test_a_loss_that_is_not_finite(tmp_path):
  def broken(model, context, batch, key, step):
    value, metrics = loss(model, context, batch, key, step)
    return value * jnp.where(batch[1][0] >= 0, jnp.nan, 1.0), metrics

  with pytest.raises(
    FloatingPointError, match='loss of classifier-0 is nan at'
  ):
    fit.fit(
      networks.Linear(),
      broken,
      feed.Feed(networks.source(16), np.zeros(16, np.int32)),
      jnp.float32(0.25),
      stage='classifier-0',
      steps=10,
      batch_size=16,
      accumulate=1,
      optimizer=state.make_optimizer(
        name='adamw',
        steps=10,
        learning_rate=0.01,
        weight_decay=0.0,
        schedule='cosine',
        warmup_steps=0,
        gradient_clip=1.0,
      ),
      decay=0.0,
      seed=0,
      workdir=tmp_path,
      settings={},
      rhythm=RHYTHM,
      evaluate=lambda model: {},
      mesh=MESH,
      preempted=lambda: False,
    )
  assert checkpoints.steps(tmp_path / 'checkpoints' / 'classifier-0') == []


def test_another_architecture_is_refused(tmp_path):
  with pytest.raises(Stop):
    run(tmp_path, stop_at=1)
  with pytest.raises(checkpoints.CheckpointError, match='architecture'):
    run(tmp_path, width=5)


@pytest.mark.parametrize('stop_at', [2, None])
def test_a_stage_of_another_length_is_refused(tmp_path, stop_at):
  with pytest.raises(Stop) if stop_at else contextlib.nullcontext():
    run(tmp_path, stop_at=stop_at)
  for steps in (STEPS - 4, STEPS + 4):
    with pytest.raises(
      settings.SettingsMismatch,
      match=f'is of a stage of {STEPS} steps, not of {steps}: another version',
    ):
      run(tmp_path, steps=steps)


def test_stages_have_their_own_keys():
  keys = [fit.stage_key(0, 'a'), fit.stage_key(0, 'b'), fit.stage_key(1, 'a')]
  data = {tuple(jax.random.key_data(key).tolist()) for key in keys}
  assert len(data) == 3
