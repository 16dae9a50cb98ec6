"""The whole training: its stages in order, from a configuration.

Everything below gets plain arguments and does not see it. Stages, by the name
of their folders:

    classifier-0                     under noise at all levels
    targets-r, estimator-r           what each level certifies; who selects it
    classifier-r                     fine-tuned under the selected noise
    single-<sigma>                   baselines, at one level, of equal budget

Finished stages are recognised and skipped, so the same call goes on wherever
it was interrupted. A classifier stage of 0 steps hands on what it was given,
such as a network that somebody else trained.
"""

import contextlib
import functools
import logging
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from dualrs_jax import (
  checkpoints,
  data,
  folders,
  models,
  networks,
)
from dualrs_jax.runtime import locks, preemption, processes, settings
from dualrs_jax.training import claim, fit, losses, recipe, targets
from dualrs_jax.training import classifier as classifier_stage
from dualrs_jax.training import estimator as estimator_stage
from dualrs_jax.training import run as run_lib
from dualrs_jax.training import stages as stage_names
from dualrs_jax.training import utility as utility_lib
from dualrs_jax.training.feed import Feed
from dualrs_jax.training.run import Run

logger = logging.getLogger(__name__)

_VALIDATION_VOTES = 32

#: From how much more utility on a choice per image is worth the votes for it,
#: so that one level for all images is a failure of the estimator.
_GAIN_OF_TWO_LEVELS = 0.02


def train(config: Any, workdir: str | os.PathLike) -> None:
  """Trains every stage of a configuration, or goes on with it.

  Args:
    config: see `configs/digits.py`.
    workdir: where everything is written; it belongs to one configuration.

  Raises:
    settings.SettingsMismatch: the directory belongs to another configuration,
      or does not say to which.
    ValueError: settings that do not fit together, or no converted model where
      the configuration names one.
    data.DatasetNotFound: the data set is not there.
    checkpoints.CheckpointError: a checkpoint of another architecture.
    preemption.Preempted: the run was asked to end, and has saved its state.
    locks.InUse: another process is training in the directory.
  """
  recipe.check(config)
  if jax.process_count() > processes.here().count:
    raise ValueError(
      f'the devices are those of {jax.process_count()} processes, which'
      " --config.distributed='auto' connects"
    )
  recipe.check_together(config)
  workdir = folders.expand(workdir)
  sources = networks.sources(config.model.to_dict())
  sources |= data.sources(config.data.to_dict())
  images = run_lib.load_sources(config)
  run_lib.check_networks(config, images['train'])
  run_lib.ask_hosts(config, images['train'])
  claimed = claim.claim(recipe.identity(config), workdir)
  claim.note_sources(sources, workdir)
  with _alone(workdir), preemption.watch(together=True) as preempted:
    _train(run_lib.load(config, workdir, claimed, images, preempted))


def is_trained(config: Any, workdir: str | os.PathLike) -> bool:
  """Whether a directory has the last checkpoint of every stage.

  That it can be read is not looked at.
  """
  try:
    settings.verify(
      folders.expand(workdir) / claim.SETTINGS, recipe.identity(config)
    )
  except (settings.SettingsMismatch, OSError, ValueError):
    return False
  folder = folders.expand(workdir) / 'checkpoints'
  return all(
    checkpoints.is_finished(folder / stage) for stage in recipe.stages(config)
  )


@contextlib.contextmanager
def _alone(workdir: pathlib.Path) -> Iterator[None]:
  """Keeps a second training out of the directory until this one ends."""
  with contextlib.ExitStack() as held:
    if processes.here().first:
      lock = locks.exclusively(
        workdir / 'train.lock',
        refusal=f'another process is training in {workdir}',
      )
      held.enter_context(lock)
    processes.barrier('the lock of the directory')
    yield


def _train(run: Run) -> None:
  """Trains stage after stage."""
  config = run.config
  shares = classifier_stage.level_shares(
    config.classifier.shares, config.sigmas
  )
  everywhere = _levels(run, config.sigmas, shares)
  classifier = _fit_classifier(
    run, 'classifier-0', _new_classifier(run), config.classifier, everywhere
  )
  for number in range(1, config.rounds + 1):
    estimator = _fit_estimator(run, number, classifier)
    selected = everywhere._replace(
      selection=classifier_stage.Selection(
        run.estimator_front.before(models.inference_view(estimator)),
        run.placed(jnp.float32(config.estimator_sigma)),
        run.placed(jnp.float32(config.finetune.explored)),
      )
    )
    classifier = _fit_classifier(
      run, f'classifier-{number}', classifier, config.finetune, selected
    )
  for sigma in config.baselines:
    _fit_single(run, sigma)


def _fit_classifier(
  run: Run,
  stage: str,
  model: Any,
  options: Any,
  levels: classifier_stage.Levels,
  *,
  steps: int | None = None,
) -> Any:
  """Trains a classifier at the given levels."""
  steps = options.steps if steps is None else steps
  if not steps:
    return model
  run = run.for_stage(stage, options)
  levels = run.placed(levels)
  source = run_lib.subset(run.train, options.count)
  key = run.placed(fit.stage_key(run.config.seed, f'{stage}/validation'))

  def evaluate(model):
    accuracies = classifier_stage.noisy_accuracy(
      levels.front.before(models.inference_view(model)),
      run.validation,
      levels.sigmas,
      key,
      batch_size=run_lib.images_per_pass(options),
    )
    return {
      f'validation_accuracy/{sigma:g}': float(accuracy)
      for sigma, accuracy in zip(
        np.asarray(levels.sigmas), np.asarray(accuracies), strict=True
      )
    }

  loss = classifier_stage.make_loss(
    copies=options.copies,
    divergence_per_sigma=options.divergence_per_sigma,
    entropy=options.entropy,
  )
  feed = Feed(source, source.labels, options.augmented, run.config.workers)
  return run.fit(
    stage, model, loss, feed, levels, options, evaluate, steps=steps
  )


def _levels(
  run: Run, sigmas: Sequence[float], shares: Float[Array, ' levels']
) -> classifier_stage.Levels:
  """Noise levels with their shares, before any is selected."""
  levels = jnp.asarray(sigmas, jnp.float32)
  return classifier_stage.Levels(
    *run.placed((levels, shares)), front=run.classifier_front
  )


def _fit_single(run: Run, sigma: float) -> nnx.Module:
  """Trains a baseline with as many steps as the dual's classifier has had."""
  config = run.config
  return _fit_classifier(
    run,
    stage_names.single(sigma),
    _new_classifier(run),
    config.classifier,
    _levels(run, [sigma], jnp.ones(1)),
    steps=config.classifier.steps + config.rounds * config.finetune.steps,
  )


def _fit_estimator(run: Run, number: int, classifier: Any) -> nnx.Module:
  """Builds the radius targets of a round and trains its estimator on them."""
  config, stage = run.config, f'estimator-{number}'
  options = config.estimator
  run = run.for_stage(stage, options)
  new = networks.create(
    config.model.estimator.to_dict(),
    num_classes=len(config.sigmas),
    image_shape=run.train.image_shape,
    seed=fit.initial_seed(config.seed, stage),
  )
  directory = run.workdir / 'checkpoints' / stage
  done = fit.finished(
    new, directory, stage=stage, steps=options.steps, settings=run.settings
  )
  if done is not None:
    return run.placed(done)
  source = run_lib.subset(run.train, config.targets.count)
  bounds = _radius_targets(run, number, source, classifier)
  context = estimator_stage.Context(
    run.placed(jnp.float32(config.estimator_sigma)),
    run.placed(losses.best_level_frequencies(bounds)),
    run.estimator_front,
  )
  key = run.placed(fit.stage_key(config.seed, f'{stage}/validation'))

  def evaluate(model):
    selected = estimator_stage.selections(
      run.estimator_front.before(models.inference_view(model)),
      run.validation.images,
      context.estimator_sigma,
      key,
      votes=_VALIDATION_VOTES,
      batch_size=run_lib.images_per_pass(options),
    )
    return estimator_stage.selected_shares(selected, config.sigmas, gain=gain)

  utility, gain = _utility(stage, options.utility, bounds)
  chosen = options[options.loss].to_dict()
  if gain < _GAIN_OF_TWO_LEVELS and 'rescue' in chosen:
    chosen['rescue'] = 0.0
  per_image = functools.partial(
    losses.ESTIMATOR_LOSSES[options.loss], utility=utility, **chosen
  )
  loss = estimator_stage.make_loss(per_image, copies=options.copies)
  feed = Feed(source, bounds, options.augmented, config.workers)
  return run.fit(stage, new, loss, feed, context, options, evaluate)


def _utility(
  stage: str, options: Any, bounds: Float[np.ndarray, 'examples levels']
) -> tuple[utility_lib.Utility, float]:
  """What a radius is worth, and how much more with a choice per image."""
  weights = utility_lib.parse_weights(options.weights)
  if weights is None:
    weights = utility_lib.balanced(bounds, options.radii)
  utility = utility_lib.UTILITIES[options.name](
    radii=options.radii, weights=weights, width=options.width
  )
  gain = utility_lib.gain_of_choice(bounds, utility)
  logger.info(
    '%s: the radii %s weigh %s; the best level per image is worth %.1f%% more'
    ' than the best one for all',
    stage,
    ', '.join(f'{r:g}' for r in options.radii),
    ', '.join(f'{w:.3g}' for w in weights) or 'the same',
    100 * gain,
  )
  return utility, gain


def _radius_targets(
  run: Run, number: int, source: data.Source, classifier: Any
) -> Float[np.ndarray, 'examples levels']:
  """What each level would certify of each image of a source."""
  config, stage = run.config, f'targets-{number}'
  options = config.targets
  counts = targets.build(
    run.classifier_front.before(networks.inference_view(classifier)),
    source,
    stage=stage,
    sigmas=config.sigmas,
    votes=options.votes,
    chunk_size=options.chunk_size,
    shard_size=options.shard_size,
    workers=config.workers,
    key=fit.stage_key(config.seed, stage),
    directory=run.workdir / 'targets' / stage,
    mark=run.settings.get(settings.FINGERPRINT, ''),
    preempted=run.preempted,
  )
  bounds = targets.signed_bounds(
    counts,
    config.sigmas,
    votes=options.votes,
    shrinkage=options.shrinkage,
    n=options.n,
    alpha=options.alpha,
  )
  logger.info('%s: %s', stage, targets.describe(bounds, config.sigmas))
  return bounds


def _new_classifier(run: Run) -> Any:
  return networks.create(
    run.config.model.classifier.to_dict(),
    num_classes=run.train.num_classes,
    image_shape=run.train.image_shape,
    seed=fit.initial_seed(run.config.seed, 'classifier'),
  )
