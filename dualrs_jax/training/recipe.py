"""What a configuration says of a training, before anything is computed."""

import json
import math
from typing import Any

import optax

from dualrs_jax import data, networks, sharding
from dualrs_jax.runtime import processes, settings
from dualrs_jax.training import checks, losses, state, target_radii
from dualrs_jax.training import classifier as classifier_stage
from dualrs_jax.training import stages as stage_names
from dualrs_jax.training import utility as utility_lib

#: What does not change the weights of a stage: these may differ between runs
#: in one directory.
NOT_IDENTITY = (
  'name',
  'certify',
  'checkpoint',
  'baselines',
  'workers',
  'distributed',
)

#: The same within the options of a stage: how much is computed at a time. The
#: parts of a batch (`accumulate`) each have noise of their own, so that other
#: weights come out, of the same training; whoever runs out of memory in a late
#: stage may go on all the same.
_AT_A_TIME = ('accumulate', 'chunk_size', 'shard_size')


def check(config: Any) -> None:
  """Raises ValueError, in one sentence, for settings that do not fit."""
  settings.check_seed(config.seed)
  checks.numbers(config.to_dict())
  checks.levels(config.sigmas, config.estimator_sigma, config.baselines)
  classifier = config.model.classifier.to_dict()
  given = networks.untrained(classifier)
  trained = config.classifier.steps or config.finetune.steps
  if given and (trained or config.baselines):
    raise ValueError(
      f'{given} are not trained: classifier.steps and finetune.steps must be 0,'
      ' and baselines empty'
    )
  experts = networks.experts(classifier)
  if experts and experts != len(config.sigmas):
    raise ValueError(
      f'model.classifier.{given} names {experts} classifiers for'
      f' {len(config.sigmas)} sigmas; name one per level'
    )
  if 'functions' in config.model.estimator:
    raise ValueError(
      'the estimator is trained here: model.estimator describes a network, and'
      ' functions are for model.classifier'
    )
  if config.baselines and not trained:
    raise ValueError(
      'baselines are trained as long as the classifier, which has 0 steps'
    )
  classifier_stage.level_shares(config.classifier.shares, config.sigmas)
  checks.choice('targets.of', config.targets.of, target_radii.TARGETS)
  checks.choice(
    'estimator.loss', config.estimator.loss, losses.ESTIMATOR_LOSSES
  )
  utility = config.estimator.utility
  checks.choice('estimator.utility.name', utility.name, utility_lib.UTILITIES)
  if not len(utility.radii) and utility.name != 'radius':
    raise ValueError(
      f'estimator.utility.radii are the radii that {utility.name!r} counts, and'
      ' there are none: name those of the table'
    )
  weights = utility_lib.parse_weights(utility.weights)
  if weights is not None:
    utility_lib.UTILITIES[utility.name](
      radii=utility.radii, weights=weights, width=utility.width
    )
  if config.estimator.loss == 'paper':
    reach = config.estimator.paper.reach
    checks.choice('estimator.paper.reach', reach, losses.REACHES)
  for name, steps in trained_groups(config).items():
    try:
      optimizer(config[name], steps)
    except ValueError as error:
      raise ValueError(f'{name}: {error}') from error
  for name in ('classifier', 'finetune'):
    if config[name].divergence_of_neighbours and config[name].copies < 2:
      raise ValueError(
        f'{name}.copies must be at least 2 with a'
        f' {name}.divergence_of_neighbours, for a copy at each of two levels'
      )
  for name in ('classifier', 'estimator', 'finetune'):
    checks.parts(name, config[name].batch_size, config[name].accumulate)


def check_targets(config: Any) -> None:
  """Raises ValueError where radius targets could not be positive.

  To be called after what checks `config.certify`, which may give their n.
  """
  options = config.targets
  n, name = options.n, 'targets.n'
  if not n:
    n, name = config.certify.n, 'certify.n, as targets.n is 0,'
  # All agree at p = 1/2 with probability 2^-n, which must be below alpha.
  fewest = math.floor(-math.log2(options.alpha)) + 1
  if n < fewest:
    raise ValueError(
      f'{name} is {n}, and no radius target is positive with fewer than'
      f' {fewest} votes at targets.alpha = {options.alpha:g}'
    )


def check_together(config: Any) -> None:
  """Raises ValueError for what the processes of a run cannot do together.

  That is found out at the start: processes that save at different steps would
  wait for each other for ever, and a last stage whose rows do not divide over
  them would end the run after days. Processes join to call this.
  """
  for name in trained_groups(config):
    rows = config[name].batch_size // config[name].accumulate
    try:
      sharding.data_mesh(rows)
    except ValueError as error:
      raise ValueError(
        f'{name}: {error}; another {name}.accumulate or number of processes'
        ' may do'
      ) from error
  check_same(config)


def trained_groups(config: Any) -> dict[str, int]:
  """The groups of options by which something is trained, and the fewest steps.

  Args:
    config: See configs/digits.py.
  """
  found = {name: config[name].steps for name in ('classifier', 'finetune')}
  found = {name: steps for name, steps in found.items() if steps}
  return found | {'estimator': config.estimator.steps}


def check_same(config: Any) -> None:
  """Raises ValueError unless the processes of a run have one configuration.

  Processes join to call this.
  """
  own = json.dumps(_in_step(config))
  first = processes.agreed_text(own)
  different = [
    f'{name} is {there} there and {here} here'
    for name, (there, here) in settings.differences(
      json.loads(first), json.loads(own)
    )
  ]
  if different:
    raise ValueError(
      'process 0 was given another configuration: ' + '; '.join(different)
    )


def _in_step(config: Any) -> dict[str, Any]:
  """What the processes of a run must have alike: not where their files are."""
  fields = {
    name: value
    for name, value in config.to_dict().items()
    if name not in ('name', 'workers', 'distributed')
  }
  known = identity(config)
  return fields | {name: known[name] for name in ('data', 'model')}


def identity(config: Any) -> dict[str, Any]:
  """What a directory is claimed for: all that decides the weights.

  A converted model is known by the file that it is from, and a data set by its
  name: their folders may move.
  """
  fields = {
    name: value
    for name, value in config.to_dict().items()
    if name not in NOT_IDENTITY
  }
  for stage in ('classifier', 'targets', 'estimator', 'finetune'):
    for name in _AT_A_TIME:
      fields[stage].pop(name, None)
  return fields | {
    'data': data.identity(fields['data']),
    'model': {
      role: networks.identity(description)
      for role, description in fields['model'].items()
    },
  }


def stages(config: Any) -> list[str]:
  """The stages whose checkpoints a finished training holds, in order."""
  return stage_names.names(
    rounds=config.rounds,
    classifier_steps=config.classifier.steps,
    finetune_steps=config.finetune.steps,
    baselines=tuple(config.baselines),
  )


def optimizer(options: Any, steps: int) -> optax.GradientTransformation:
  """The optimiser of a stage with these options."""
  return state.make_optimizer(
    name=options.optimizer,
    steps=steps,
    learning_rate=options.learning_rate,
    weight_decay=options.weight_decay,
    schedule=options.schedule,
    warmup_steps=options.warmup_steps,
    gradient_clip=options.gradient_clip,
  )
