"""A folder of image files, one folder for each class."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from dualrs_jax import folders
from dualrs_jax.data import (
  folder_listing,
  folder_survey,
  hashing,
  splits,
  views,
)
from dualrs_jax.data.encoded_images import EncodedImages
from dualrs_jax.data.folder_listing import Listing
from dualrs_jax.data.source import Source


def load(
  split: str,
  *,
  data_dir: str = '',
  size: int | Sequence[int] = (),
  resize: int = 0,
  crop: int = 0,
  channels: int = 0,
  validation_share: float = 0.1,
  test_share: float = 0.2,
) -> Source:
  """A split of a folder of images: png, jpg, jpeg, webp and bmp.

  The folder is `<split>/<class>/...`, with 'train', 'validation' (also 'val')
  and 'test', or `<class>/...` without splits. A split without a folder is
  carved out of the training images, by the hash of an image's path in the
  folder, and so is its dataset index: where images are added, the others stay
  in their split, and their noise is the same.

  The first call decodes all images, and tells of all that are broken. Those of
  a split are in memory if they take up to 2 GiB, and are else read from the
  disk as needed, like those of ImageNet. Their order is that of their indices:
  the first hundred are of all classes.

  Args:
    split: 'train', 'validation' or 'test'.
    data_dir: the folder.
    size: height and width (or one number for both) to which an image is
      brought: resized to just cover them, by bilinear interpolation with
      antialiasing, and the middle cut out.
    resize: instead, the new length of the shorter side.
    crop: and height and width of the square that is cut from the middle of it;
      by default `resize`. Without `resize`, of the image as it is.
    channels: 1 for grey, 3 for colours; 0 for grey if no image has colours.
    validation_share: of the training images, where there is no validation set.
    test_share: the same for a test set.

  Returns:
    The split, with the names of the classes and the fact `file` (the path in
    the folder, as bytes).

  Raises:
    DatasetNotFound: there is no such folder.
    ValueError: broken files, images of several sizes and no option that brings
      them to one, or a folder that is laid out otherwise.
  """
  splits.check_name(split)
  if channels not in (0, 1, 3):
    raise ValueError(
      f'data.channels must be 1 for grey, 3 for colours or 0, not {channels}'
    )
  if not data_dir:
    raise splits.DatasetNotFound(
      "the data set 'folder' is in the folder that data.data_dir names, and it"
      ' names none: --config.data.data_dir=pictures names one'
    )
  listing = folder_listing.read(folders.expand(data_dir))
  survey = folder_survey.look_through(listing)
  names = [file.name for file in listing.files]
  root = str(listing.root)
  view = views.make(
    survey.sizes,
    [str(listing.root / name) for name in names],
    root,
    size=size,
    resize=resize,
    crop=crop,
    channels=channels or (1 if survey.grey.all() else 3),
    upright=True,
  )
  members = _members(
    listing,
    split,
    validation_share=validation_share,
    test_share=test_share,
  )
  entries = members.positions
  _tell_of_copies(listing, survey.checksums, entries, split)
  indices = hashing.indices([names[entry] for entry in entries])
  # By class, the first hundred would be of one; by hash they are of all.
  order = np.argsort(indices)
  entries, indices = entries[order], indices[order]
  chosen = [names[entry] for entry in entries]
  images = EncodedImages(
    FolderFiles(listing.root, tuple(names)),
    entries,
    survey.checksums[entries],
    indices,
    view,
  )
  return Source(
    images.in_memory(f'reading {split} of {root}'),
    np.array([listing.files[entry].label for entry in entries], np.int32),
    indices,
    len(listing.classes),
    {'file': np.array([os.fsencode(name) for name in chosen])},
    class_names=listing.classes,
    provenance=members.provenance,
  )


@dataclasses.dataclass(frozen=True)
class FolderFiles:
  """The `EncodedFiles` of a folder.

  Attributes:
    root: the folder.
    names: the path of each entry in it.
  """

  root: pathlib.Path
  names: tuple[str, ...]

  def read(self, entry: int) -> bytes:
    """The content of a file."""
    try:
      return (self.root / self.names[entry]).read_bytes()
    except OSError as error:
      raise ValueError(
        f'{self.where(entry)} cannot be read any more ({error.strerror})'
      ) from error

  def where(self, entry: int) -> str:
    """Its path."""
    return str(self.root / self.names[entry])


def _members(
  listing: Listing, split: str, *, validation_share: float, test_share: float
) -> splits.Carved:
  """Which files of a listing make up a split."""
  there = listing.splits or {'train'}
  served = split if split in there else 'train'
  if served not in there:
    raise ValueError(
      f'{listing.root} has no folder {split!r}, nor one named train out of'
      f' which it could be carved, only {", ".join(sorted(there))}'
    )
  entries = np.array(
    [
      entry
      for entry, file in enumerate(listing.files)
      if (file.split or 'train') == served
    ]
  )
  if served != 'train':
    return splits.Carved(entries, '')
  carved = splits.carve(
    [listing.files[entry].name for entry in entries],
    split,
    missing={'validation', 'test'} - there,
    validation_share=validation_share,
    test_share=test_share,
    where=str(listing.root),
  )
  return carved._replace(positions=entries[carved.positions])


def _tell_of_copies(
  listing: Listing, checksums: np.ndarray, entries: np.ndarray, split: str
) -> None:
  """Tells of images that are in a split and, byte for byte, outside of it."""
  if split == 'train':
    return
  outside = np.delete(np.arange(len(checksums)), entries)
  copies = np.isin(checksums[entries], checksums[outside])
  if copies.any():
    first = listing.files[entries[np.argmax(copies)]].name
    splits.tell_once(
      f'{copies.sum()} images of the split {split!r} of {listing.root} are in'
      f' another split as well, {first} being the first: what is found on them'
      ' is no measure'
    )
