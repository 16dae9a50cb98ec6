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

#: `loss, metrics = loss(model, context, batch, key, step)`. `context` holds the
#: arrays and frozen networks that stay the same over a stage, and `step` is the
#: number of steps before this one.
Loss = Callable[
  [Any, Any, Any, PRNGKeyArray, Int[Array, '']],
  tuple[Float[Array, ''], dict[str, Array]],
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
    optimizer_state: the `optax.OptState` of the optimiser, whose type no old
      Optax and Flax agree on.
  """

  step: Int[Array, '']
  parameters: Any
  average: Any
  rest: Any
  optimizer_state: Any


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
  accumulate: int = 1,
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
    accumulate: parts of equal length into which the batch is divided. They are
      taken one after the other, each with noise and batch statistics of its
      own; loss, metrics and gradient are the means over the parts.

  Returns:
    The state after the step, and the loss with its other metrics.
  """

  def gradient(rest, batch, key):
    def objective(parameters):
      # A copy, or the merge would tie traced arrays to a module from outside.
      model = nnx.merge(graphdef, parameters, rest, copy=True)
      value, metrics = loss(model, context, batch, key, state.step)
      _, _, changed = nnx.split(model, nnx.Param, ...)
      return value, (changed, metrics)

    (value, (changed, metrics)), gradients = jax.value_and_grad(
      objective, has_aux=True
    )(state.parameters)
    return changed, ({'loss': value, **metrics}, gradients)

  step_key = jax.random.fold_in(key, state.step)
  if accumulate == 1:
    rest, (metrics, gradients) = gradient(state.rest, batch, step_key)
  else:
    parts = _parts(batch, accumulate), jax.random.split(step_key, accumulate)
    rest, (metrics, gradients) = _mean_over(gradient, state.rest, parts)
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
  return state, metrics


def _mean_over(gradient, rest, parts):
  """Runs `gradient` on part after part; only their sum is in memory."""
  count = len(jax.tree.leaves(parts)[0])
  first = jax.tree.map(lambda x: x[0], parts)
  shapes = jax.eval_shape(gradient, rest, *first)[1]
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

  def add(carry, part):
    rest, totals = carry
    rest, terms = gradient(rest, *part)
    return (rest, jax.tree.map(jnp.add, totals, terms)), None

  # A CPU is slow at the gradient of a convolution inside a loop.
  unroll = jax.local_devices()[0].platform == 'cpu'
  (rest, totals), _ = jax.lax.scan(add, (rest, zeros), parts, unroll=unroll)
  return rest, jax.tree.map(lambda x: x / count, totals)


def _parts(batch: Any, count: int) -> Any:
  """Every `count`-th example from each start: parts on a first axis."""
  # Devices that share a batch thus share each of its parts.
  return jax.tree.map(
    lambda x: jnp.swapaxes(x.reshape(-1, count, *x.shape[1:]), 0, 1), batch
  )


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
  name: str,
  steps: int,
  learning_rate: float,
  weight_decay: float,
  schedule: str,
  warmup_steps: int,
  gradient_clip: float,
) -> optax.GradientTransformation:
  """An optimiser with a learning rate that falls.

  Args:
    name: 'adamw', or 'sgd' with a momentum of 0.9.
    steps: the length of the stage.
    learning_rate: the largest one.
    weight_decay: times the weights, is taken from them at the learning rate
      ('adamw'), or added to the gradient ('sgd').
    schedule: 'cosine' falls to zero; 'halving' halves after each third of the
      stage, 'decades' leaves a tenth.
    warmup_steps: over which the learning rate rises from zero.
    gradient_clip: largest norm of a gradient; longer ones are shortened. 0 for
      no limit.

  Raises:
    ValueError: an unknown name or schedule, or a warm-up longer than the stage.
  """
  if name not in OPTIMIZERS:
    raise ValueError(
      f'optimizer must be one of {sorted(OPTIMIZERS)}, not {name!r}'
    )
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
    optax.clip_by_global_norm(gradient_clip or float('inf')),
    OPTIMIZERS[name](rate, weight_decay),
  )

  def strict_update(updates, state, params=None):
    # Optax mixes integers and floats, which a strict caller does not allow.
    with jax.numpy_dtype_promotion('standard'):
      return chain.update(updates, state, params)

  return optax.GradientTransformation(chain.init, strict_update)


def _adamw(
  rate: optax.Schedule, weight_decay: float
) -> optax.GradientTransformation:
  return optax.adamw(rate, weight_decay=weight_decay)


def _sgd(
  rate: optax.Schedule, weight_decay: float
) -> optax.GradientTransformation:
  return optax.chain(
    optax.add_decayed_weights(weight_decay), optax.sgd(rate, momentum=0.9)
  )


def _thirds(factor: float):
  """A schedule that multiplies by a factor after each third of the steps."""

  def schedule(learning_rate: float, steps: int) -> optax.Schedule:
    thirds = {round(steps / 3): factor, round(2 * steps / 3): factor}
    return optax.piecewise_constant_schedule(learning_rate, thirds)

  return schedule


#: The optimisers by their names in configurations.
OPTIMIZERS = {'adamw': _adamw, 'sgd': _sgd}
#: The schedules of the learning rate, likewise.
SCHEDULES = {
  'cosine': optax.cosine_decay_schedule,
  'halving': _thirds(0.5),
  'decades': _thirds(0.1),
}
