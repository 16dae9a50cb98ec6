"""Certification of a data set by the networks of a working directory."""

import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from dualrs_jax import checkpoints, data, folders, networks, sharding
from dualrs_jax.base import Classifier
from dualrs_jax.checkpoints import origin
from dualrs_jax.data import Source
from dualrs_jax.denoising import Denoiser
from dualrs_jax.evaluation import (
  certify_source,
  distances,
  marks,
  preparation,
  refused,
  report,
  run_plans,
  run_settings,
  seeds,
  workers,
)
from dualrs_jax.evaluation.records import Record
from dualrs_jax.runtime import preemption, processes, settings
from dualrs_jax.runtime.processes import Place
from dualrs_jax.training import claim, recipe, stages


def certify_dataset(
  config: Any,
  workdir: str | os.PathLike,
  place: Place | None = None,
  after_row: Callable[[pathlib.Path], object] = lambda _: None,
) -> list[Record]:
  """Certifies images of a data set, as `config.certify` says.

  `protocol='adaptive'` casts votes until `goal` is decided: which of `radii`
  are certified ('grid'), whether the only one of them is ('radius'), or the
  radius that n votes give ('full'). `protocol='fixed'` casts n votes;
  `protocol='paper'` takes the paper's rule and its numbers of votes and alpha,
  whatever `certificate`, `n0`, `n` and `alpha` say. `noise='auto'` is exact
  lattice noise in adaptive certification, and gaussian noise elsewhere.

  `smoothing='dual'` certifies the dual classifier by the rule `certificate`.
  `smoothing='cascade'` certifies the cascade of the classifier at `sigmas`, the
  largest first, without an estimator; `smoothing='distance'` at a level that
  follows the distance to the training images, as `distance` says.
  `smoothing='single'` runs plain smoothing of the classifier at each of
  `sigmas`, one file for each; a classifier that was trained at one noise level
  (a stage 'single-<sigma>') at that level only.
  `task='predict'` predicts without radii, from n votes.

  Where `seed` is -1, one is drawn for the working directory, once, and stored
  before the first vote: all of its runs then see the same noise, so that they
  can be compared, and doing one again gives the same rows.

  Rows are kept in `workdir/certify/<label>/rows.tsv` and settings beside it,
  see `certify_source`. An interrupted call goes on where it was.

  Several processes that see one working directory share the work: images with
  `spread='images'`, each with rows in a file of its own, see `merge_dataset`;
  or, in one run of them, the votes on each image, with `spread='votes'`.

  Args:
    config: The configuration, see configs/digits.py.
    workdir: Where the training of this configuration left its checkpoints.
    place: Which one of how many processes this is; by default that in the run
      that it has joined.
    after_row: See `certify_source.certify_source`.

  Returns:
    The rows of the images asked for, as far as they are there: all of them,
    unless other processes have a share. With `smoothing='single'` those of one
    sigma after the other.

  Raises:
    CheckpointError: If a network is missing, damaged, or another one.
    SettingsMismatch: If the directory is that of another configuration, or
      holds rows of other settings.
    ValueError: If an option is invalid; see `certify_source`.
    Preempted: If SIGTERM came. What was decided is on the disk.
  """
  options = config.certify
  place = place or processes.here()
  prepared = prepare(config, place)
  together = options.spread == 'votes' and place.count > 1
  if together:
    recipe.check_same(config)
  with preemption.watch(together=together) as preempted:
    return _certify(
      config,
      folders.expand(workdir),
      place,
      prepared,
      preempted,
      after_row,
    )


class Prepared(NamedTuple):
  """What `config.certify` asks for, so far as it takes no network.

  Attributes:
    source: The images of its split.
    positions: Which of them.
    runs: The settings of each certification, with the part of alpha that its
      noise takes.
    training: The training images, where levels follow from them.
  """

  source: Source
  positions: Int[np.ndarray, ' chosen']
  runs: list[dict[str, Any]]
  training: Source | None


def prepare(
  config: Any, place: Place, source: Source | None = None
) -> Prepared:
  """Makes all that `config.certify` asks for, but for networks and votes.

  Whoever will certify what he trains calls this before: what passes will not be
  refused after the training.

  Args:
    config: The configuration.
    place: Which one of how many processes this is.
    source: The images, if they are there already.

  Raises:
    ValueError: If an option is invalid, in one sentence.
  """
  refused.check(config, place)
  source = load_source(config) if source is None else source
  positions = run_settings.positions(config, source)
  options, runs = config.certify, []
  training = load_training(config)
  mesh = sharding.votes_mesh(_devices(config))
  for run in run_settings.runs(config):
    try:
      if training is not None:
        distances.check(run, training)
      prepared = preparation.prepare(
        run,
        source.image_shape,
        seed=max(0, options.seed),
        chunk_size=options.chunk_size,
        mesh=mesh,
      )
    except ValueError as error:
      raise ValueError(f'certify: {error}') from error
    preparation.rehearse(prepared, source.image_shape, source.num_classes, mesh)
    runs.append(prepared.settings)
  return Prepared(source, positions, runs, training)


def _devices(config: Any) -> Sequence[Any] | None:
  """Over which devices the votes on an image spread; None for local ones."""
  return jax.devices() if config.certify.spread == 'votes' else None


def _certify(
  config: Any,
  workdir: pathlib.Path,
  place: Place,
  prepared: Prepared,
  preempted: Callable[[], bool],
  after_row: Callable[[pathlib.Path], object],
) -> list[Record]:
  """Certifies, under options that have been checked."""
  options = config.certify
  wanted = run_settings.runs(config)
  _claimed(config, workdir)
  source, positions = prepared.source, prepared.positions
  estimator, classifier = load_networks(config, workdir, source)
  seed = options.seed
  folder = workdir / certify_source.FOLDER
  if seed == -1:
    labels = [run_settings.label(config, run) for run in wanted]
    try:
      seed = seeds.drawn(folder, labels)
    except settings.SettingsMismatch as error:
      raise _with_advice(error) from error
  if place.first:
    run_settings.warn_of_radius_cap(config, prepared.runs[0])
    run_settings.warn_of_classes(source, positions)
  rows = []
  for run in run_settings.runs(config):
    if 'expert' in run and isinstance(classifier, tuple):
      expert = classifier[run['expert']]
    else:
      expert = classifier
    try:
      rows += certify_source.certify_source(
        estimator,
        expert,
        source,
        folder / run_settings.label(config, run),
        settings=run,
        seed=seed,
        chunk_size=options.chunk_size,
        positions=positions,
        report_radii=run_settings.shown_radii(config),
        devices=_devices(config),
        place=Place() if options.spread == 'votes' else place,
        training=prepared.training,
        preempted=preempted,
        after_row=after_row,
      )
    except settings.SettingsMismatch as error:
      raise _with_advice(error) from error
  return rows


def merge_dataset(
  config: Any, workdir: str | os.PathLike, *, partly: bool
) -> dict[str, list[int]]:
  """Merges the rows of several processes, as `config.certify` asked for them.

  Args:
    config: The configuration.
    workdir: The working directory.
    partly: Whether to merge even where images are missing.

  Returns:
    The dataset indices of missing images by label, for every certification that
    `config.certify` asks for.

  Raises:
    SettingsMismatch: If the directory holds rows of other settings.
    CorruptShard: If a file of rows is damaged before its last line, or two of
      them disagree.
    FileNotFoundError: If rows are to be merged partly, and nothing of this was
      ever begun.
  """
  refused.check(config, Place())
  source = load_source(config)
  images = source.indices[run_settings.positions(config, source)].tolist()
  missing, folder = {}, folders.expand(workdir) / certify_source.FOLDER
  for run in run_settings.runs(config):
    name = run_settings.label(config, run)
    path = folder / name / certify_source.SETTINGS
    missing[name] = images
    if path.exists() or workers.hold_rows(path.parent):
      try:
        recorded = marks.read(path.parent)
        settings.verify(path, run_plans.identity(run))
      except settings.SettingsMismatch as error:
        raise _with_advice(error) from error
      missing[name] = workers.merge(
        path.parent, recorded, images, partly=partly
      )
  if partly and not any((folder / name).exists() for name in missing):
    raise FileNotFoundError(
      f'nothing to merge: there is no {" or ".join(missing)} in {folder}'
    )
  return missing


def what_is_missing(missing: Mapping[str, Sequence[int]]) -> str:
  """How many images have no row, and the first of them, label by label.

  Args:
    missing: As `merge_dataset` returns it.

  Returns:
    A line for each label of which images are missing.
  """
  lines = []
  for name, images in missing.items():
    if images:
      first = ', '.join(map(str, images[:5]))
      more = ', ...' if len(images) > 5 else ''
      lines.append(f'{name}: {len(images)} images are missing: {first}{more}')
  return '\n'.join(lines)


def report_dataset(config: Any, workdir: str | os.PathLike) -> str:
  """Summarizes and draws what `config.certify` asked for, see `report.report`.

  Returns:
    The text for the terminal.
  """
  return report.report(
    workdir,
    [run_settings.label(config, run) for run in run_settings.runs(config)],
    radii=config.certify.radii,
    source=load_source(config),
  )


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
  claimed = _claimed(config, workdir)
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


def _with_advice(error: settings.SettingsMismatch) -> settings.SettingsMismatch:
  return settings.SettingsMismatch(
    f'{error}; choose another --config.certify.label or --workdir'
  )


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


def _claimed(config: Any, workdir: pathlib.Path) -> dict[str, Any]:
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
