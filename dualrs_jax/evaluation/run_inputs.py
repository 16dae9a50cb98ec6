"""What a certification reads: images, and networks of a working directory."""

import functools
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from dualrs_jax import checkpoints, data, folders, networks
from dualrs_jax.base import Classifier
from dualrs_jax.checkpoints import origin
from dualrs_jax.data import Source
from dualrs_jax.denoising import Denoiser
from dualrs_jax.evaluation import run_settings
from dualrs_jax.runtime import settings
from dualrs_jax.training import claim, stages


def load_networks(
  config: Any, workdir: str | os.PathLike, source: Source
) -> tuple[Classifier | None, Classifier | tuple[Classifier, ...]]:
  """The estimator and the classifier that `config.certify` names.

  There is no estimator in plain smoothing. Experts are a tuple of classifiers,
  one for each noise level.
  """
  model = config.model
  denoiser = networks.denoiser(model.denoiser.to_dict())
  stage = stages.origin(
    run_settings.classifier_stage(config),
    classifier_steps=config.classifier.steps,
    finetune_steps=config.finetune.steps,
  )
  workdir = folders.expand(workdir)
  claimed = claimed_settings(config, workdir)
  load = functools.partial(_load, workdir, claimed, source, denoiser)
  classifier = load(
    stage, model.classifier.to_dict(), num_classes=source.num_classes
  )
  if config.certify.smoothing != 'dual':
    return None, classifier
  estimator = load(
    run_settings.estimator_stage(config),
    model.estimator.to_dict(),
    num_classes=len(config.sigmas),
  )
  return estimator, classifier


def load_source(config: Any) -> Source:
  """The images that `config.certify` is about."""
  return data.load(
    split=config.certify.split, **data.chosen(config.data.to_dict())
  )


def load_training(config: Any) -> Source | None:
  """The training images, if levels follow from the distance to them."""
  if config.certify.smoothing != 'distance':
    return None
  return data.load(split='train', **data.chosen(config.data.to_dict()))


def _load(
  workdir: pathlib.Path,
  claimed: Mapping[str, Any],
  source: Source,
  denoiser: Denoiser | None,
  stage: str | None,
  description: Mapping[str, Any],
  *,
  num_classes: int,
) -> Any:
  """The network of a stage, ready for votes; untrained without a stage."""
  network = networks.create(
    description,
    num_classes=num_classes,
    image_shape=source.image_shape,
    seed=0,
  )
  if stage is not None:
    directory = workdir / 'checkpoints' / stage
    network = checkpoints.load_model(directory, network)
    meta = checkpoints.newest_meta(directory) or {}
    origin.check_part(directory, meta, stage=stage, settings=claimed)
  front = networks.front(denoiser, description)
  return front.before(networks.inference_view(network))


def claimed_settings(config: Any, workdir: pathlib.Path) -> dict[str, Any]:
  """What the networks of a directory must have been trained under.

  Raises:
    SettingsMismatch: If its settings file says something else.
  """
  wanted = {
    'data': data.identity(config.data.to_dict()),
    'sigmas': list(config.sigmas),
    'estimator_sigma': config.estimator_sigma,
    'model': {
      role: networks.identity(description)
      for role, description in config.model.to_dict().items()
    },
  }
  path = workdir / claim.SETTINGS
  if not path.exists():
    return wanted
  settings.verify(path, wanted)
  recorded = settings.read(path)
  mark = recorded.keys() & {settings.FINGERPRINT}
  return wanted | {name: recorded[name] for name in mark}
