"""CIFAR-10, from what tensorflow-datasets prepared or its original archive."""

import gzip
import pathlib
import tarfile
import zlib

import numpy as np
from jaxtyping import Int, UInt8

from dualrs_jax.data import prepared, splits, transforms
from dualrs_jax.data.source import Source

NAME = 'cifar10'
ARCHIVE = 'cifar-10-binary.tar.gz'
URL = f'https://www.cs.toronto.edu/~kriz/{ARCHIVE}'
NUM_CLASSES = 10
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
    images, labels = _read_prepared(prepared.open_split(version, name))
  elif archive.exists():
    images, labels = _read_archive(archive, files)
  else:
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


def _read_prepared(
  files: prepared.Prepared,
) -> tuple[UInt8[np.ndarray, 'images 32 32 3'], Int[np.ndarray, ' images']]:
  """All images in the order of their numbers, which are shuffled on disk."""
  count = sum(files.lengths)
  images = np.empty((count, *SHAPE), np.uint8)
  labels = np.full(count, -1, np.int32)
  for file in range(len(files.paths)):
    for _, example in files.scan(file):
      number = int(example['id'].rpartition(b'_')[2])
      if not (number < count and labels[number] < 0):
        raise ValueError(
          f'{files.paths[file]} holds image {number} out of {count}, or holds'
          ' it twice: prepare the data set again'
        )
      images[number] = np.asarray(transforms.decode(example['image']))
      labels[number] = example['label']
  return images, labels


def _read_archive(
  path: pathlib.Path, files: list[str]
) -> tuple[UInt8[np.ndarray, 'images 32 32 3'], Int[np.ndarray, ' images']]:
  """All images in the order of the archive's files.

  An image is a byte for its class and one for each pixel, red before green
  before blue.
  """
  height, width, channels = SHAPE
  found = {}
  try:
    with tarfile.open(path, 'r:gz') as archive:
      for member in archive:
        name = pathlib.PurePosixPath(member.name).name
        if name in files and (content := archive.extractfile(member)):
          found[name] = np.frombuffer(content.read(), np.uint8)
    records = np.concatenate([found[name] for name in files])
    records = records.reshape(-1, 1 + height * width * channels)
  except (
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    KeyError,
    ValueError,
  ) as error:
    raise ValueError(
      f'{path} is damaged or incomplete ({error}): download it again from {URL}'
    ) from error
  planes = records[:, 1:].reshape(-1, channels, height, width)
  images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
  return images, records[:, 0].astype(np.int32)
