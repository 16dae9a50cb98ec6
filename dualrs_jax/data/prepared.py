"""Data sets as tensorflow-datasets prepared them, read without TensorFlow."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from dualrs_jax.data import splits
from dualrs_jax.data.record_files import FORMS

_INFO = 'dataset_info.json'


@dataclasses.dataclass(frozen=True)
class Prepared:
  """One published split on disk; it can be pickled.

  Attributes:
    name: of the data set and the split.
    form: a name in `record_files.FORMS`.
    paths: its files, in order.
    lengths: how many examples each of them holds.
    features: what tensorflow-datasets parses an example with.
  """

  name: str
  form: str
  paths: tuple[pathlib.Path, ...]
  lengths: tuple[int, ...]
  features: Any

  def scan(self, file: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields each example of a file with its place, in the order on disk.

    Raises:
      ValueError: the file is damaged, or holds another number of examples.
    """
    path, count = self.paths[file], 0
    for place, record in FORMS[self.form].scan(path):
      yield place, self._parse(record, path)
      count += 1
    if count != self.lengths[file]:
      raise ValueError(
        f'{path} holds {count} examples where {_INFO} beside it says'
        f' {self.lengths[file]}: copy or prepare it again'
      )

  def read(self, file: int, place: int) -> dict[str, Any]:
    """The example at a place of a file, its image as encoded bytes."""
    path = self.paths[file]
    return self._parse(FORMS[self.form].read(path, place), path)

  def _parse(self, record: bytes, path: pathlib.Path) -> dict[str, Any]:
    import tensorflow_datasets as tfds

    try:
      return self.features.deserialize_example_np(
        record, decoders={'image': tfds.decode.SkipDecoding()}
      )
    except Exception as error:  # of the parser of protocol buffers, and others
      raise ValueError(
        f'{path} is damaged ({type(error).__name__} while an example is'
        ' parsed): copy or prepare it again'
      ) from error


def find(name: str, folder: pathlib.Path) -> pathlib.Path | None:
  """The folder of a data set's newest version in a folder of data sets."""
  versions = [
    path.parent
    for path in (folder / name).glob(f'*/{_INFO}')
    if all(part.isdecimal() for part in path.parent.name.split('.'))
  ]
  return max(versions, default=None, key=_version)


def open_split(folder: pathlib.Path, split: str) -> Prepared:
  """Opens a split of a data set.

  Args:
    folder: of one version of the data set.
    split: its published name.

  Raises:
    DatasetNotFound: the split was not prepared, or files of it are missing.
    ValueError: it has a form that is not in `record_files.FORMS`.
  """
  import tensorflow_datasets as tfds

  info = tfds.builder_from_directory(folder).info
  if split not in info.splits:
    raise splits.DatasetNotFound(
      f'{folder} has no split {split!r}, only {[*info.splits]}: put the archive'
      ' of that split beside the other and prepare the data set again'
    )
  form = info.file_format.value if info.file_format else ''
  if form not in FORMS:
    raise ValueError(
      f'{folder} is in the form {form!r}: prepare it again with'
      ' --file_format=array_record'
    )
  paths = tuple(
    pathlib.Path(os.fspath(p)) for p in info.splits[split].filepaths
  )
  missing = [path for path in paths if not path.exists()]
  if missing:
    raise splits.DatasetNotFound(
      f'{missing[0]} and {len(missing) - 1} further files of {len(paths)} are'
      ' missing: copy or prepare them again'
    )
  return Prepared(
    name=f'{folder.parent.name}-{split}',
    form=form,
    paths=paths,
    lengths=tuple(info.splits[split].shard_lengths),
    features=info.features,
  )


def _version(folder: pathlib.Path) -> tuple[int, ...]:
  return tuple(map(int, folder.name.split('.')))
