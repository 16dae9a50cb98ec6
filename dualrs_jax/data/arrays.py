"""Images in files of NumPy: `.npz`, one for each split."""

import pathlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from dualrs_jax import folders
from dualrs_jax.data import splits
from dualrs_jax.data.source import Source

_NEEDED = ('images', 'labels')

#: Less than half a step of 8 bits: nothing that was scaled is so near to 1.
_ROUNDING = 1e-3

#: Where they have no names, so many more classes than images are a mistake.
_EMPTY_CLASSES = 10_000


def load(
  split: str,
  *,
  data_dir: str = '',
  validation_share: float = 0.1,
  test_share: float = 0.2,
) -> Source:
  """A split of images in NumPy's own files, in memory.

  The folder has `train.npz`, `validation.npz` and `test.npz`, as `numpy.savez`
  writes them. A split without a file is carved out of the training images, by
  the hash of an image's place in its file. That place is the dataset index, so
  that the noise of the others stays where images are added at the end.

  In a file are

    images: `[images, height, width, channels]`, or without channels for grey:
      uint8, or floating-point numbers in [0, 1], which are rounded to the
      nearest of the 256 values of 8 bits.
    labels: a class from 0 on for each image.
    names: optionally, the name of each class. Without them there are as many
      classes as the labels of all files say; at most 10,000 more than images.

  Args:
    split: 'train', 'validation' or 'test'.
    data_dir: the folder.
    validation_share: of the training images, where there is no validation set.
    test_share: the same for a test set.

  Returns:
    The split.

  Raises:
    DatasetNotFound: no such folder, or no file for the split.
    ValueError: what is in a file is something else; in one sentence.
  """
  splits.check_name(split)
  if not data_dir:
    raise splits.DatasetNotFound(
      "the data set 'arrays' is in the folder that data.data_dir names, and it"
      ' names none: --config.data.data_dir=pictures names one'
    )
  root = folders.expand(data_dir)
  paths = {name: root / f'{name}.npz' for name in splits.SPLITS}
  there = {name for name, path in paths.items() if path.is_file()}
  served = split if split in there else 'train'
  if served not in there:
    raise splits.DatasetNotFound(
      f'there is no {paths[split]}'
      + (f', nor {paths["train"]} to carve it out of' * (split != 'train'))
      + ': save images and labels in it with numpy.savez'
    )
  found = _read(paths[served])
  classes = _num_classes({name: paths[name] for name in there})
  positions, provenance = np.arange(len(found.labels)), ''
  if served == 'train':
    positions, provenance = splits.carve(
      [str(place) for place in range(len(found.labels))],
      split,
      missing={'validation', 'test'} - there,
      validation_share=validation_share,
      test_share=test_share,
      where=str(root),
    )
  return Source(
    found.images[positions],
    found.labels[positions],
    positions.astype(np.int64),
    classes,
    class_names=found.names,
    provenance=provenance,
  )


class _Arrays(NamedTuple):
  images: UInt8[np.ndarray, 'images height width channels']
  labels: Int[np.ndarray, ' images']
  names: tuple[str, ...] | None


def _read(path: pathlib.Path) -> _Arrays:
  [images, labels], names = _arrays(path, _NEEDED), _names(path)
  labels = _classes(path, labels)
  if labels.shape != images.shape[:1]:
    raise ValueError(
      f'{path} has images of shape {images.shape} and labels of shape'
      f' {labels.shape}, and should have one label for each image'
    )
  return _Arrays(_pixels(path, images), labels, names)


def _arrays(
  path: pathlib.Path, wanted: tuple[str, ...], *, needed: bool = True
) -> list[np.ndarray]:
  """Arrays of a file; none where one lacks that is not needed."""
  try:
    with path.open('rb') as file, np.load(file) as saved:
      if not isinstance(saved, np.lib.npyio.NpzFile):
        raise ValueError('a single array')
      lost = [name for name in wanted if name not in saved]
      if not lost:
        return [saved[name] for name in wanted]
      if not needed:
        return []
      there = ', '.join(saved.files) or 'nothing'
  except Exception as error:  # the kinds differ with the bytes
    reason = str(error).partition('\n')[0] or type(error).__name__
    raise ValueError(
      f'{path} is no .npz file of plain arrays ({reason}): write it with'
      ' numpy.savez(path, images=images, labels=labels)'
    ) from error
  raise ValueError(
    f'{path} has no array {lost[0]!r}, but {there}: numpy.savez(path,'
    ' images=images, labels=labels) names them'
  )


def _pixels(
  path: pathlib.Path, images: np.ndarray
) -> UInt8[np.ndarray, 'images height width channels']:
  """The images as they are kept."""
  if images.ndim == 3:
    images = images[..., None]
  if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
    hint = ''
    if images.ndim == 4 and images.shape[1] in (1, 3):
      hint = ': images.transpose(0, 2, 3, 1) brings channels to the end'
    raise ValueError(
      f'{path} has images of shape {images.shape}, which should be [images,'
      f' height, width, channels] with 1 or 3 channels{hint}'
    )
  if images.dtype == np.uint8:
    return images
  if not np.issubdtype(images.dtype, np.floating):
    raise ValueError(
      f'{path} has images of {images.dtype}, which should be uint8 (0 to 255)'
      ' or floating-point numbers in [0, 1]'
    )
  low, high = images.min(), images.max()
  if not (low >= 0 and high <= 1):  # a NaN is neither
    advice = 'divide by 255, or undo what was taken from them'
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:
      advice = 'numpy.clip(images, 0, 1) undoes what rounding did'
    raise ValueError(
      f'{path} has floating-point images from {low!s} to {high!s}, which should'
      f' be in [0, 1]: {advice}'
    )
  rounded = np.rint(images * 255).astype(np.uint8)
  splits.tell_once(
    f'{path} has images of {images.dtype}: they are rounded to 8 bits, which'
    f' changes a pixel by at most {np.abs(rounded / 255 - images).max():.2g}'
  )
  return rounded


def _classes(
  path: pathlib.Path, labels: np.ndarray
) -> Int[np.ndarray, ' images']:
  if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
    raise ValueError(
      f'{path} has labels of {labels.dtype} and shape {labels.shape}, which'
      ' should be a list of whole numbers from 0 on'
    )
  wrong = labels[(labels < 0) | (labels >= 2**31)]
  if len(wrong):
    raise ValueError(
      f'{path} has the label {wrong[0]}, and classes are numbered from 0'
    )
  return labels.astype(np.int32)


def _names(path: pathlib.Path) -> tuple[str, ...] | None:
  found = _arrays(path, ('names',), needed=False)
  if not found:
    return None
  [names] = found
  if names.ndim != 1 or names.dtype.kind not in 'US':
    raise ValueError(
      f'{path} has names of {names.dtype} and shape {names.shape}, which should'
      ' be a list of texts, one for each class'
    )
  try:
    return tuple(
      name.decode() if isinstance(name, bytes) else str(name) for name in names
    )
  except ValueError as error:
    raise ValueError(
      f'{path} has names that are no UTF-8 ({error}): save texts, as'
      " numpy.array(['cat', 'dog']) makes them"
    ) from error


def _num_classes(paths: dict[str, pathlib.Path]) -> int:
  """How many classes all files have together; they must agree on names."""
  known = {path: _names(path) for path in paths.values()}
  if len({*known.values()}) > 1:
    [one, other, *_] = known
    raise ValueError(
      f'{one} and {other} have other names of classes, or only one of them has'
      ' some: give all files the same'
    )
  [names] = {*known.values()}
  most, images = -1, 0
  for path in paths.values():
    [labels] = _arrays(path, ('labels',))
    most = max(most, int(_classes(path, labels).max(initial=-1)))
    images += len(labels)
  if names is None and most >= images + _EMPTY_CLASSES:
    raise ValueError(
      f'{[*paths.values()][0].parent} has the label {most}, and only {images}'
      ' images: number classes from 0 without gaps, or save the names of all'
      ' classes as names'
    )
  if names is not None and most >= len(names):
    raise ValueError(
      f'{paths.popitem()[1].parent} has the label {most} and names for'
      f' {len(names)} classes'
    )
  return most + 1 if names is None else len(names)
