"""What ties rows to the settings under which they were computed.

A settings file holds a fingerprint of all that its rows depend on, and each row
has it as its last column. Rows without their settings, or beside those of
another run, are thus refused, however they came there; and where a settings
file is lost, the same command writes it again and knows its rows.

Runs that were begun before there were fingerprints have none in either place,
and go on without.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from dualrs_jax.evaluation import run_plans
from dualrs_jax.evaluation.records import STATUSES
from dualrs_jax.runtime import settings as settings_lib
from dualrs_jax.runtime import shards

#: The settings file of a run, in its folder.
SETTINGS = 'settings.json'

#: Recorded, but a difference does not make other results.
ADVISORY = ('versions', 'compiler', 'git_revision', 'device_count')

#: Recorded of the latest call, which may ask for other images.
LATEST = ('images', 'asked')

_COLUMN = '\tsettings'

#: What no row can be read without.
_NEEDED = ('task', 'smoothing', 'sigmas', 'n', 'alpha', 'num_classes', 'asked')


def of(settings: Mapping[str, Any]) -> str:
  """The fingerprint of what rows depend on.

  Args:
    settings: Of a run. What else its file records does not matter.
  """
  apart = {*ADVISORY, *LATEST, settings_lib.FINGERPRINT}
  kept = run_plans.identity(settings)
  return settings_lib.fingerprint(
    {name: value for name, value in kept.items() if name not in apart}
  )


def check(settings: Mapping[str, Any], path: pathlib.Path) -> None:
  """Raises SettingsMismatch if a settings file was changed by hand.

  Args:
    settings: What it records.
    path: Where it is.
  """
  recorded = settings.get(settings_lib.FINGERPRINT)
  if recorded is not None and recorded != of(settings):
    raise settings_lib.SettingsMismatch(
      f'{path} was changed since it was written, so that it does not say how'
      ' the rows beside it were computed: put a copy of it back'
    )


def read(directory: pathlib.Path) -> dict[str, Any]:
  """The settings of the rows in a folder.

  Raises:
    SettingsMismatch: If there are none, they lack something, or they were
      changed since they were written.
    ValueError: If their file is damaged.
  """
  path = directory / SETTINGS
  if not path.exists():
    raise settings_lib.SettingsMismatch(
      f'{directory} holds rows without the {SETTINGS} that says how they were'
      ' computed: put it back, or certify again, which writes it again if it is'
      ' the same'
    )
  settings = settings_lib.read(path)
  check(settings, path)
  lost = [name for name in _NEEDED if name not in settings]
  if lost:
    raise settings_lib.SettingsMismatch(
      f'{path} does not record {", ".join(lost)}: put a copy of it back'
    )
  return settings


def asked(directory: pathlib.Path, settings: Mapping[str, Any]) -> set[int]:
  """The dataset indices of the images that the latest call asked for.

  Raises:
    ValueError: If the settings do not say so.
  """
  try:
    return set(map(int, settings['asked'].split()))
  except (AttributeError, ValueError) as error:
    raise ValueError(
      f'{directory / SETTINGS} does not say which images were asked for: the'
      ' same command writes that again, and keeps the rows'
    ) from error


def to_header(columns: str, settings: Mapping[str, Any]) -> str:
  """The first line of a file of rows, made of that of their table."""
  return columns + (_COLUMN if settings_lib.FINGERPRINT in settings else '')


def to_line(row: str, settings: Mapping[str, Any]) -> str:
  """The line of a row, made of its text."""
  recorded = settings.get(settings_lib.FINGERPRINT)
  return row if recorded is None else f'{row}\t{recorded}'


def from_line(line: str, settings: Mapping[str, Any]) -> str:
  """The text of a row, made of its line.

  Raises:
    CorruptShard: If the row is one of other settings.
    ValueError: If the line is damaged.
  """
  recorded = settings.get(settings_lib.FINGERPRINT)
  if recorded is None:
    return line
  row, _, found = line.rpartition('\t')
  if found != recorded:
    if found not in STATUSES and len(found) != len(recorded):
      raise ValueError(f'{found!r} is no fingerprint of settings')
    raise shards.CorruptShard(
      f'the row is of other settings ({found}) than the {SETTINGS} beside it'
      f' ({recorded}): put the {SETTINGS} back with which it was computed, or'
      ' move the file to where it is from'
    )
  return row
