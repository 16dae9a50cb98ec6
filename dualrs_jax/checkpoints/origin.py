"""What a checkpoint was trained for, and whether that is what is asked for.

The description of a checkpoint says of which stage it is and under which
settings it was trained. It thus means the same wherever it is copied to, and
whatever became of the settings file beside it.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from dualrs_jax.checkpoints.description import CheckpointError
from dualrs_jax.runtime import settings as settings_lib

#: Names in the `meta` of a checkpoint.
STAGE = 'stage'
#: The settings of its training, in the same place.
SETTINGS = 'settings'


def record(stage: str, settings: Mapping[str, Any]) -> dict[str, Any]:
  """What the `meta` of a checkpoint says of its origin.

  Args:
    stage: the stage that is trained.
    settings: what the directory was claimed for.
  """
  return {STAGE: stage, SETTINGS: _identity(settings)}


def check(
  directory: pathlib.Path,
  meta: Mapping[str, Any],
  *,
  stage: str,
  settings: Mapping[str, Any],
) -> None:
  """Refuses a checkpoint that is not of this stage and these settings.

  A checkpoint without settings was written before they were recorded. It is
  taken where the directory was claimed then, too: where its settings hold no
  fingerprint.

  Args:
    directory: where the checkpoint is, for the message.
    meta: what the checkpoint says of itself.
    stage: the stage that it is to be of.
    settings: those that the directory was claimed for.

  Raises:
    CheckpointError: it is of another stage.
    SettingsMismatch: it was trained under other settings, or does not say
      under which.
  """
  recorded = _recorded(directory, meta, stage, settings)
  if recorded is not None:
    settings_lib.compare(recorded, _identity(settings), place=directory)


def check_part(
  directory: pathlib.Path,
  meta: Mapping[str, Any],
  *,
  stage: str,
  settings: Mapping[str, Any],
) -> None:
  """The same, of some of the settings alone; see `check`."""
  recorded, wanted = (
    _recorded(directory, meta, stage, settings) or {},
    _identity(settings),
  )
  shared = recorded.keys() & wanted.keys()
  settings_lib.compare(
    {name: recorded[name] for name in recorded if name in shared},
    {name: wanted[name] for name in wanted if name in shared},
    place=directory,
  )


def _recorded(
  directory: pathlib.Path,
  meta: Mapping[str, Any],
  stage: str,
  settings: Mapping[str, Any],
) -> Mapping[str, Any] | None:
  """The settings of a checkpoint of a stage; None if it may have none."""
  found = meta.get(STAGE, stage)
  if found != stage:
    raise CheckpointError(
      f'the checkpoint in {directory} is that of {found}, not of {stage}: put'
      ' its own back, or remove the folder to train it again'
    )
  recorded = meta.get(SETTINGS)
  if isinstance(recorded, dict):
    return recorded
  if settings_lib.FINGERPRINT in settings:
    raise settings_lib.SettingsMismatch(
      f'the checkpoint in {directory} does not say for what configuration it'
      ' was trained: put the settings.json back that it was trained with, or'
      ' remove the folder to train it again'
    )
  return None


def _identity(settings: Mapping[str, Any]) -> dict[str, Any]:
  """Settings as JSON has them, without what is made of them."""
  identity = {
    name: value
    for name, value in settings.items()
    if name != settings_lib.FINGERPRINT
  }
  return json.loads(json.dumps(identity))
