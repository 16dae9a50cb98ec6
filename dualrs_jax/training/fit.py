"""One stage of training: steps, checkpoints, metrics, a progress bar.

A step is a function of its number alone: batch and noise derive from the
stage's key and the step. A stage that is interrupted anywhere and run again
therefore ends in the same weights, bit for bit on a CPU of as many cores.
"""

import contextlib
import logging
import pathlib
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PRNGKeyArray

from dualrs_jax import checkpoints, sharding
from dualrs_jax.checkpoints import origin
from dualrs_jax.runtime import bars, preemption, processes
from dualrs_jax.runtime import settings as settings_lib
from dualrs_jax.training import recorder, state
from dualrs_jax.training.feed import Examples, Feed, Order
from dualrs_jax.training.rhythm import Rhythm, pieces

logger = logging.getLogger(__name__)


#: Virtual devices of a CPU may wait for each other forever where several steps
#: are under way, each with its sums over devices.
_WAITING_PLATFORMS = {'cpu'}


def stage_key(seed: int, stage: str) -> PRNGKeyArray:
  """The key of a stage: a function of the training seed and its name."""
  return jax.random.fold_in(jax.random.key(seed), zlib.crc32(stage.encode()))


def initial_seed(seed: int, role: str) -> int:
  """The seed of a network's initial weights, or of what else is drawn."""
  return int(
    np.random.SeedSequence([seed, *role.encode()]).generate_state(1)[0]
  )


def finished(
  model: nnx.Module,
  directory: pathlib.Path,
  *,
  stage: str,
  steps: int,
  settings: Mapping[str, Any],
) -> nnx.Module | None:
  """The model of a stage whose last checkpoint is complete, or None.

  All processes of a run get the same answer. See `fit` for the arguments, and
  `origin.check` for what is refused.
  """
  meta = checkpoints.newest_meta(directory)
  if meta is not None:
    origin.check(directory, meta, stage=stage, settings=settings)
    _check_length(directory, meta, steps)
  found = checkpoints.steps(directory)
  if not processes.agreed(np.array(bool(found) and found[0] >= steps)):
    return None
  failures = []

  def load():
    try:
      return checkpoints.load_model(directory, model)
    except checkpoints.CheckpointError as error:
      failures.append(error)
      return None

  loaded = load()
  if processes.agreed(np.array(loaded is not None)):
    if loaded is None:  # the first process could read it
      loaded = processes.await_shown(load, directory)
    if loaded is None:
      raise failures[-1]
    return loaded
  if processes.here().first:
    logger.warning('%s; the stage is resumed', failures[-1])
  return None


def fit(
  model: nnx.Module,
  loss: state.Loss,
  feed: Feed,
  context: Any,
  *,
  stage: str,
  steps: int,
  batch_size: int,
  accumulate: int,
  optimizer: optax.GradientTransformation,
  decay: float,
  seed: int,
  workdir: pathlib.Path,
  settings: Mapping[str, Any],
  rhythm: Rhythm,
  evaluate: Callable[[nnx.Module], dict[str, float]],
  mesh: Mesh,
  preempted: Callable[[], bool],
) -> nnx.Module:
  """Trains a model, or goes on with it, or returns it if it is finished.

  Args:
    model: where training starts.
    loss: see `state.Loss`.
    feed: the examples. Batches are drawn from them without replacement, in
      another order in each epoch.
    context: handed to `loss`; in a run of several processes on the mesh.
    stage: name of the stage, and of its folder of checkpoints.
    steps: length of the stage.
    batch_size: examples per step.
    accumulate: parts of a batch that are taken one after the other, to save
      memory; see `state.update`.
    optimizer: see `state.make_optimizer`.
    decay: of the running mean of the weights, see `state.update`.
    seed: of the training run.
    workdir: of the training run.
    settings: what it was claimed for; each checkpoint records them.
    rhythm: how often to report and to save.
    evaluate: computes further metrics of the model.
    mesh: the devices, see `sharding.data_mesh`. Their number changes the
      weights by rounding alone.
    preempted: see `preemption.watch`; asked after each call of the device.

  Returns:
    The model with the averaged weights after the last step, on the mesh.

  Raises:
    ValueError: fewer examples than a batch needs.
    FloatingPointError: the loss is no longer finite.
    checkpoints.CheckpointError: the stage was trained with another
      architecture, or a checkpoint could not be written.
    settings.SettingsMismatch: it was trained under other settings.
    preemption.Preempted: the run was asked to end. All steps that were taken
      are saved.
  """
  directory = workdir / 'checkpoints' / stage
  done = finished(model, directory, stage=stage, steps=steps, settings=settings)
  if done is not None:
    return sharding.replicated(done, mesh)
  order = Order(len(feed.source), batch_size, seed, stage)
  graphdef, current = state.create(model, optimizer)
  restored = checkpoints.restore(directory, state.to_items(current))
  if restored is not None:
    origin.check(directory, restored[1], stage=stage, settings=settings)
    _check_length(directory, restored[1], steps)
    current = state.from_items(restored[0])
    logger.info('%s goes on at step %d', stage, restored[2])
  start = int(current.step)

  def step(current, context, batch, keys):
    batch = feed.view(batch, jax.random.fold_in(keys[1], current.step))
    return state.update(
      graphdef,
      current,
      loss,
      optimizer,
      context,
      batch,
      keys[0],
      decay=decay,
      accumulate=accumulate,
    )

  advance = _advance(step, mesh)
  keys = stage_key(seed, stage), stage_key(seed, f'{stage}/views')
  current, keys = sharding.replicated((current, keys), mesh)
  calls = list(pieces(start, steps, rhythm, feed.steps_per_call))
  totals, since, stopping = None, start, False
  first_process = processes.here().first
  platform = mesh.devices.flat[0].platform
  waits = mesh.size > 1 and platform in _WAITING_PLATFORMS
  with (
    checkpoints.Saver(directory, keep=rhythm.keep) as saver,
    recorder.Recorder(workdir / 'metrics', stage, after_step=start)
    if first_process
    else contextlib.nullcontext() as record,
    bars.bar(
      stage,
      unit='step',
      shown=first_process,
      initial=start,
      total=steps,
    ) as bar,
    contextlib.closing(feed.calls(calls, order, mesh)) as supply,
  ):
    for (first, last), (examples, batches) in zip(calls, supply, strict=True):
      begins = first == start
      with bars.compiling(bar) if begins else contextlib.nullcontext():
        current, sums = advance(current, context, examples, batches, keys)
        if waits or begins:
          jax.block_until_ready(sums)
      totals = sums if totals is None else jax.tree.map(jnp.add, totals, sums)
      stopping = preempted()
      saver.check()
      saving = last % rhythm.checkpoint_steps == 0 or last == steps or stopping
      evaluating = last % rhythm.evaluate_steps == 0 or last == steps
      if saving or evaluating or last % rhythm.metrics_steps == 0:
        means = {name: float(x) / (last - since) for name, x in totals.items()}
        _check_finite(means['loss'], stage, last)
        totals, since = None, last
        if evaluating and not stopping:
          means |= evaluate(state.trained_model(graphdef, current))
        if record is not None:
          record.write(last, means)
        bar.set_postfix_str(f'loss {means["loss"]:.4g}', refresh=False)
      if saving:
        items = state.to_items(current)
        meta = {**origin.record(stage, settings), 'steps': steps}
        saver.save(last, items, meta)
      bar.update(last - first)
      if stopping:
        break
  if stopping:
    taken = int(current.step)
    raise preemption.Preempted(f'{stage} is saved at step {taken} of {steps}')
  return state.trained_model(graphdef, current)


def _advance(step, mesh: Mesh):
  """Compiles the steps of one call; returns the sums of their metrics."""
  spread = NamedSharding(mesh, PartitionSpec(sharding.DATA))

  @jax.jit
  def advance(
    current: state.TrainState,
    context: Any,
    examples: Examples,
    batches: Int[Array, 'steps batch'] | None,
    keys: tuple[PRNGKeyArray, PRNGKeyArray],
  ):
    if batches is None:
      return step(current, context, examples, keys)

    def one(current, positions):
      batch = jax.tree.map(lambda array: array[positions], examples)
      batch = jax.lax.with_sharding_constraint(batch, spread)
      return step(current, context, batch, keys)

    if len(batches) == 1:  # XLA would keep even a loop of one step
      return one(current, batches[0])
    current, metrics = jax.lax.scan(one, current, batches)
    return current, jax.tree.map(lambda x: x.sum(0), metrics)

  def promoting(*arguments):
    # In the gradient of its attention JAX multiplies float32 with bfloat16,
    # which a strict caller does not allow.
    with jax.numpy_dtype_promotion('standard'):
      return advance(*arguments)

  return promoting


def _check_length(
  directory: pathlib.Path, meta: Mapping[str, Any], steps: int
) -> None:
  planned = meta.get('steps', steps)
  if planned != steps:
    raise settings_lib.SettingsMismatch(
      f'the checkpoint in {directory} is of a stage of {planned} steps, not of'
      f' {steps}: another version of this library trained it; remove the folder'
      ' to train it again, or choose another --workdir'
    )


def _check_finite(loss: float, stage: str, step: int) -> None:
  if not np.isfinite(loss):
    raise FloatingPointError(
      f'the loss of {stage} is {loss} at step {step}: try a smaller'
      ' learning_rate, in another working directory'
    )
