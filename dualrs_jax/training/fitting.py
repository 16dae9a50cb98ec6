"""The stages of a training, each from what a configuration says of it.

A stage that is finished is read in place of being trained.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from dualrs_jax import data, models, networks
from dualrs_jax.runtime import settings
from dualrs_jax.training import classifier as classifier_stage
from dualrs_jax.training import estimator as estimator_stage
from dualrs_jax.training import fit, losses, target_radii, targets
from dualrs_jax.training import run as run_lib
from dualrs_jax.training import stages as stage_names
from dualrs_jax.training import utility as utility_lib
from dualrs_jax.training.feed import Feed
from dualrs_jax.training.run import Run

logger = logging.getLogger(__name__)

_VALIDATION_VOTES = 32

#: From how much more utility on a choice per image is worth the votes for it,
#: so that one level for all images is to be escaped from.
_GAIN_OF_TWO_LEVELS = 0.02


def fit_classifier(
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
    divergence_of_neighbours=options.divergence_of_neighbours,
  )
  feed = Feed(source, source.labels, options.augmented, run.config.workers)
  return run.fit(
    stage, model, loss, feed, levels, options, evaluate, steps=steps
  )


def levels(
  run: Run, sigmas: Sequence[float], shares: Float[Array, ' levels']
) -> classifier_stage.Levels:
  """Noise levels with their shares, before any is selected."""
  levels = jnp.asarray(sigmas, jnp.float32)
  return classifier_stage.Levels(
    *run.placed((levels, shares)), front=run.classifier_front
  )


def fit_single(run: Run, sigma: float) -> nnx.Module:
  """Trains a baseline: what the dual's classifier gets, but at one level."""
  config = run.config
  alone = levels(run, [sigma], jnp.ones(1))
  first, later = config.classifier, config.finetune
  classifier = new_classifier(run)
  for stage in stage_names.of_single(
    sigma, classifier_steps=first.steps, finetune_steps=later.steps
  ):
    options, steps = stage_names.options_of(
      stage, first, later, rounds=config.rounds
    )
    classifier = fit_classifier(
      run, stage, classifier, options, alone, steps=steps
    )
  return classifier


def fit_estimator(
  run: Run,
  stage: str,
  source: data.Source,
  targets_of: Callable[[], Float[np.ndarray, 'examples levels']],
) -> nnx.Module:
  """Trains an estimator on radius targets, or returns it if it is finished.

  Args:
    run: The run.
    stage: Its name, by which its weights and its batches are drawn.
    source: The images of the targets.
    targets_of: Returns them; called where they are needed.
  """
  config, options = run.config, run.config.estimator
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
  bounds = targets_of()
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
    return estimator_stage.selected_shares(selected, config.sigmas, worth)

  utility, worth = _utility(stage, options.utility, config.sigmas, bounds)
  chosen = options[options.loss].to_dict()
  if worth.gain < _GAIN_OF_TWO_LEVELS and 'rescue' in chosen:
    chosen['rescue'] = 0.0
  per_image = functools.partial(
    losses.ESTIMATOR_LOSSES[options.loss], utility=utility, **chosen
  )
  loss = estimator_stage.make_loss(
    per_image, copies=options.copies, steps=options.steps
  )
  feed = Feed(source, bounds, options.augmented, config.workers)
  return run.fit(stage, new, loss, feed, context, options, evaluate)


def _utility(
  stage: str,
  options: Any,
  sigmas: Sequence[float],
  bounds: Float[np.ndarray, 'examples levels'],
) -> tuple[utility_lib.Utility, utility_lib.Choice]:
  """What a radius is worth, and a choice per image."""
  weights = utility_lib.parse_weights(options.weights)
  if weights is None:
    weights = utility_lib.balanced(bounds, options.radii)
  utility = utility_lib.UTILITIES[options.name](
    radii=options.radii, weights=weights, width=options.width
  )
  worth = utility_lib.choice(bounds, utility)
  logger.info(
    '%s: the radii %s weigh %s; the best level per image is worth %.1f%% more'
    ' than %g for all',
    stage,
    ', '.join(f'{r:g}' for r in options.radii),
    ', '.join(f'{w:.3g}' for w in weights) or 'the same',
    100 * worth.gain,
    sigmas[worth.best],
  )
  return utility, worth


def radius_targets(
  run: Run, stage: str, source: data.Source, classifier: Any
) -> Float[np.ndarray, 'examples levels']:
  """What each level might certify of each image of a source.

  Args:
    run: The run.
    stage: The name of the targets.
    source: The images.
    classifier: Whose votes they are of.
  """
  config = run.config
  options = config.targets
  kept_at = {
    'directory': run.workdir / 'targets' / stage,
    'mark': run.settings.get(settings.FINGERPRINT, ''),
  }
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
    **kept_at,
    preempted=run.preempted,
  )

  def draw():
    n = options.n or config.certify.n
    logger.info('%s: as certificates of %d votes might be', stage, n)
    seed = fit.initial_seed(config.seed, stage)
    to_come = target_radii.drawn(counts, votes=options.votes, n=n, seed=seed)
    return target_radii.TARGETS[options.of](
      to_come, config.sigmas, n=n, alpha=options.alpha
    )

  bounds = targets.kept(draw, source, levels=len(config.sigmas), **kept_at)
  logger.info('%s: %s', stage, target_radii.describe(bounds, config.sigmas))
  return bounds


def new_classifier(run: Run) -> Any:
  """A classifier where its training starts."""
  return networks.create(
    run.config.model.classifier.to_dict(),
    num_classes=run.train.num_classes,
    image_shape=run.train.image_shape,
    seed=fit.initial_seed(run.config.seed, 'classifier'),
  )
