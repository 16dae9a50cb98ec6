"""The seed of a working directory, where none is asked for."""

import pathlib
from collections.abc import Sequence

from dualrs_jax.evaluation import marks, workers
from dualrs_jax.runtime import settings

#: Name of the file of the seed, beside the rows.
FILE = 'seed.json'


def drawn(folder: pathlib.Path, labels: Sequence[str]) -> int:
  """The seed that was drawn for a folder of certifications, once.

  It is on the disk before the first vote. Where it is lost, no other one is
  drawn for rows that are there.

  Args:
    folder: The folder; created if it is missing.
    labels: The certifications that are to have the seed.

  Raises:
    SettingsMismatch: If it is lost, and one of these has begun.
    ValueError: If the file is damaged.
  """
  path = folder / FILE
  begun = [label for label in labels if _has_begun(folder / label)]
  if begun and not path.exists():  # in this order: the seed is written first
    where = folder / begun[0] / marks.SETTINGS
    raise settings.SettingsMismatch(
      f'{path} is gone, and {begun[0]} was begun before: it goes on if that'
      f' file is put back, or with the seed of {where} as --config.certify.seed'
    )
  seed = settings.claim(path, {}, once={'seed': settings.fresh_seed()})['seed']
  if type(seed) is not int:
    raise ValueError(
      f'{path} records {seed!r}, which is no seed: put a copy of it back'
    )
  return settings.check_seed(seed)


def _has_begun(directory: pathlib.Path) -> bool:
  return (directory / marks.SETTINGS).exists() or workers.hold_rows(directory)
