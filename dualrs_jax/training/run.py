"""A configuration with what is loaded for it, and how it fits a model."""

import logging
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from dualrs_jax import data, denoising, networks, sharding
from dualrs_jax.runtime import processes
from dualrs_jax.training import fit, recipe, state
from dualrs_jax.training.feed import Examples, Feed

logger = logging.getLogger(__name__)


class Run(NamedTuple):
  """A training under way.

  Attributes:
    config: The configuration.
    workdir: Where everything is written.
    settings: What it was claimed for.
    train: The training images.
    validation: The validation images, on all devices of the mesh.
    classifier_front: What stands before a classifier, such as a denoiser.
    estimator_front: The same of an estimator.
    mesh: The devices of a stage.
    preempted: See `preemption.watch`.
  """

  config: Any
  workdir: pathlib.Path
  settings: Mapping[str, Any]
  train: data.Source
  validation: Examples
  classifier_front: denoising.Front
  estimator_front: denoising.Front
  mesh: Mesh
  preempted: Callable[[], bool]

  def placed(self, tree: Any) -> Any:
    """Arrays, on all devices of the mesh."""
    return sharding.replicated(tree, self.mesh)

  def for_stage(self, stage: str, options: Any) -> 'Run':
    """The same run, on the devices over which the rows of a stage divide."""
    mesh = _mesh(stage, options)
    if mesh == self.mesh:
      return self
    moved = self.validation, self.classifier_front, self.estimator_front
    validation, *fronts = sharding.replicated(moved, mesh)
    return self._replace(
      validation=validation,
      classifier_front=fronts[0],
      estimator_front=fronts[1],
      mesh=mesh,
    )

  def fit(
    self,
    stage: str,
    model: nnx.Module,
    loss: state.Loss,
    feed: Feed,
    context: Any,
    options: Any,
    evaluate: Callable[[nnx.Module], dict[str, float]],
    *,
    steps: int | None = None,
  ) -> nnx.Module:
    """Fits one model, see `fit.fit`; `options` are those all stages share."""
    total = steps or options.steps
    checkpoint = self.config.checkpoint
    return fit.fit(
      model,
      loss,
      feed,
      context,
      stage=stage,
      steps=total,
      batch_size=options.batch_size,
      accumulate=options.accumulate,
      optimizer=recipe.optimizer(options, total),
      decay=options.average,
      seed=self.config.seed,
      workdir=self.workdir,
      settings=self.settings,
      rhythm=fit.Rhythm(
        checkpoint.metrics_steps,
        checkpoint.every_steps,
        checkpoint.evaluate_steps,
        checkpoint.keep,
      ),
      evaluate=evaluate,
      mesh=self.mesh,
      preempted=self.preempted,
    )


def load(
  config: Any,
  workdir: pathlib.Path,
  settings: Mapping[str, Any],
  preempted: Callable[[], bool],
) -> Run:
  """Loads the images, and what stands before the networks."""
  validation = data.load(split='validation', **config.data)
  images, labels = validation.gather(np.arange(len(validation)))
  model = config.model.to_dict()
  mesh = _mesh('estimator-1', config.estimator)
  denoiser = networks.denoiser(model['denoiser'])
  if denoiser is not None:
    denoiser = sharding.replicated(denoiser, mesh)
  return Run(
    config,
    workdir,
    settings,
    data.load(split='train', **config.data),
    Examples(*sharding.replicated((images, labels), mesh)),
    networks.front(denoiser, model['classifier']),
    networks.front(denoiser, model['estimator']),
    mesh,
    preempted,
  )


def subset(source: data.Source, count: int) -> data.Source:
  """That many images at equal distances; all of them for 0."""
  if not 0 < count < len(source):
    return source
  return source.take(np.arange(count) * len(source) // count)


def images_per_pass(options: Any) -> int:
  """How many images a validation takes at once: as many as a step of it."""
  return options.batch_size * options.copies // options.accumulate


def _mesh(stage: str, options: Any) -> Mesh:
  """The devices over which the rows that a stage takes at a time divide."""
  rows = options.batch_size // options.accumulate
  try:
    mesh = sharding.data_mesh(rows)
  except ValueError as error:
    raise ValueError(f'{stage}: {error}') from error
  if mesh.size < jax.device_count() and processes.here().first:
    logger.warning(
      '%s computes %d rows at a time, which takes %d of %d devices',
      stage,
      rows,
      mesh.size,
      jax.device_count(),
    )
  return mesh
