"""One stage of training: steps, checkpoints, metrics, a progress bar.

A step is a function of its number alone: batch and noise derive from the
stage's key and the step. A stage that is interrupted anywhere and run again
therefore ends in the same weights, bit for bit on a CPU.
"""

import contextlib
import logging
import os
import pathlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from flax import nnx
from jaxtyping import Array, Int, PRNGKeyArray

from dualrs_jax import checkpoints
from dualrs_jax.training import recorder, state
from dualrs_jax.training.feed import Examples, Feed, Order

logger = logging.getLogger(__name__)

#: Steps in one call of the device. On a CPU it is one: the gradient of a
#: convolution inside a loop was measured to take 22 times as long there.
_STEPS_PER_CALL = {'cpu': 1}
_STEPS_PER_CALL_ELSEWHERE = 50


class Rhythm(NamedTuple):
  """How often a stage reports and saves. It does not change the weights.

  Attributes:
    metrics_steps: metrics are means over that many steps.
    checkpoint_steps: steps between checkpoints.
    keep: how many checkpoints stay.
  """

  metrics_steps: int
  checkpoint_steps: int
  keep: int


def stage_key(seed: int, stage: str) -> PRNGKeyArray:
  """The key of a stage: a function of the training seed and its name."""
  return jax.random.fold_in(jax.random.key(seed), zlib.crc32(stage.encode()))


def initial_seed(seed: int, role: str) -> int:
  """The seed of a network's initial weights."""
  return int(
    np.random.SeedSequence([seed, *role.encode()]).generate_state(1)[0]
  )


def finished(
  model: nnx.Module, directory: str | os.PathLike, *, steps: int
) -> nnx.Module | None:
  """The model of a stage whose last checkpoint is complete, or None."""
  found = checkpoints.steps(directory)
  if not found or found[0] < steps:
    return None
  try:
    return checkpoints.load_model(directory, model)
  except checkpoints.CheckpointError as error:
    logger.warning('%s; the stage is resumed', error)
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
  rhythm: Rhythm,
  evaluate: Callable[[nnx.Module], dict[str, float]],
) -> nnx.Module:
  """Trains a model, or goes on with it, or returns it if it is finished.

  Args:
    model: where training starts.
    loss: see `state.Loss`.
    feed: the examples. Batches are drawn from them without replacement, in
      another order in each epoch.
    context: handed to `loss`.
    stage: name of the stage, and of its folder of checkpoints.
    steps: length of the stage.
    batch_size: examples per step.
    accumulate: parts of a batch that are taken one after the other, to save
      memory; see `state.update`.
    optimizer: see `state.make_optimizer`.
    decay: of the running mean of the weights, see `state.update`.
    seed: of the training run.
    workdir: of the training run.
    rhythm: how often to report and to save.
    evaluate: computes further metrics of the model, at each checkpoint.

  Returns:
    The model with the averaged weights after the last step.

  Raises:
    ValueError: fewer examples than a batch needs.
    FloatingPointError: the loss is no longer finite.
    checkpoints.CheckpointError: the stage was trained with another
      architecture.
  """
  directory = workdir / 'checkpoints' / stage
  done = finished(model, directory, steps=steps)
  if done is not None:
    return done
  order = Order(len(feed.source), batch_size, seed, stage)
  graphdef, current = state.create(model, optimizer)
  restored = checkpoints.restore(directory, state.to_items(current))
  if restored is not None:
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

  advance = _advance(step)
  keys = stage_key(seed, stage), stage_key(seed, f'{stage}/views')
  calls = list(pieces(start, steps, rhythm, feed.steps_per_call))
  totals, since = None, start
  with (
    checkpoints.manager(directory, keep=rhythm.keep) as manager,
    recorder.Recorder(workdir / 'metrics', stage, after_step=start) as record,
    tqdm.tqdm(desc=stage, total=steps, initial=start, unit='step') as bar,
    contextlib.closing(feed.calls(calls, order)) as supply,
  ):
    for (first, last), (examples, batches) in zip(calls, supply, strict=True):
      current, sums = advance(current, context, examples, batches, keys)
      totals = sums if totals is None else jax.tree.map(jnp.add, totals, sums)
      saving = last % rhythm.checkpoint_steps == 0 or last == steps
      if saving or last % rhythm.metrics_steps == 0:
        means = {name: float(x) / (last - since) for name, x in totals.items()}
        _check_finite(means['loss'], stage, last)
        totals, since = None, last
        if saving:
          means |= evaluate(state.trained_model(graphdef, current))
        record.write(last, means)
        bar.set_postfix_str(f'loss {means["loss"]:.4g}', refresh=False)
      if saving:
        items = state.to_items(current)
        checkpoints.save(manager, last, items, {'stage': stage, 'steps': steps})
      bar.update(last - first)
  return state.trained_model(graphdef, current)


def pieces(
  start: int, steps: int, rhythm: Rhythm, steps_per_call: int | None = None
) -> Iterator[tuple[int, int]]:
  """Cuts the steps to go into calls that end where something is reported.

  Args:
    start: steps that are done.
    steps: length of the stage.
    rhythm: when something is reported.
    steps_per_call: the longest call; None for what suits the device.
  """
  platform = jax.local_devices()[0].platform
  length = _STEPS_PER_CALL.get(platform, _STEPS_PER_CALL_ELSEWHERE)
  length = min(length, steps_per_call or length)
  every = (length, rhythm.metrics_steps, rhythm.checkpoint_steps)
  while start < steps:
    last = min(steps, *((start // e + 1) * e for e in every))
    yield start, last
    start = last


def _advance(step):
  """Compiles the steps of one call; returns the sums of their metrics."""

  @jax.jit
  def advance(
    current: state.TrainState,
    context: Any,
    examples: Examples,
    batches: Int[Array, 'steps batch'],
    keys: tuple[PRNGKeyArray, PRNGKeyArray],
  ):
    def one(current, positions):
      batch = jax.tree.map(lambda array: array[positions], examples)
      return step(current, context, batch, keys)

    if len(batches) == 1:  # XLA would keep even a loop of one step
      return one(current, batches[0])
    current, metrics = jax.lax.scan(one, current, batches)
    return current, jax.tree.map(lambda x: x.sum(0), metrics)

  return advance


def _check_finite(loss: float, stage: str, step: int) -> None:
  if not np.isfinite(loss):
    raise FloatingPointError(
      f'the loss of {stage} is {loss} at step {step}: try a smaller'
      ' learning_rate'
    )
