"""Trains a dual smoothed classifier, then certifies test images with it.

    python train.py --config configs/digits.py

Interrupted at any point, the same command goes on where it was.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

from configs import command_line
from dualrs_jax.evaluation import asked, certify_dataset
from dualrs_jax.evaluation.report import report
from dualrs_jax.runtime import cluster
from dualrs_jax.runtime.processes import Place
from dualrs_jax.training import loop, recipe


def main(config: Any, workdir: pathlib.Path, place: Place) -> None:
  loop.train(config, workdir)
  labels = []
  for variant in certifications(config):
    certify_dataset.certify_dataset(variant, workdir, place)
    if not place.first:
      continue
    certify_dataset.merge_dataset(variant, workdir, partly=False)
    labels += [asked.label(variant, run) for run in asked.runs(variant)]
  if not place.first:
    return
  print(
    report(
      workdir,
      labels[-1:],
      radii=config.certify.radii,
      source=certify_dataset.load_source(config),
    )
  )


def certifications(config: Any) -> Iterator[Any]:
  """Plain smoothing to compare with, and last what was trained for."""
  trained = recipe.stages(config)
  compared = [stage for stage in trained if stage.startswith('single-')]
  if compared and 'classifier-0' in trained:
    compared.insert(0, 'classifier-0')
  for stage in ['', *compared]:
    yield _certify(config, smoothing='single', classifier=stage)
  yield _certify(config, smoothing='dual', classifier='', estimator='')


def _certify(config: Any, **options) -> Any:
  variant = config.copy_and_resolve_references()
  variant.certify.update(options)
  return variant


if __name__ == '__main__':
  command_line.run(main, lambda config: cluster.start)
