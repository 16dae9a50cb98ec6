"""Any image classification data set that tensorflow-datasets prepares.

The files are read in both of their forms, without TensorFlow.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dualrs_jax.data import (
  prepared,
  splits,
  tfds_folder,
  tfds_index,
  views,
)
from dualrs_jax.data.encoded_images import MOST_IN_MEMORY, EncodedImages
from dualrs_jax.data.prepared import Prepared
from dualrs_jax.data.source import Source
from dualrs_jax.data.views import View


def load(
  split: str,
  *,
  dataset: str,
  data_dir: str = '',
  download: bool = False,
  image_feature: str = '',
  label_feature: str = '',
  train_split: str = '',
  validation_split: str = '',
  test_split: str = '',
  validation_share: float = 0.1,
  test_share: float = 0.2,
  size: int | Sequence[int] = (),
  resize: int = 0,
  crop: int = 0,
) -> Source:
  """A split of a data set of tensorflow-datasets.

  The dataset index of an image is its place among the examples of the split
  that it was published in, file after file. Where a data set has no test or
  validation split, one is carved out of its training images, by the hash of
  that number; images keep their number there.

  Images are in memory if those of a published split take up to 2 GiB as they
  are shown, and are else read from the disk as needed. They are shown as they
  are stored: an orientation in EXIF is left out, as in published results.

  Args:
    split: 'train', 'validation' or 'test'.
    dataset: its name, see `tfds_folder.find`.
    data_dir: the folder of all data sets; by default TFDS_DATA_DIR of the
      environment or ~/tensorflow_datasets.
    download: whether tensorflow-datasets is to prepare what is not there.
    image_feature: the feature that is the image; by default the only one.
    label_feature: the feature that is its class; by default the only one.
    train_split: the published split for 'train'; by default that of this name.
    validation_split: the same for 'validation'.
    test_split: the same for 'test'.
    validation_share: of the training images, where there is no validation set.
    test_share: the same for a test set.
    size: height and width (or one number for both) to which an image is
      brought: resized to just cover them, and the middle cut out.
    resize: instead, the new length of the shorter side.
    crop: and height and width of the square that is cut from the middle of it;
      by default `resize`. Without `resize`, of the image as it is.

  Returns:
    The split, with the names of the classes.

  Raises:
    DatasetNotFound: it is not prepared; the text has the command.
    ValueError: no such split or feature, images of several sizes and no option
      that brings them to one, or damaged files.
  """
  splits.check_name(split)
  version = tfds_folder.find(
    dataset, splits.data_folder(data_dir), download=download
  )
  where = f'tfds:{dataset}'
  info = prepared.described(version)
  image, label = _features(where, info, image_feature, label_feature)
  published = {
    'train': train_split,
    'validation': validation_split,
    'test': test_split,
  }
  served = _published(where, [*info.splits], published)
  if served[split] is None and served['train'] is None:
    raise ValueError(
      f'{where} has no split {split!r} and none to carve it out of, only'
      f' {", ".join(info.splits)}: data.{split}_split = {[*info.splits][0]!r},'
      ' for one, takes that'
    )
  files = prepared.open_split(
    version, served[split] or str(served['train']), image=image, label=label
  )
  options = {'size': size, 'resize': resize, 'crop': crop}
  everything = _read(files, info.features[image], where, options)
  positions, provenance = np.arange(len(everything)), ''
  if served[split] in (None, served['train']):
    positions, provenance = splits.carve(
      [str(place) for place in range(len(everything))],
      split,
      missing={name for name, found in served.items() if found is None},
      validation_share=validation_share,
      test_share=test_share,
      where=where,
    )
  names = tuple(info.features[label].names)
  numbers = tuple(map(str, range(len(names))))
  return Source(
    everything.images,
    everything.labels,
    everything.indices,
    len(names),
    class_names=None if names == numbers else names,
    provenance=provenance,
  ).take(positions)


def _features(where: str, info: Any, image: str, label: str) -> tuple[str, str]:
  """The features that are the image and the class."""
  import tensorflow_datasets as tfds

  kinds = {
    'image': (tfds.features.Image, image, 'image'),
    'label': (tfds.features.ClassLabel, label, 'class'),
  }
  found = []
  for role, (kind, asked, called) in kinds.items():
    there = [name for name, f in info.features.items() if type(f) is kind]
    usual = [name for name in info.supervised_keys or () if name in there]
    chosen = [asked] if asked else usual if len(there) > 1 else there
    if len(chosen) != 1 or chosen[0] not in there:
      told = (
        f'no feature {asked!r} that is' if asked else 'not one feature that is'
      )
      raise ValueError(
        f'{where} has {told} the {called} of an example:'
        f' data.{role}_feature must be one of'
        f' {there or "none, as there are none"} (of {[*info.features]})'
      )
    found += chosen
  return found[0], found[1]


def _published(
  where: str, there: list[str], asked: dict[str, str]
) -> dict[str, str | None]:
  """The published split that serves for each split; None where none does."""
  for name, published in asked.items():
    if published and published not in there:
      raise ValueError(
        f'{where} has no split {published!r}, which data.{name}_split names,'
        f' only {", ".join(there)}'
      )
  taken = {published for published in asked.values() if published}
  served: dict[str, str | None] = {}
  for name, published in asked.items():
    free = name in there and name not in taken
    served[name] = published or (name if free else None)
  twice = [name for name in taken if [*served.values()].count(name) > 1]
  if twice:
    raise ValueError(
      f'{where}: the split {twice[0]!r} was given for several: images must not'
      ' be trained on and certified'
    )
  return served


def _read(
  files: Prepared, feature: Any, where: str, options: dict[str, Any]
) -> Source:
  """All images of a published split, in memory or on the disk."""
  if feature.np_dtype not in (np.uint8, np.uint16):
    raise ValueError(
      f'{where} has images of {np.dtype(feature.np_dtype)}, and can be read if'
      ' they are of 8 or 16 bits'
    )
  *shape, channels = feature.shape
  if channels not in (1, 3, None):
    raise ValueError(
      f'{where} has images of {channels} channels, and can be read if they have'
      ' 1 or 3'
    )
  count, classes = sum(files.lengths), files.features[files.label].num_classes
  indices = np.arange(count)

  def make_view(sizes: views.Sizes | None) -> View:
    names = [f'image {index} of {files.name}' for index in indices]
    return views.make(
      sizes, names, files.name, **options, channels=channels or 3, upright=False
    )

  known = views.is_chosen(options['size'], options['resize'])
  if known or None not in shape:
    sizes = None if known else views.Sizes(*np.array(shape)[:, None])
    view = make_view(sizes)
    if count * np.prod(view.shape, dtype=np.int64) <= MOST_IN_MEMORY:
      images, labels = tfds_index.decode_all(files, view)
      return Source(images, labels, indices, classes)
  index = tfds_index.load(files)
  records = tfds_index.Records(files, index.files, index.places)
  images = EncodedImages(
    records, indices, index.checksums, indices, make_view(index.sizes)
  ).in_memory(f'reading {files.name}')
  return Source(images, index.labels, indices, classes)
