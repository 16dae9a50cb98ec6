"""The whole training: its stages in order, from a configuration.

This is the only module of the package that sees the configuration; everything
below gets plain arguments. Stages, by the name of their folders:

    classifier-0                     under noise at all levels
    targets-r, estimator-r           what each level certifies; who selects it
    classifier-r                     fine-tuned under the selected noise
    single-<sigma>                   baselines, at one level, of equal budget

Finished stages are recognised and skipped, so the same call goes on wherever
it was interrupted.
"""

import functools
import logging
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from dualrs_jax import confidence, data, models
from dualrs_jax.runtime import settings
from dualrs_jax.training import checks, fit, losses, state, targets
from dualrs_jax.training import classifier as classifier_stage
from dualrs_jax.training import estimator as estimator_stage

logger = logging.getLogger(__name__)

#: What does not change the weights of a stage: these may differ between runs
#: in one directory.
NOT_IDENTITY = ('name', 'certify', 'checkpoint', 'baselines')

_VALIDATION_VOTES = 32


class _Run(NamedTuple):
  """A configuration with what is loaded for it."""

  config: Any
  workdir: pathlib.Path
  train: data.Source
  validation: data.Source


def train(config: Any, workdir: str | os.PathLike) -> None:
  """Trains every stage of a configuration, or goes on with it.

  Args:
    config: see `configs/digits.py`.
    workdir: where everything is written; it belongs to one configuration.

  Raises:
    settings.SettingsMismatch: the directory belongs to another configuration.
    ValueError: settings that do not fit together.
    checkpoints.CheckpointError: a checkpoint of another architecture.
  """
  check(config)
  workdir = pathlib.Path(workdir)
  settings.claim(workdir / 'settings.json', identity(config))
  run = _Run(
    config,
    workdir,
    data.load(split='train', **config.data),
    data.load(split='validation', **config.data),
  )
  everywhere = classifier_stage.Levels(
    jnp.asarray(config.sigmas, jnp.float32),
    classifier_stage.level_shares(config.classifier.shares, config.sigmas),
  )
  classifier = _fit_classifier(
    run, 'classifier-0', _new_classifier(run), config.classifier, everywhere
  )
  for number in range(1, config.rounds + 1):
    estimator = _fit_estimator(run, number, classifier)
    selected = everywhere._replace(
      selection=classifier_stage.Selection(
        models.inference_view(estimator),
        jnp.float32(config.estimator_sigma),
        jnp.float32(config.finetune.explored),
      )
    )
    classifier = _fit_classifier(
      run, f'classifier-{number}', classifier, config.finetune, selected
    )
  for sigma in config.baselines:
    _fit_single(run, sigma)


def stages(config: Any) -> list[str]:
  """The stages whose checkpoints a finished training holds, in order."""
  names = ['classifier-0']
  for number in range(1, config.rounds + 1):
    names += [f'estimator-{number}', f'classifier-{number}']
  return names + [single_stage(sigma) for sigma in config.baselines]


def single_stage(sigma: float) -> str:
  """The stage of a classifier that is trained at one level."""
  return f'single-{sigma:g}'


def identity(config: Any) -> dict[str, Any]:
  """What a directory is claimed for: all that decides the weights."""
  return {
    name: value
    for name, value in config.to_dict().items()
    if name not in NOT_IDENTITY
  }


def check(config: Any) -> None:
  """Raises ValueError, in one sentence, for settings that do not fit."""
  settings.check_seed(config.seed)
  checks.levels(config.sigmas, config.estimator_sigma, config.baselines)
  if config.rounds < 1:
    raise ValueError(f'rounds must be at least 1, not {config.rounds}')
  classifier_stage.level_shares(config.classifier.shares, config.sigmas)
  checks.choice(
    'estimator.loss', config.estimator.loss, losses.ESTIMATOR_LOSSES
  )
  utility = config.estimator.utility
  checks.choice('estimator.utility.name', utility.name, losses.UTILITIES)
  if config.estimator.loss == 'paper':
    reach = config.estimator.paper.reach
    checks.choice('estimator.paper.reach', reach, losses.REACHES)
  for name in ('classifier', 'estimator', 'finetune'):
    _optimizer(config[name], config[name].steps)
  # What `paper` and `agreement` leave to the bound of the selected level.
  n, alpha = config.certify.n, config.certify.alpha / 2
  confidence.check_possible(n, alpha)
  checks.warn_of_radius_cap(
    config.sigmas, config.estimator_sigma, n=n, alpha=alpha
  )


def _fit_classifier(
  run: _Run,
  stage: str,
  model: nnx.Module,
  options: Any,
  levels: classifier_stage.Levels,
  *,
  steps: int | None = None,
) -> nnx.Module:
  """Trains a classifier at the given levels."""
  examples = classifier_stage.Examples(
    jnp.asarray(run.train.images), jnp.asarray(run.train.labels)
  )
  held_out = classifier_stage.Examples(
    jnp.asarray(run.validation.images), jnp.asarray(run.validation.labels)
  )
  key = fit.stage_key(run.config.seed, f'{stage}/validation')

  def evaluate(model):
    accuracies = classifier_stage.noisy_accuracy(
      models.inference_view(model), held_out, levels.sigmas, key
    )
    return {
      f'validation_accuracy/{sigma:g}': float(accuracy)
      for sigma, accuracy in zip(levels.sigmas, accuracies, strict=True)
    }

  loss = classifier_stage.make_loss(
    copies=options.copies,
    divergence_per_sigma=options.divergence_per_sigma,
    entropy=options.entropy,
  )
  return _fit(
    run, stage, model, loss, examples, levels, options, evaluate, steps=steps
  )


def _fit_single(run: _Run, sigma: float) -> nnx.Module:
  """Trains a baseline with as many steps as the dual's classifier has had."""
  config = run.config
  return _fit_classifier(
    run,
    single_stage(sigma),
    _new_classifier(run),
    config.classifier,
    classifier_stage.Levels(jnp.asarray([sigma], jnp.float32), jnp.ones(1)),
    steps=config.classifier.steps + config.rounds * config.finetune.steps,
  )


def _fit_estimator(
  run: _Run, number: int, classifier: nnx.Module
) -> nnx.Module:
  """Builds the radius targets of a round and trains its estimator on them."""
  config, stage = run.config, f'estimator-{number}'
  options = config.estimator
  new = models.create(
    **config.model.estimator,
    num_classes=len(config.sigmas),
    image_shape=run.train.image_shape,
    seed=fit.initial_seed(config.seed, stage),
  )
  directory = run.workdir / 'checkpoints' / stage
  done = fit.finished(new, directory, steps=options.steps)
  if done is not None:
    return done
  examples = _estimator_examples(run, number, classifier)
  context = estimator_stage.Context(
    jnp.float32(config.estimator_sigma),
    jnp.asarray(losses.best_level_frequencies(np.asarray(examples.bounds))),
  )
  held_out = jnp.asarray(run.validation.images)
  keys = jax.random.split(
    fit.stage_key(config.seed, f'{stage}/validation'), _VALIDATION_VOTES
  )

  def evaluate(model):
    selected = estimator_stage.selections(
      models.inference_view(model), held_out, context.estimator_sigma, keys
    )
    return estimator_stage.selected_shares(selected, config.sigmas)

  utility = losses.UTILITIES[options.utility.name](
    radii=options.utility.radii,
    weights=options.utility.weights,
    width=options.utility.width,
  )
  per_image = functools.partial(
    losses.ESTIMATOR_LOSSES[options.loss],
    utility=utility,
    **options[options.loss],
  )
  loss = estimator_stage.make_loss(per_image, copies=options.copies)
  return _fit(run, stage, new, loss, examples, context, options, evaluate)


def _estimator_examples(
  run: _Run, number: int, classifier: nnx.Module
) -> estimator_stage.Examples:
  """The images an estimator is trained on, with their radius targets."""
  config, stage = run.config, f'targets-{number}'
  options = config.targets
  source = targets.subset(run.train, options.count)
  counts = targets.build(
    models.inference_view(classifier),
    source,
    stage=stage,
    sigmas=config.sigmas,
    votes=options.votes,
    shard_size=options.shard_size,
    key=fit.stage_key(config.seed, stage),
    directory=run.workdir / 'targets' / stage,
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
  return estimator_stage.Examples(
    jnp.asarray(source.images), jnp.asarray(bounds)
  )


def _fit(
  run: _Run,
  stage: str,
  model: nnx.Module,
  loss: state.Loss,
  examples: Any,
  context: Any,
  options: Any,
  evaluate: Callable[[nnx.Module], dict[str, float]],
  *,
  steps: int | None = None,
) -> nnx.Module:
  """Fits one model; `options` are those that all stages share."""
  total = steps or options.steps
  checkpoint = run.config.checkpoint
  return fit.fit(
    model,
    loss,
    examples,
    context,
    stage=stage,
    steps=total,
    batch_size=options.batch_size,
    optimizer=_optimizer(options, total),
    decay=options.average,
    seed=run.config.seed,
    workdir=run.workdir,
    rhythm=fit.Rhythm(
      checkpoint.metrics_steps, checkpoint.every_steps, checkpoint.keep
    ),
    evaluate=evaluate,
  )


def _optimizer(options: Any, steps: int) -> optax.GradientTransformation:
  return state.make_optimizer(
    steps=steps,
    learning_rate=options.learning_rate,
    weight_decay=options.weight_decay,
    schedule=options.schedule,
    warmup_steps=options.warmup_steps,
    gradient_clip=options.gradient_clip,
  )


def _new_classifier(run: _Run) -> nnx.Module:
  return models.create(
    **run.config.model.classifier,
    num_classes=run.train.num_classes,
    image_shape=run.train.image_shape,
    seed=fit.initial_seed(run.config.seed, 'classifier'),
  )
