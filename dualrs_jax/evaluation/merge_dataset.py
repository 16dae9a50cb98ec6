"""Rows of several processes become one file for each certification."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from dualrs_jax import folders
from dualrs_jax.evaluation import (
  certify_source,
  marks,
  refused,
  run_inputs,
  run_plans,
  run_settings,
  workers,
)
from dualrs_jax.runtime import settings
from dualrs_jax.runtime.processes import Place


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
  source = run_inputs.load_source(config)
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
        raise refused.with_advice(error) from error
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
