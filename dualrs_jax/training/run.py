"""A configuration with what is loaded for it, and how it fits a model."""

import logging
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from dualrs_jax import data, denoising, host, networks, noise, sharding
from dualrs_jax.runtime import processes
from dualrs_jax.training import claim, fit, recipe, rhythm, state
from dualrs_jax.training.feed import Examples, Feed

logger = logging.getLogger(__name__)

#: Training images from which the mean of the pixels is estimated.
_LOOKED_AT = 500


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
      rhythm=rhythm.Rhythm(
        checkpoint.metrics_steps,
        checkpoint.every_steps,
        checkpoint.evaluate_steps,
        checkpoint.keep,
      ),
      evaluate=evaluate,
      mesh=self.mesh,
      preempted=self.preempted,
    )


def load_sources(config: Any) -> dict[str, data.Source]:
  """The images, by split; nothing is written before they are there.

  Raises:
    ValueError: If they are too few for a batch, or splits do not fit together.
  """
  chosen = data.chosen(config.data.to_dict())
  train, validation = (
    data.load(split=split, **chosen) for split in ('train', 'validation')
  )
  for what in ('image_shape', 'num_classes'):
    here, there = getattr(train, what), getattr(validation, what)
    if here != there:
      raise ValueError(
        f'{config.data.name} has the {what} {here} in the split train and'
        f' {there} in the split validation'
      )
  counts = {
    'classifier': config.classifier.count,
    'finetune': config.finetune.count,
    'estimator': config.targets.count,
  }
  for name in recipe.trained_groups(config):
    count, needed = counts[name] or len(train), config[name].batch_size
    if min(count, len(train)) < needed:
      raise ValueError(
        f'{name} has {min(count, len(train))} training images, fewer than'
        f' {name}.batch_size = {needed}'
      )
  return {'train': train, 'validation': validation}


def check_networks(config: Any, train: data.Source) -> None:
  """Draws up the networks that will be trained, and computes nothing.

  Raises:
    ValueError: If there is no such network, or not for these images.
  """
  roles = {'classifier': train.num_classes, 'estimator': len(config.sigmas)}
  for role, width in roles.items():
    description = config.model[role].to_dict()
    if 'name' not in description:
      continue

    def answer(description=description, width=width):
      network = networks.create(
        description,
        num_classes=width,
        image_shape=train.image_shape,
        seed=config.seed,
      )
      side = description.get('size')
      shape = (side, side, train.image_shape[-1]) if side else train.image_shape
      return network(jnp.zeros((1, *shape)), jnp.ones(1))

    try:
      jax.eval_shape(answer)
    except (TypeError, ValueError, IndexError, ZeroDivisionError) as error:
      raise ValueError(f'model.{role}: {error}') from error


def ask_hosts(config: Any, train: data.Source) -> None:
  """Asks models of other frameworks once, before anything is written.

  Raises:
    ValueError: If one of them does not answer as a classifier, see `host`.
  """
  description = config.model.classifier.to_dict()
  if 'functions' not in description:
    return
  asked = networks.create(
    description,
    num_classes=train.num_classes,
    image_shape=train.image_shape,
    seed=config.seed,
  )
  some = np.resize(np.arange(len(train)), config.targets.chunk_size)
  images = data.to_unit(jnp.asarray(train.gather(some)[0]))
  key = jax.random.key(config.seed)
  for model, sigma in zip(host.parts(asked), config.sigmas, strict=False):
    noisy = noise.gaussian(key, images, jnp.float32(sigma))
    model(noisy, jnp.full(len(some), sigma, jnp.float32))


def load(
  config: Any,
  workdir: pathlib.Path,
  settings: Mapping[str, Any],
  sources: Mapping[str, data.Source],
  preempted: Callable[[], bool],
) -> Run:
  """Loads what stands before the networks.

  Args:
    config: The configuration.
    workdir: Where everything is written.
    settings: What it was claimed for.
    sources: The images, see `load_sources`.
    preempted: See `preemption.watch`.

  Raises:
    SettingsMismatch: If the directory was trained on other images.
  """
  train, validation = sources['train'], sources['validation']
  if not data.is_published(config.data.name):
    prints = {name: source.fingerprint() for name, source in sources.items()}
    claim.claim_images(prints, workdir)
  images, labels = validation.gather(np.arange(len(validation)))
  model = config.model.to_dict()
  _tell_of_pixels(train, model)
  mesh = _mesh('estimator-1', config.estimator)
  denoiser = networks.denoiser(model['denoiser'])
  if denoiser is not None:
    denoiser = sharding.replicated(denoiser, mesh)
  return Run(
    config,
    workdir,
    settings,
    train,
    Examples(*sharding.replicated((images, labels), mesh)),
    networks.front(denoiser, model['classifier']),
    networks.front(denoiser, model['estimator']),
    mesh,
    preempted,
  )


def _tell_of_pixels(
  train: data.Source, model: Mapping[str, Mapping[str, Any]]
) -> None:
  """Says so where a network is told of other pixels than there are."""
  some = np.arange(0, len(train), -(-len(train) // _LOOKED_AT))
  pixels = train.gather(some)[0] / 255
  mean, deviation = float(pixels.mean()), float(pixels.std())
  for role, description in model.items():
    if 'functions' in description:  # normalise as their training did
      continue
    told = [description.get(f'image_{of}', 0) for of in ('mean', 'deviation')]
    if not told[1] or not processes.here().first:
      continue
    if abs(mean - told[0]) > deviation or not 0.5 < deviation / told[1] < 2:
      logger.warning(
        'the training images have a mean of %.2f and a deviation of %.2f:'
        ' --config.model.%s.image_mean=%.2f and'
        ' --config.model.%s.image_deviation=%.2f tell the network, which was'
        ' told %g and %g',
        *(mean, deviation, role, mean, role, deviation, *told),
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
