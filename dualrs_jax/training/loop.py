"""The whole training: its stages in order, from a configuration.

By the name of their folders, these are

    classifier-0                     under noise at all levels
    targets-r, estimator-r           what each level certifies; who selects it
    classifier-r                     fine-tuned under the selected noise
    single-<sigma>-0, single-<sigma> baselines: the same, at one level

Finished stages are recognised and skipped, so the same call goes on wherever
it was interrupted. A classifier stage of 0 steps hands on what it was given,
such as a network that somebody else trained.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from dualrs_jax import checkpoints, data, folders, models, networks
from dualrs_jax.runtime import locks, preemption, processes, settings
from dualrs_jax.training import claim, fitting, recipe
from dualrs_jax.training import classifier as classifier_stage
from dualrs_jax.training import run as run_lib
from dualrs_jax.training.run import Run


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
  recipe.check_targets(config)
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
  everywhere = fitting.levels(run, config.sigmas, shares)
  classifier = fitting.fit_classifier(
    run,
    'classifier-0',
    fitting.new_classifier(run),
    config.classifier,
    everywhere,
  )
  for number in range(1, config.rounds + 1):
    estimator = _fit_estimator(run, number, classifier)
    selected = everywhere._replace(
      selection=classifier_stage.Selection(
        run.estimator_front.before(models.inference_view(estimator)),
        run.placed(jnp.float32(config.estimator_sigma)),
        run.placed(jnp.float32(config.finetune.explored)),
        run.placed(jnp.bool_(config.targets.of == 'cascades')),
      )
    )
    classifier = fitting.fit_classifier(
      run, f'classifier-{number}', classifier, config.finetune, selected
    )
  for sigma in config.baselines:
    fitting.fit_single(run, sigma)


def _fit_estimator(run: Run, number: int, classifier: Any) -> nnx.Module:
  """Builds the radius targets of a round and trains its estimator on them."""
  source = run_lib.subset(run.train, run.config.targets.count)
  return fitting.fit_estimator(
    run,
    f'estimator-{number}',
    source,
    lambda: fitting.radius_targets(
      run, f'targets-{number}', source, classifier
    ),
  )
