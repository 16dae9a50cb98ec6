"""Where a data set that tensorflow-datasets prepares is, by its name."""

import logging
import pathlib
import re

from dualrs_jax.data import prepared, splits

logger = logging.getLogger(__name__)

_NAME = re.compile(
  r'(?P<name>[a-z]\w*)(/(?P<variant>[\w.+-]+))?(:(?P<version>\d+\.\d+\.\d+))?'
)


def find(dataset: str, folder: pathlib.Path, *, download: bool) -> pathlib.Path:
  """The folder of one version of a data set.

  Args:
    dataset: as tensorflow-datasets writes it: `name`, `name/config`, and each
      with `:version`. Without one the newest version is taken, and the
      configuration of which there is only one.
    folder: of all data sets.
    download: whether it is prepared by tensorflow-datasets if it is not there.

  Raises:
    ValueError: it is no such name, several configurations were prepared, or
      preparing it failed.
    DatasetNotFound: it is not there; the text has the command.
  """
  parts = _NAME.fullmatch(dataset)
  if parts is None:
    raise ValueError(
      f"'tfds:{dataset}' names no data set: it is written tfds:name,"
      ' tfds:name/config or tfds:name/config:1.2.3'
    )
  name, variant, version = parts['name'], parts['variant'], parts['version']
  found = _look(name, variant, version, folder)
  if found is not None:
    return found
  whole = f'{name}/{variant}' if variant else name
  if download:
    _prepare(whole, version, folder)
    found = _look(name, variant, version, folder)
    if found is not None:
      return found
  if prepared.find(whole, folder) is None:
    prepared.refuse_remains(whole, folder)
  wanted = f'{whole}:{version}' if version else whole
  raise splits.DatasetNotFound(
    f'{wanted} is not prepared in {folder}: set data.data_dir or TFDS_DATA_DIR'
    ' to the folder that has it, or prepare it there with'
    f' data.download = True, or, with tensorflow installed, with'
    f' tfds build {wanted} --data_dir={folder}'
  )


def _look(
  name: str, variant: str | None, version: str | None, folder: pathlib.Path
) -> pathlib.Path | None:
  places = [f'{name}/{variant}' if variant else name]
  if variant is None and not prepared.find(name, folder):
    places = sorted(
      path.relative_to(folder).as_posix()
      for path in (folder / name).glob('*')
      if prepared.find(path.relative_to(folder).as_posix(), folder)
    )
  if len(places) > 1:
    raise ValueError(
      f'{folder / name} has several configurations: write one of'
      f' {", ".join(f"tfds:{place}" for place in places)}'
    )
  for place in places:
    if version is None:
      return prepared.find(place, folder)
    if (folder / place / version / 'dataset_info.json').exists():
      return folder / place / version
  return None


def _prepare(whole: str, version: str | None, folder: pathlib.Path) -> None:
  """Has tensorflow-datasets download and write a data set."""
  import tensorflow_datasets as tfds

  wanted = f'{whole}:{version}' if version else whole
  logger.info('%s is prepared in %s, once', wanted, folder)
  try:
    builder = tfds.builder(
      wanted, data_dir=str(folder), file_format='array_record'
    )
    builder.download_and_prepare()
  except Exception as error:  # of the network, of builders, of the disk
    reason = str(error).strip().partition('\n')[0]
    advice = (
      'install tensorflow, which its builder needs'
      if "'tensorflow'" in str(error)
      else 'see what is wrong, or prepare it elsewhere and copy its folder'
    )
    raise ValueError(
      f'tensorflow-datasets could not prepare {wanted}'
      f' ({type(error).__name__}: {reason}): {advice}'
    ) from error
