"""ImageNet (ILSVRC 2012), as tensorflow-datasets prepares it.

The images stay on disk, in either form that tensorflow-datasets writes.
TensorFlow is needed to prepare them, once, and not to read them; where `load`
finds nothing, it raises the command.
"""

import pathlib

import numpy as np

from dualrs_jax.data import prepared, record_index, splits
from dualrs_jax.data.jpeg_images import JpegImages
from dualrs_jax.data.source import Source

#: The name of the data set at tensorflow-datasets.
NAME = 'imagenet2012'
#: How many classes there are.
NUM_CLASSES = 1000
#: The published set of each split, and its size.
PUBLISHED = {
  'train': ('train', 1_281_167),
  'validation': ('train', 1_281_167),
  'test': ('validation', 50_000),
}

_ABOUT_VALIDATION = (
  "ImageNet's published validation set, on which results are reported, is the"
  " split 'test' here; 'validation' is for images held out of the training set,"
  ' so say with held_out how many'
)


def load(
  split: str,
  *,
  data_dir: str = '',
  held_out: int = 0,
  resize: int = 256,
  crop: int = 224,
) -> Source:
  """A split of ImageNet, read from disk as needed.

  The dataset index of an image is its place in the published set ordered by
  class and, within a class, by file name: that of its folder in `sorted` order.
  Results that others publish for "every hundredth image" are of these indices.
  The first call for a set reads all of its files once, to find that order.

  An image is certified as `transforms.central_view` shows it, and as it is
  stored: an orientation in EXIF is left out, as torchvision does. Random views,
  for training, are those of `transforms.random_view`.

  Args:
    split: 'test' is the published validation set, of 50,000 images: there are
      no published labels for any other. 'train' is the published training set
      without `held_out` images, which are 'validation'.
    data_dir: the folder with the folder imagenet2012; by default TFDS_DATA_DIR
      of the environment or ~/tensorflow_datasets.
    held_out: how many training images are held out. A network that somebody
      else trained has usually seen them.
    resize: length of the shorter side to which an image is resized.
    crop: height and width of what is cut from the middle of it.

  Returns:
    The split, with the fact `file_name` (bytes). Its images are `JpegImages`.

  Raises:
    DatasetNotFound: the data set is not there; the text says what to do.
    ValueError: an unknown or empty split, sizes that do not fit, or a damaged
      file.
  """
  splits.check(split, held_out, _ABOUT_VALIDATION)
  if not 1 <= crop <= resize:
    raise ValueError(
      f'crop must be from 1 to resize, which is {resize}, not {crop}'
    )
  published, size = PUBLISHED[split]
  files = prepared.open_split(
    _folder(data_dir), published, needs=['file_name'], num_classes=NUM_CLASSES
  )
  index = record_index.load(files)
  splits.warn_if_incomplete(
    files.name, examples=len(index.labels), published=size
  )
  members = splits.members(split, examples=len(index.labels), held_out=held_out)
  everything = np.arange(len(index.labels))
  images = JpegImages(
    files, index.files, index.places, index.checksums, everything, resize, crop
  )
  return Source(
    images,
    index.labels,
    everything,
    NUM_CLASSES,
    {'file_name': index.file_names},
  ).take(members)


def _folder(data_dir: str) -> pathlib.Path:
  """The folder of the prepared data set."""
  folder = splits.data_folder(data_dir)
  found = prepared.find(NAME, folder)
  if found is None:
    prepared.refuse_remains(NAME, folder)
    raise splits.DatasetNotFound(
      f'ImageNet is not in {folder / NAME}: if it is prepared elsewhere, set'
      ' TFDS_DATA_DIR or data_dir to the folder that has imagenet2012;'
      ' otherwise download ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar'
      f' from https://image-net.org (an account is needed) to'
      f' {folder / "downloads" / "manual"} and run, with tensorflow and'
      f' tensorflow-datasets installed, tfds build {NAME} --data_dir={folder}'
    )
  return found
