"""A configuration taken apart into work and files, with no network loaded.

Together with the loops of training and certification this is the only module
that sees the configuration. Numbers are those of the programs, not rounded up
to whole chunks and slices.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from dualrs_jax.cost import images as images_lib
from dualrs_jax.cost import sizes, storage
from dualrs_jax.cost.images import Images
from dualrs_jax.cost.sizes import Network
from dualrs_jax.cost.storage import Stored
from dualrs_jax.cost.work import Work
from dualrs_jax.evaluation import refused, run_plans
from dualrs_jax.training import recipe
from dualrs_jax.training import stages as stage_names

#: Votes per validation image on an estimator in training, as in its loop.
VALIDATION_VOTES = 32

#: Share of n0 + n votes that adaptive certification casts, classifier and
#: estimator, by goal: measured on digits, rule `agreement`, n = 10,000; see
#: docs/results_cost.md.
ADAPTIVE = {
  'radius': (0.056, 0.013),
  'grid': (0.216, 0.048),
  'full': (0.995, 0.358),
}


class Plan(NamedTuple):
  """What a configuration comes to.

  Attributes:
    name: Of the configuration.
    networks: By role.
    stages: The work of `train.py` in order, and last that of `certify.py`.
    stored: What both leave in the folder of the run, but for figures and logs.
    spread: What hosts share in a certification: 'images' or 'votes'.
  """

  name: str
  networks: Mapping[str, Network]
  stages: list[Work]
  stored: list[Stored]
  spread: str


def make(config: Any) -> Plan:
  """Takes a configuration apart.

  Plain smoothing to compare with, which `train.py` certifies after training, is
  one stage, with a fixed number of votes.

  Args:
    config: A configuration, see configs/digits.py.

  Raises:
    ValueError: If settings do not fit together, or nothing is known of the
      size of a data set or a network.
  """
  recipe.check(config)
  refused.check_choices(config)
  options = config.certify
  found = images_lib.of(
    config.data.to_dict(),
    options.split,
    start=options.start,
    stride=options.stride,
    count=options.count,
  )
  networks = sizes.of_models(
    config.model.to_dict(),
    data=config.data.name,
    image_shape=found.shape,
    widths={'classifier': found.classes, 'estimator': len(config.sigmas)},
  )
  stages = [*_training(config, found), *_certification(config, found)]
  stored = list(_stored(config, found, networks))
  return Plan(config.name, networks, stages, stored, config.certify.spread)


def _training(config: Any, found: Images) -> Iterator[Work]:
  levels, targets = len(config.sigmas), config.targets
  classifier = functools.partial(_classifier, config, found)
  for stage in recipe.stages(config):
    options, steps = _options(config, stage)
    role, _, which = stage.partition('-')
    if role == 'estimator':
      count = min(targets.count or found.train, found.train)
      votes = count * levels * targets.votes
      forward = _behind(config, 'classifier', votes)
      size = targets.shard_size
      yield Work(
        f'targets-{which}', 'targets', forward, {}, -(-count // size), size
      )
      yield _estimator(config, found, stage)
    else:
      yield classifier(
        stage,
        options,
        steps=steps,
        levels=1 if role == 'single' else levels,
        selected=role == 'classifier' and which != '0',
      )


def _classifier(
  config: Any,
  found: Images,
  stage: str,
  options: Any,
  *,
  steps: int,
  levels: int,
  selected: bool,
) -> Work:
  shown = steps * options.batch_size
  copies = shown * options.copies
  validated = _validations(config, steps) * found.validation * levels
  forward = _behind(config, 'classifier', copies + validated)
  if selected:  # a vote of the estimator chooses the level of each image
    forward = _sum(forward, _behind(config, 'estimator', shown))
  return Work(
    stage,
    'training',
    forward,
    {'classifier': copies},
    1,
    options.batch_size // options.accumulate,
  )


def _estimator(config: Any, found: Images, stage: str) -> Work:
  options = config.estimator
  copies = options.steps * options.batch_size * options.copies
  validations = _validations(config, options.steps)
  validated = validations * found.validation * VALIDATION_VOTES
  return Work(
    stage,
    'training',
    _behind(config, 'estimator', copies + validated),
    {'estimator': copies},
    1,
    options.batch_size // options.accumulate,
  )


def _certification(config: Any, found: Images) -> Iterator[Work]:
  options = config.certify
  levels = len(options.levels or config.sigmas)
  n0, n = options.n0, options.n
  if options.protocol == 'paper':
    n0, n = 100, 10_000
  adaptive = options.protocol in ('adaptive', 'open')
  goal = options.goal if options.task == 'certify' else 'radius'
  votes = n if options.task == 'predict' and not adaptive else n0 + n
  cast = functools.partial(_cast, config, found)
  runs = _comparisons(config)
  yield cast(f'plain smoothing, {runs} runs', 'fixed', runs * votes)
  if options.smoothing == 'distance':
    yield cast('distance, fixed', 'fixed', votes)
    return
  if options.smoothing == 'single':
    runs = 1 if stage_names.level_of_single(options.classifier) else levels
    yield cast('single, fixed', 'fixed', runs * votes)
    return
  if options.smoothing == 'cascade':
    yield cast('cascade, fixed, at most', 'fixed', levels * votes)
    return
  falls_back = run_plans.RULES[options.certificate].falls_back
  asked = levels if falls_back and options.protocol != 'paper' else 1
  yield cast('dual, fixed', 'fixed', asked * votes, votes)
  if adaptive:
    of_classifier, of_estimator = ADAPTIVE[goal]
    yield cast(
      'dual, adaptive', 'adaptive', of_classifier * votes, of_estimator * votes
    )


def _comparisons(config: Any) -> int:
  """Runs of plain smoothing that `train.py` compares with."""
  levels, single = len(config.sigmas), len(config.baselines)
  before = levels if single and 'classifier-0' in recipe.stages(config) else 0
  return levels + before + single


def _cast(
  config: Any,
  found: Images,
  stage: str,
  kind: str,
  classifier: float | int,
  estimator: float | int = 0,
) -> Work:
  """Votes of both networks on each image of a certification."""
  images = found.certified
  forward = _behind(config, 'classifier', images * classifier)
  if estimator:
    others = _behind(config, 'estimator', images * estimator)
    forward = _sum(forward, others)
  return Work(stage, kind, forward, {}, images, classifier + estimator)


def _validations(config: Any, steps: int) -> int:
  """How often a stage is measured on the validation images."""
  return -(-steps // config.checkpoint.evaluate_steps)


def _behind(
  config: Any, role: str, passes: float | int
) -> dict[str, float | int]:
  """Passes through a network and the denoiser before it, if there is one."""
  front = {'denoiser': passes} if config.model.denoiser else {}
  return front | {role: passes}


def _sum(
  one: Mapping[str, float | int], other: Mapping[str, float | int]
) -> dict[str, float | int]:
  return {
    role: one.get(role, 0) + other.get(role, 0) for role in {**one, **other}
  }


def _stored(
  config: Any, found: Images, networks: Mapping[str, Network]
) -> Iterator[Stored]:
  for stage in recipe.stages(config):
    role = 'estimator' if stage.startswith('estimator') else 'classifier'
    options, steps = _options(config, stage)
    optimizer = recipe.optimizer(options, steps)
    keep = config.checkpoint.keep
    size = storage.checkpoint_bytes(networks[role], optimizer)
    yield Stored(f'{keep} checkpoints of {stage}', keep * size)
    size = storage.metrics_bytes(steps, config.checkpoint.metrics_steps)
    yield Stored(f'metrics of {stage}', size)
  targets, levels = config.targets, len(config.sigmas)
  count = min(targets.count or found.train, found.train)
  size = storage.targets_bytes(count, levels, targets.shard_size)
  for number in range(1, config.rounds + 1):
    yield Stored(f'targets-{number}', size)
  levels = len(config.certify.levels or config.sigmas)
  dual = config.certify.smoothing != 'single'
  row = storage.row_bytes(
    config.certify.task,
    n0=config.certify.n0,
    n=config.certify.n,
    classes=found.classes,
    levels=levels if dual else 1,
  )
  files = 1 if dual else levels
  yield Stored(
    f'rows of {found.certified:,} images', files * found.certified * row
  )


def _options(config: Any, stage: str) -> tuple[Any, int]:
  """The options by which a stage is trained, and its steps."""
  if stage.startswith('estimator'):
    return config.estimator, config.estimator.steps
  return stage_names.options_of(
    stage, config.classifier, config.finetune, rounds=config.rounds
  )
