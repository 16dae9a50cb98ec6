"""A working directory, with all that is in it, belongs to one configuration."""

import pathlib
from collections.abc import Mapping
from typing import Any

from dualrs_jax import checkpoints
from dualrs_jax.checkpoints import origin
from dualrs_jax.runtime import settings
from dualrs_jax.training import recorder

#: The settings file of a working directory.
SETTINGS = 'settings.json'
#: Beside it: the source of networks that are not of this library.
SOURCES = 'sources.json'
#: And what images of one's own it was trained on.
IMAGES = 'images.json'
#: Folders of what training leaves, which depends on the images.
_TRAINED = ('checkpoints', 'metrics', 'targets')


def claim(identity: Mapping[str, Any], workdir: pathlib.Path) -> dict[str, Any]:
  """Makes a directory belong to a configuration, or refuses.

  Where its settings file is gone, the checkpoints say whether they are of this
  configuration; the file is then written again.

  Args:
    identity: of the configuration, see `recipe.identity`.
    workdir: the directory.

  Returns:
    The settings in force.

  Raises:
    SettingsMismatch: it belongs to another configuration, or holds something
      that does not say to which.
    ValueError: its settings file is damaged.
  """
  path = workdir / SETTINGS
  mark = settings.fingerprint(identity)
  first = {settings.FINGERPRINT: mark}
  if not path.exists():
    _check_adoption(workdir, {**identity, **first})
  try:
    claimed = settings.claim(path, identity, first=first)
  except settings.SettingsMismatch as error:
    raise settings.SettingsMismatch(
      f'{error}; choose another --workdir, or another name in the configuration'
    ) from error
  if claimed.get(settings.FINGERPRINT, mark) != mark:
    raise settings.SettingsMismatch(
      f'{path} was changed since it was written: put a copy of it back'
    )
  return claimed


def note_sources(
  sources: Mapping[str, str | None], workdir: pathlib.Path
) -> None:
  """Records the source of what is the user's own; warns where it has changed.

  A changed comment is no other network, and weights do not fit another
  architecture: training goes on.

  Args:
    sources: hashes by role, see `networks.sources` and `data.sources`.
    workdir: the directory.
  """
  if sources:
    recorded = {'sources': sources}
    settings.claim(workdir / SOURCES, recorded, advisory=('sources',))


def claim_images(
  fingerprints: Mapping[str, str], workdir: pathlib.Path
) -> None:
  """Makes a directory belong to the images that it is trained on.

  A published data set is known by its name. A folder of one's own may have
  changed since.

  Args:
    fingerprints: of the splits, see `data.Source`.
    workdir: the directory.

  Raises:
    SettingsMismatch: it was trained on others, or holds something that does
      not say on which.
  """
  path = workdir / IMAGES
  # In this order: another process may write the file now, and train then.
  found = [folder for folder in _TRAINED if _holds_files(workdir / folder)]
  if found and not path.exists():
    raise settings.SettingsMismatch(
      f'{workdir / found[0]} is of a training whose {path} is gone: put that'
      ' file back, or choose another --workdir'
    )
  try:
    settings.claim(path, fingerprints)
  except settings.SettingsMismatch as error:
    raise settings.SettingsMismatch(
      f'{workdir} was trained on other images, or some have changed since'
      f' ({path}): choose another --workdir, or restore them'
    ) from error


def _holds_files(folder: pathlib.Path) -> bool:
  return any(path.is_file() for path in folder.rglob('*'))


def _check_adoption(workdir: pathlib.Path, wanted: Mapping[str, Any]) -> None:
  """Raises SettingsMismatch for what was trained under unknown settings."""
  known = False
  for folder in sorted((workdir / 'checkpoints').glob('*/')):
    meta = checkpoints.newest_meta(folder)
    if meta is not None:
      origin.check(folder, meta, stage=folder.name, settings=wanted)
      known = True
  metrics = workdir / 'metrics'
  if not known and recorder.read(metrics / recorder.LINES):
    raise settings.SettingsMismatch(
      f'{metrics} is of a training whose {workdir / SETTINGS} is gone: put that'
      ' file back, or remove the folder'
    )
