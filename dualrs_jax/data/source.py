"""One split of a data set, in memory or on disk, and its way to [0, 1]."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num, UInt8


@runtime_checkable
class StoredImages(Protocol):
  """Images that are read and decoded when they are asked for.

  They can be pickled: `loader` reads in several processes.
  """

  @property
  def shape(self) -> tuple[int, int, int, int]:
    """Examples, height, width and channels."""
    ...

  @property
  def dtype(self) -> np.dtype:
    """Always uint8."""
    ...

  def __getitem__(
    self, positions: Int[np.ndarray, ' batch'], /
  ) -> UInt8[np.ndarray, 'batch height width channels']:
    """The images at these positions, always the same."""
    ...

  def augmented(
    self, positions: Int[np.ndarray, ' batch'], stream: Sequence[int]
  ) -> UInt8[np.ndarray, 'batch height width channels']:
    """Random views for training: a function of image and `stream` alone."""
    ...

  def take(self, positions: Int[np.ndarray, ' chosen']) -> 'StoredImages':
    """The images at these positions, still on disk."""
    ...

  def fingerprint(self) -> str:
    """A text that changes with the pixels, without reading them all."""
    ...


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
  """One split of an image data set.

  Attributes:
    images: uint8 images, `[examples, height, width, channels]`: an array, or
      images on disk, which answer to `images[positions]` alike but are no
      array.
    labels: the class of each image, from 0 to `num_classes - 1`.
    indices: the dataset index of each image. It names the image for good:
      certification derives an image's noise from it, and result files list it.
    num_classes: the number of classes of the data set.
    facts: further arrays with one entry per image, for analysis only. Nothing
      in training or certification reads them.
    class_names: the name of each class, for tables and pictures; None for
      their numbers.
    provenance: in a few words, how the split was made where it is none that
      was published; '' otherwise. Results record it.
  """

  images: UInt8[np.ndarray, 'examples height width channels'] | StoredImages
  labels: Int[np.ndarray, ' examples']
  indices: Int[np.ndarray, ' examples']
  num_classes: int
  facts: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  class_names: Sequence[str] | None = None
  provenance: str = ''

  def __len__(self) -> int:
    return len(self.labels)

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height, width and channels of an image."""
    height, width, channels = self.images.shape[1:]
    return height, width, channels

  @property
  def in_memory(self) -> bool:
    """Whether `images` is an array."""
    return isinstance(self.images, np.ndarray)

  def gather(
    self,
    positions: Int[np.ndarray, ' batch'],
    *,
    stream: Sequence[int] | None = None,
  ) -> tuple[
    UInt8[np.ndarray, 'batch height width channels'],
    Int[np.ndarray, ' batch'],
  ]:
    """The images and labels at positions from 0 to `len(self) - 1`.

    Args:
      positions: which images.
      stream: None for the images that are certified. Integers of at least 0,
        such as a seed and an epoch, for random views as the data set's `load`
        describes them, a function of these integers and the dataset index.
        Images in memory stay as they are: `augment` is for them.
    """
    if stream is None or isinstance(self.images, np.ndarray):
      return self.images[positions], self.labels[positions]
    return self.images.augmented(positions, stream), self.labels[positions]

  def take(self, positions: Int[np.ndarray, ' chosen']) -> 'Source':
    """The source of the images at these positions; reads none of them."""
    if isinstance(self.images, np.ndarray):
      images = self.images[positions]
    else:
      images = self.images.take(positions)
    return dataclasses.replace(
      self,
      images=images,
      labels=self.labels[positions],
      indices=self.indices[positions],
      facts={name: fact[positions] for name, fact in self.facts.items()},
    )

  def fingerprint(self) -> str:
    """A text that changes with the images, labels and indices."""
    digest = hashlib.sha256()
    if isinstance(self.images, np.ndarray):
      _add_array(digest, self.images)
    else:
      digest.update(self.images.fingerprint().encode())
    _add_array(digest, self.labels)
    _add_array(digest, self.indices)
    return digest.hexdigest()[:16]


def refuse_unusable(source: Source, where: str) -> None:
  """Refuses a source that training or certification could not go on with.

  Args:
    source: of any data set.
    where: what messages are to call it.

  Raises:
    ValueError: in one sentence, what is wrong with it.
  """
  fault = _fault_of_arrays(source) or _fault_of_numbers(source)
  if fault:
    raise ValueError(f'{where} {fault}')


def _fault_of_arrays(source: Source) -> str:
  images = source.images
  if not isinstance(images, np.ndarray | StoredImages):
    return f'has images in a {type(images).__name__}, which is no NumPy array'
  if images.dtype != np.uint8 or len(images.shape) != 4:
    return (
      f'has images of {images.dtype} and shape {tuple(images.shape)}, which'
      ' should be uint8 and [images, height, width, channels]'
    )
  for name in ('labels', 'indices'):
    array = getattr(source, name)
    kind = getattr(array, 'dtype', type(array).__name__)
    if not (isinstance(array, np.ndarray) and array.dtype.kind in 'iu'):
      return f'has {name} of {kind}, which should be a NumPy array of integers'
    if array.shape != (images.shape[0],):
      return f'has {images.shape[0]} images and {name} of shape {array.shape}'
  if not images.shape[0]:
    return 'has no images'
  return ''


def _fault_of_numbers(source: Source) -> str:
  classes, indices = source.num_classes, source.indices
  if classes < 2:
    return f'has {classes} class{"es" * (classes != 1)}, and needs two or more'
  wrong = np.flatnonzero((source.labels < 0) | (source.labels >= classes))
  if len(wrong):
    return (
      f'has label {source.labels[wrong[0]]} at image {indices[wrong[0]]}, where'
      f' there are {classes} classes'
    )
  wrong = np.flatnonzero((indices < 0) | (indices >= 2**31))
  if len(wrong):
    return f'has the index {indices[wrong[0]]}, which is not in [0, 2**31)'
  known, counts = np.unique(indices, return_counts=True)
  if (counts > 1).any():
    return f'has the index {known[np.argmax(counts > 1)]} for several images'
  names = source.class_names
  if names is not None and len(names) != classes:
    return f'has {len(names)} names for {classes} classes'
  return ''


def to_unit(
  images: Num[Array, '*shape'] | Num[np.ndarray, '*shape'],
) -> Float[Array, '*shape']:
  """8-bit images as float32 in [0, 1], the unit of every sigma and radius.

  Args:
    images: uint8 images. Another dtype may already be scaled, so it is
      refused.

  Returns:
    `images / 255`, as float32.

  Raises:
    ValueError: the images are not uint8.
  """
  if images.dtype != np.uint8:
    raise ValueError(f'images must be uint8 (0 to 255), not {images.dtype}')
  return jnp.asarray(images).astype(jnp.float32) / 255


def _add_array(digest: Any, array: np.ndarray) -> None:
  digest.update(f'{array.dtype}{array.shape}'.encode())
  digest.update(array.tobytes())
