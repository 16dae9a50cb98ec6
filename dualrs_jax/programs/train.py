"""Trains a dual smoothed classifier, then certifies test images with it.

    python train.py --config configs/digits.py

Interrupted at any point, the same command goes on where it was. Several
processes train together (docs/running.md). Then each certifies its share of the
images by itself; the one that ends last prints the table.
"""

import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from absl import flags

from dualrs_jax import checkpoints
from dualrs_jax.evaluation import (
  certify_dataset,
  merge_dataset,
  refused,
  run_inputs,
  run_settings,
  warned,
)
from dualrs_jax.evaluation.report import report
from dualrs_jax.programs import command_line, reports
from dualrs_jax.runtime import cluster, output, processes
from dualrs_jax.runtime.processes import Place
from dualrs_jax.training import loop, recipe, stages

_TRAINED = flags.DEFINE_bool(
  'trained',
  None,
  'Of several processes: the training is done, and each certifies by itself. A'
  ' run that ends its training goes on like that. By default they look whether'
  ' it is; --notrained trains what is missing or damaged.',
)


def run() -> None:
  """Runs the program with the arguments of the command line."""
  command_line.run(main, find_place, doc=__doc__, own=[_TRAINED.name])


def main(config: Any, workdir: pathlib.Path, place: Place) -> None:
  """Trains, certifies, and prints the table."""
  joined = processes.here().count > 1
  if joined or place.count == 1:
    check(config, place)
    loop.train(config, workdir)
  if joined and not _votes_together(config):
    processes.leave([*sys.orig_argv[1:], f'--{_TRAINED.name}'])
  try:
    certify(config, workdir, place)
  except checkpoints.CheckpointError as error:
    raise checkpoints.CheckpointError(
      f'{error}; the same command with --no{_TRAINED.name} trains what is'
      ' missing or damaged'
    ) from error


def check(config: Any, place: Place) -> None:
  """Says before the training what would end the certification after it."""
  recipe.check(config)
  refused.check_baselines(config)
  refused.check_choices(config)
  _check_chosen(config.certify)
  source = run_inputs.load_source(config)
  for variant in certifications(config):
    prepared = certify_dataset.prepare(variant, place, source)
    if processes.here().first:
      warned.warn_of_radius_cap(variant, prepared.runs[0])


def _check_chosen(options: Any) -> None:
  """Raises ValueError for choices that are those of this program."""
  usual = {'smoothing': 'dual', 'levels': (), 'classifier': '', 'estimator': ''}
  for name, value in usual.items():
    if options[name] != value:
      raise ValueError(
        f'certify.{name} = {options[name]!r} is for certify.py: training ends'
        ' with certificates of the dual and of each level, of the last stages;'
        ' leave it out here'
      )


def certify(config: Any, workdir: pathlib.Path, place: Place) -> None:
  """Certifies what was trained; prints the table once all rows are there."""
  variants = list(certifications(config))
  for variant in variants:
    after_row = reports.while_running(variant, workdir, place)
    certify_dataset.certify_dataset(variant, workdir, place, after_row)
  if not processes.here().first:
    return
  missing = {}
  for variant in variants:
    missing |= merge_dataset.merge_dataset(variant, workdir, partly=False)
  if any(missing.values()):
    output.say(merge_dataset.what_is_missing(missing))
    output.say(
      'they are the shares of other processes; the last prints the table'
    )
    return
  [*_, dual] = run_settings.runs(variants[-1])
  output.say(
    report(
      workdir,
      [run_settings.label(variants[-1], dual)],
      radii=config.certify.radii,
      source=run_inputs.load_source(config),
    )
  )
  for variant in variants:
    output.say(reports.write(variant, workdir))


def find_place(config: Any, workdir: pathlib.Path) -> Callable[..., Place]:
  """How a process finds its place: while it trains, it needs the others."""
  if _votes_together(config):
    return cluster.start
  trained = _TRAINED.value
  if trained is None:
    trained = loop.is_trained(config, workdir)
  return cluster.locate if trained else cluster.start


def _votes_together(config: Any) -> bool:
  return config.certify.spread == 'votes'


def certifications(config: Any) -> Iterator[Any]:
  """Plain smoothing to compare with, and last what was trained for."""
  compared = [stages.single(sigma) for sigma in config.baselines]
  if compared and 'classifier-0' in recipe.stages(config):
    compared.insert(0, 'classifier-0')
  for stage in ['', *compared]:
    yield _certify(config, smoothing='single', classifier=stage)
  yield _certify(config, smoothing='dual', classifier='', estimator='')


def _certify(config: Any, **options) -> Any:
  variant = config.copy_and_resolve_references()
  variant.certify.update(options)
  return variant
