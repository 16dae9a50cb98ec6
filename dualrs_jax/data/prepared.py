"""Data sets as tensorflow-datasets prepared them, read without TensorFlow."""

import codecs
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dualrs_jax.data import splits
from dualrs_jax.data.record_files import FORMS

_INFO = 'dataset_info.json'
_FEATURES = 'features.json'


@dataclasses.dataclass(frozen=True)
class Prepared:
  """One published split on disk; it can be pickled.

  Attributes:
    name: of the data set and the split.
    form: a name in `record_files.FORMS`.
    paths: its files, in order.
    lengths: how many examples each of them holds.
    features: what tensorflow-datasets parses an example with.
    image: the feature that is the image.
    label: the feature that is its class.
  """

  name: str
  form: str
  paths: tuple[pathlib.Path, ...]
  lengths: tuple[int, ...]
  features: Any
  image: str = 'image'
  label: str = 'label'

  def scan(self, file: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields each example of a file with its place, in the order on disk.

    Raises:
      ValueError: the file is damaged, or holds another number of examples.
    """
    path, count = self.paths[file], 0
    for place, record in FORMS[self.form].scan(path):
      yield place, self._parse(record, f'record {count} of {path}')
      count += 1
    if count != self.lengths[file]:
      raise ValueError(
        f'{path} holds {count} examples where {_INFO} beside it says'
        f' {self.lengths[file]}: copy or prepare it again'
      )

  def read(self, file: int, place: int) -> dict[str, Any]:
    """The example at a place of a file, its image as encoded bytes."""
    path = self.paths[file]
    record = FORMS[self.form].read(path, place)
    return self._parse(record, f'the record at place {place} of {path}')

  def _parse(self, record: bytes, where: str) -> dict[str, Any]:
    import tensorflow_datasets as tfds

    try:
      example = self.features.deserialize_example_np(
        record, decoders={self.image: tfds.decode.SkipDecoding()}
      )
      label = int(example[self.label])
      classes = self.features[self.label].num_classes
    except Exception as error:  # of the parser of protocol buffers, and others
      raise ValueError(
        f'{where} is damaged ({type(error).__name__} while an example is'
        ' parsed): copy or prepare it again'
      ) from error
    if label == -1:
      raise ValueError(
        f'{where} has no label (-1), as of a split whose labels were not'
        ' published: choose another split of the data set'
      )
    if not 0 <= label < classes:
      raise ValueError(
        f'{where} has label {label}, where there are {classes} classes: copy'
        ' or prepare it again'
      )
    return example


def find(name: str, folder: pathlib.Path) -> pathlib.Path | None:
  """The folder of a data set's newest version in a folder of data sets."""
  return _newest((folder / name).glob(f'*/{_INFO}'))


def refuse_remains(name: str, folder: pathlib.Path) -> None:
  """Refuses a folder with features of a data set but no description.

  Raises:
    DatasetNotFound: there is one, and not what `find` looks for.
  """
  if version := _newest((folder / name).glob(f'*/{_FEATURES}')):
    raise splits.DatasetNotFound(
      f'{version / _INFO} is missing: copy or prepare it again'
    )


def open_split(
  folder: pathlib.Path,
  split: str,
  *,
  needs: Sequence[str] = (),
  num_classes: int | None = None,
  image: str = 'image',
  label: str = 'label',
) -> Prepared:
  """Opens a split of a data set.

  Args:
    folder: of one version of the data set.
    split: its published name.
    needs: the features of an example that are used beside image and label.
    num_classes: how many classes the data set has; None for any number.
    image: the feature that is the image.
    label: the feature that is its class.

  Raises:
    DatasetNotFound: the split was not prepared, or files of it are missing.
    ValueError: it has a form that is not in `record_files.FORMS`, no examples,
      or is of another version, or described by a damaged file.
  """
  info = described(folder)
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
  for name in (image, label, *needs):
    if name not in info.features:
      raise ValueError(
        f'{folder / _FEATURES} has no feature {name!r}, only'
        f' {[*info.features]}, as of another version of the data set: prepare'
        ' it again'
      )
  classes = getattr(info.features[label], 'num_classes', None)
  if num_classes not in (None, classes):
    raise ValueError(
      f'{folder} has {classes} classes where the published data set has'
      f' {num_classes}: prepare it again'
    )
  try:
    paths = tuple(
      pathlib.Path(os.fspath(p)) for p in info.splits[split].filepaths
    )
    lengths = tuple(info.splits[split].shard_lengths)
  except Exception as error:
    raise _unreadable(folder / _INFO, error) from error
  missing = [path for path in paths if not path.exists()]
  if missing:
    raise splits.DatasetNotFound(
      f'{missing[0]} and {len(missing) - 1} further files of {len(paths)} are'
      ' missing: copy or prepare them again'
    )
  if not sum(lengths):
    raise ValueError(
      f'{folder} has no examples of the split {split!r}: prepare it again'
    )
  return Prepared(
    name=f'{folder.parent.name}-{split}',
    form=form,
    paths=paths,
    lengths=lengths,
    features=info.features,
    image=image,
    label=label,
  )


def described(folder: pathlib.Path) -> Any:
  """What the two files of a prepared data set say of it.

  Args:
    folder: of one version of the data set.

  Raises:
    DatasetNotFound: one of them is missing.
    ValueError: one of them is damaged.
  """
  import tensorflow_datasets as tfds

  for path in (folder / _INFO, folder / _FEATURES):
    if not path.exists():
      raise splits.DatasetNotFound(
        f'{path} is missing: copy or prepare it again'
      )
    try:
      content = path.read_bytes()
      described = json.loads(content)
    except ValueError as error:
      raise _unreadable(path, error) from error
    if not isinstance(described, dict):
      raise _unreadable(path, ValueError('no JSON object'))
    if content.startswith(codecs.BOM_UTF8):  # of an editor's
      raise _unreadable(path, ValueError('a byte-order mark before its text'))
  try:
    return tfds.builder_from_directory(folder).info
  except Exception as error:  # also of the parser of protocol buffers
    raise _unreadable(folder, error) from error


def _unreadable(path: pathlib.Path, error: Exception) -> ValueError:
  reason = str(error).partition('\n')[0] or type(error).__name__
  return ValueError(
    f'{path} is not what tensorflow-datasets reads ({reason}): copy or prepare'
    ' it again'
  )


def _newest(files: Iterable[pathlib.Path]) -> pathlib.Path | None:
  versions = [
    path.parent
    for path in files
    if all(part.isdecimal() for part in path.parent.name.split('.'))
  ]
  return max(versions, default=None, key=_version)


def _version(folder: pathlib.Path) -> tuple[int, ...]:
  return tuple(map(int, folder.name.split('.')))
