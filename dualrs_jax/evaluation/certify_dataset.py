"""Certification of a data set by the networks of a working directory."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from dualrs_jax import folders, sharding
from dualrs_jax.data import Source
from dualrs_jax.evaluation import (
  certify_source,
  distances,
  preparation,
  refused,
  report,
  run_inputs,
  run_settings,
  seeds,
  warned,
)
from dualrs_jax.evaluation.records import Record
from dualrs_jax.runtime import preemption, processes, settings
from dualrs_jax.runtime.processes import Place
from dualrs_jax.training import recipe


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
  `smoothing='cascade'` certifies the cascade of the classifier at `levels`, by
  default all of `sigmas`, the largest first, without an estimator;
  `smoothing='distance'` at a level that follows the distance to the training
  images, as `distance` says. `smoothing='single'` runs plain smoothing of the
  classifier at each of `levels`, one file for each; a classifier that was
  trained at one noise level (a stage 'single-<sigma>', or the one before it,
  'single-<sigma>-0') at that level only.
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
  source = run_inputs.load_source(config) if source is None else source
  positions = run_settings.positions(config, source)
  options, runs = config.certify, []
  training = run_inputs.load_training(config)
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
  run_inputs.claimed_settings(config, workdir)
  source, positions = prepared.source, prepared.positions
  estimator, classifier = run_inputs.load_networks(config, workdir, source)
  seed = options.seed
  folder = workdir / certify_source.FOLDER
  if seed == -1:
    labels = [run_settings.label(config, run) for run in wanted]
    try:
      seed = seeds.drawn(folder, labels)
    except settings.SettingsMismatch as error:
      raise refused.with_advice(error) from error
  if place.first:
    warned.warn_of_radius_cap(config, prepared.runs[0])
    warned.warn_of_classes(source, positions)
  rows = []
  for run in run_settings.runs(config):
    try:
      rows += certify_source.certify_source(
        estimator,
        of_levels(classifier, run),
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
      raise refused.with_advice(error) from error
  return rows


def of_levels(classifier: Any, run: Mapping[str, Any]) -> Any:
  """Of a classifier for each level, those that a certification asks."""
  if not isinstance(classifier, tuple):
    return classifier
  if 'expert' in run:
    return classifier[run['expert']]
  return tuple(
    classifier[k] for k in run.get('experts', range(len(classifier)))
  )


def report_dataset(config: Any, workdir: str | os.PathLike) -> str:
  """Summarizes and draws what `config.certify` asked for, see `report.report`.

  Returns:
    The text for the terminal.
  """
  return report.report(
    workdir,
    [run_settings.label(config, run) for run in run_settings.runs(config)],
    radii=config.certify.radii,
    source=run_inputs.load_source(config),
  )
