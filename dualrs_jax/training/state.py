"""The state of one training stage, and the optimiser that moves it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dualrs_jax import checkpoints

#: `loss, metrics = loss(model, context, batch, key)`. `context` holds the
#: arrays and frozen networks that stay the same over a stage.
Loss = Callable[
  [Any, Any, Any, PRNGKeyArray], tuple[Float[Array, ''], dict[str, Array]]
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """Everything that a training step changes.

  Attributes:
    step: how many steps were taken.
    parameters: the weights that are trained.
    average: their running mean: what a stage hands on.
    rest: the model's other arrays, such as batch statistics.
    optimizer_state: the state of the optimiser.
  """

  step: Int[Array, '']
  parameters: Any
  average: Any
  rest: Any
  optimizer_state: optax.OptState


def create(model: nnx.Module, optimizer: optax.GradientTransformation):
  """Returns the structure of a model, and the state before the first step."""
  graphdef, parameters, rest = nnx.split(model, nnx.Param, ...)
  return graphdef, TrainState(
    step=jnp.zeros((), jnp.int32),
    parameters=parameters,
    average=parameters,
    rest=rest,
    optimizer_state=optimizer.init(parameters),
  )


def update(
  graphdef: nnx.GraphDef,
  state: TrainState,
  loss: Loss,
  optimizer: optax.GradientTransformation,
  context: Any,
  batch: Any,
  key: PRNGKeyArray,
  *,
  decay: float,
) -> tuple[TrainState, dict[str, Array]]:
  """Takes one step.

  Args:
    graphdef: the structure of the model.
    state: the state before the step.
    loss: what is minimised.
    optimizer: how.
    context: handed to `loss`.
    batch: handed to `loss`.
    key: of the stage; the step folds its own number in.
    decay: of the running mean of the weights; 0 keeps the last ones. Early
      steps use a smaller one, so that the initial weights are forgotten.

  Returns:
    The state after the step, and the loss with its other metrics.
  """

  def objective(parameters):
    # A copy, or the merge would tie traced arrays to a module from outside.
    model = nnx.merge(graphdef, parameters, state.rest, copy=True)
    value, metrics = loss(
      model, context, batch, jax.random.fold_in(key, state.step)
    )
    _, _, rest = nnx.split(model, nnx.Param, ...)
    return value, (rest, metrics)

  (value, (rest, metrics)), gradients = jax.value_and_grad(
    objective, has_aux=True
  )(state.parameters)
  updates, optimizer_state = optimizer.update(
    gradients, state.optimizer_state, state.parameters
  )
  parameters = optax.apply_updates(state.parameters, updates)
  taken = state.step.astype(jnp.float32)
  kept = jnp.minimum(decay, (1 + taken) / (10 + taken))
  average = jax.tree.map(
    lambda mean, new: kept * mean + (1 - kept) * new,
    state.average,
    parameters,
  )
  state = TrainState(state.step + 1, parameters, average, rest, optimizer_state)
  return state, {'loss': value, **metrics}


def trained_model(graphdef: nnx.GraphDef, state: TrainState) -> nnx.Module:
  """The model with the averaged weights."""
  return nnx.merge(graphdef, state.average, state.rest, copy=True)


def to_items(state: TrainState) -> dict[str, Any]:
  """The state as the named pytrees of a checkpoint.

  The item `checkpoints.MODEL` is what `checkpoints.load_model` reads: the
  averaged weights.
  """
  return {
    checkpoints.MODEL: {'parameters': state.average, 'rest': state.rest},
    'optimizer': {
      'step': state.step,
      'parameters': state.parameters,
      'state': state.optimizer_state,
    },
  }


def from_items(items: Mapping[str, Any]) -> TrainState:
  """The inverse of `to_items`."""
  model, optimizer = items[checkpoints.MODEL], items['optimizer']
  return TrainState(
    step=optimizer['step'],
    parameters=optimizer['parameters'],
    average=model['parameters'],
    rest=model['rest'],
    optimizer_state=optimizer['state'],
  )


def make_optimizer(
  *,
  steps: int,
  learning_rate: float,
  weight_decay: float,
  schedule: str,
  warmup_steps: int,
  gradient_clip: float,
) -> optax.GradientTransformation:
  """AdamW with a learning rate that falls.

  Args:
    steps: the length of the stage.
    learning_rate: the largest one.
    weight_decay: decoupled weight decay, times the learning rate.
    schedule: 'cosine' falls to zero; 'halving' halves after each third of the
      stage.
    warmup_steps: over which the learning rate rises from zero.
    gradient_clip: largest norm of a gradient; longer ones are shortened.

  Raises:
    ValueError: an unknown schedule, or a warm-up longer than the stage.
  """
  if schedule not in SCHEDULES:
    raise ValueError(
      f'schedule must be one of {sorted(SCHEDULES)}, not {schedule!r}'
    )
  if not 0 <= warmup_steps < steps:
    raise ValueError(
      f'warmup_steps must be in [0, {steps}), the length of the stage, not'
      f' {warmup_steps}'
    )
  falling = SCHEDULES[schedule](learning_rate, steps - warmup_steps)
  rising = optax.linear_schedule(0.0, learning_rate, warmup_steps + 1)
  rate = optax.join_schedules(
    [lambda step: rising(step + 1), falling], [warmup_steps]
  )
  chain = optax.chain(
    optax.clip_by_global_norm(gradient_clip),
    optax.adamw(rate, weight_decay=weight_decay),
  )

  def strict_update(updates, state, params=None):
    # Optax mixes integers and floats, which a strict caller does not allow.
    with jax.numpy_dtype_promotion('standard'):
      return chain.update(updates, state, params)

  return optax.GradientTransformation(chain.init, strict_update)


def _halving(learning_rate: float, steps: int) -> optax.Schedule:
  thirds = {round(steps / 3): 0.5, round(2 * steps / 3): 0.5}
  return optax.piecewise_constant_schedule(learning_rate, thirds)


SCHEDULES = {'cosine': optax.cosine_decay_schedule, 'halving': _halving}
