"""CIFAR-10, from what tensorflow-datasets prepared or its original archive."""

import gzip
import math
import pathlib
import tarfile
import zlib

import numpy as np
from jaxtyping import Int, UInt8

from dualrs_jax.data import decoding, prepared, splits
from dualrs_jax.data.source import Source

#: The name of the data set at tensorflow-datasets.
NAME = 'cifar10'
#: The file that its makers publish.
ARCHIVE = 'cifar-10-binary.tar.gz'
#: Where that file is.
URL = f'https://www.cs.toronto.edu/~kriz/{ARCHIVE}'
#: How many classes there are.
NUM_CLASSES = 10
#: The shape of an image.
SHAPE = (32, 32, 3)

#: Of each split: the published set, its size, and its files in the archive.
PUBLISHED = {
  'train': ('train', 50_000, [f'data_batch_{n}.bin' for n in range(1, 6)]),
  'test': ('test', 10_000, ['test_batch.bin']),
}
PUBLISHED['validation'] = PUBLISHED['train']

_ABOUT_VALIDATION = (
  "CIFAR-10 is published without a validation set; 'validation' is for images"
  ' held out of the training set, so say with held_out how many'
)


def load(split: str, *, data_dir: str = '', held_out: int = 0) -> Source:
  """A split of CIFAR-10, in memory.

  The dataset index of an image is its number in the published files: those of
  the archive in their order, which is also the number in the `id` that
  tensorflow-datasets gives it. Training images keep theirs in 'validation'.

  Args:
    split: 'test' (10,000 images), 'train' (50,000 less those held out) or
      'validation'.
    data_dir: the folder with the folder cifar10 as tensorflow-datasets prepared
      it, in either form, or else with cifar-10-binary.tar.gz as it was
      downloaded; by default TFDS_DATA_DIR of the environment or
      ~/tensorflow_datasets. TensorFlow is needed for neither.
    held_out: how many training images make up 'validation', at equal distances.

  Returns:
    The split.

  Raises:
    DatasetNotFound: the data set is not there; the text says what to do.
    ValueError: an unknown or empty split, or a damaged file.
  """
  splits.check(split, held_out, _ABOUT_VALIDATION)
  name, size, files = PUBLISHED[split]
  folder = splits.data_folder(data_dir)
  version, archive = prepared.find(NAME, folder), folder / ARCHIVE
  if version is not None:
    images, labels = _read_prepared(_open(version, name))
  elif archive.exists():
    images, labels = _read_archive(archive, files)
  else:
    prepared.refuse_remains(NAME, folder)
    raise splits.DatasetNotFound(
      f'CIFAR-10 is not in {folder}: download {URL} to it, or set TFDS_DATA_DIR'
      f' or data_dir to the folder that has {NAME}, prepared by'
      f' tensorflow-datasets, or {ARCHIVE}'
    )
  splits.warn_if_incomplete(
    f'{NAME}-{name}', examples=len(labels), published=size
  )
  members = splits.members(split, examples=len(labels), held_out=held_out)
  return Source(
    images[members], labels[members], members.astype(np.int64), NUM_CLASSES
  )


def _open(version: pathlib.Path, name: str) -> prepared.Prepared:
  return prepared.open_split(
    version, name, needs=['id'], num_classes=NUM_CLASSES
  )


def _read_prepared(
  files: prepared.Prepared,
) -> tuple[UInt8[np.ndarray, 'images 32 32 3'], Int[np.ndarray, ' images']]:
  """All images in the order of their numbers, which are shuffled on disk."""
  count = sum(files.lengths)
  images = np.empty((count, *SHAPE), np.uint8)
  labels = np.full(count, -1, np.int32)
  for file, path in enumerate(files.paths):
    for record, (_, example) in enumerate(files.scan(file)):
      where = f'record {record} of {path}'
      number = example['id'].rpartition(b'_')[2].decode('latin-1')
      if not number.isdecimal() or int(number) >= count:
        raise ValueError(
          f'{where} holds image {number!r} out of {count}: prepare the data set'
          ' again'
        )
      number = int(number)
      if labels[number] >= 0:
        raise ValueError(
          f'{where} holds image {number} for the second time: prepare the data'
          ' set again'
        )
      image = np.asarray(decoding.decode(example['image'], where))
      if image.shape != SHAPE:
        raise ValueError(
          f'{where} holds an image of shape {image.shape}, not {SHAPE}: prepare'
          ' the data set again'
        )
      images[number], labels[number] = image, example['label']
  return images, labels


def _read_archive(
  path: pathlib.Path, files: list[str]
) -> tuple[UInt8[np.ndarray, 'images 32 32 3'], Int[np.ndarray, ' images']]:
  """All images in the order of the archive's files.

  An image is a byte for its class and one for each pixel, red before green
  before blue.
  """
  height, width, channels = SHAPE
  found = _unpacked(path, files)
  records = np.concatenate([_records(found.get(n), path, n) for n in files])
  planes = records[:, 1:].reshape(-1, channels, height, width)
  images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
  return images, records[:, 0].astype(np.int32)


def _unpacked(path: pathlib.Path, files: list[str]) -> dict[str, bytes]:
  """The contents of these files of the archive."""
  found = {}
  try:
    with (
      gzip.open(path) as stream,
      tarfile.open(fileobj=stream, mode='r|') as archive,
    ):
      for member in archive:
        name = pathlib.PurePosixPath(member.name).name
        if name in files and (content := archive.extractfile(member)):
          found[name] = content.read()
      while stream.read(2**20):  # its checksum is at the end
        pass
  except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
    raise _damaged(path, str(error)) from error
  except ValueError as error:  # numbers and names in a member's header
    raise _damaged(path, f'a header in it: {error}') from error
  return found


def _records(
  content: bytes | None, path: pathlib.Path, name: str
) -> UInt8[np.ndarray, 'images bytes']:
  """The records of a file of the archive."""
  length = 1 + math.prod(SHAPE)
  if content is None:
    raise _damaged(path, f'{name} is missing')
  if not content or len(content) % length:
    raise _damaged(
      path,
      f'{name} has {len(content)} bytes, not a multiple of the {length} of an'
      ' image',
    )
  records = np.frombuffer(content, np.uint8).reshape(-1, length)
  wrong = np.flatnonzero(records[:, 0] >= NUM_CLASSES)
  if len(wrong):
    raise _damaged(
      path,
      f'record {wrong[0]} of {name} has label {records[wrong[0], 0]}, where'
      f' there are {NUM_CLASSES} classes',
    )
  return records


def _damaged(path: pathlib.Path, fault: str) -> ValueError:
  return ValueError(
    f'{path} is damaged or incomplete ({fault}): download it again from {URL}'
  )
