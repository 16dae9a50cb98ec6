"""Images that are decoded from their files: when asked for, or all at once."""

import concurrent.futures
import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import tqdm
from jaxtyping import Int, UInt8, UInt64
from PIL import Image

from dualrs_jax.data.views import View

#: Bytes of pixels of a split up to which they are decoded once and kept in
#: memory. It is no option of a machine: images in memory are augmented in
#: another way, so that a training must not depend on it.
MOST_IN_MEMORY = 2**31

_AT_ONCE = 64


@runtime_checkable
class EncodedFiles(Protocol):
  """Where encoded images are; it can be pickled."""

  def read(self, entry: int, /) -> bytes:
    """The content of an image's file."""
    ...

  def where(self, entry: int, /) -> str:
    """What messages call it."""
    ...


def checksum(encoded: bytes) -> int:
  """What tells one content from another, in 64 bits."""
  return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest())


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedImages:
  """The `StoredImages` of files of any kind.

  Attributes:
    files: where they are.
    entries: the entry of each image there.
    checksums: of each, compared when it is read.
    indices: its dataset index.
    view: how it is shown.
  """

  files: EncodedFiles
  entries: Int[np.ndarray, ' images']
  checksums: UInt64[np.ndarray, ' images']
  indices: Int[np.ndarray, ' images']
  view: View

  @property
  def shape(self) -> tuple[int, int, int, int]:
    """Examples, height, width and channels."""
    return len(self.entries), *self.view.shape

  @property
  def dtype(self) -> np.dtype:
    """Always uint8."""
    return np.dtype(np.uint8)

  def __getitem__(
    self, positions: Int[np.ndarray, ' batch'], /
  ) -> UInt8[np.ndarray, 'batch height width channels']:
    """The middles of these images."""
    return self._read(positions, lambda image, _: self.view.central(image))

  def augmented(
    self, positions: Int[np.ndarray, ' batch'], stream: Sequence[int]
  ) -> UInt8[np.ndarray, 'batch height width channels']:
    """Random views: a function of `stream` and each image's dataset index."""
    return self._read(
      positions,
      lambda image, index: self.view.random(
        image, np.random.default_rng([*stream, index])
      ),
    )

  def take(self, positions: Int[np.ndarray, ' chosen']) -> 'EncodedImages':
    """The images at these positions, still on disk."""
    return dataclasses.replace(
      self,
      entries=self.entries[positions],
      checksums=self.checksums[positions],
      indices=self.indices[positions],
    )

  def fingerprint(self) -> str:
    """A text that changes with the encoded images and with the view."""
    digest = hashlib.sha256(self.checksums.tobytes())
    digest.update(repr(self.view).encode())
    return digest.hexdigest()

  def in_memory(
    self, description: str
  ) -> 'UInt8[np.ndarray, "images height width channels"] | EncodedImages':
    """All of them as an array, if they are few enough; else themselves.

    Args:
      description: what is under way, for a progress bar.
    """
    if np.prod(self.shape, dtype=np.int64) > MOST_IN_MEMORY:
      return self
    images = np.empty(self.shape, np.uint8)
    parts = [
      np.arange(start, min(start + _AT_ONCE, len(images)))
      for start in range(0, len(images), _AT_ONCE)
    ]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
      bar = tqdm.tqdm(
        threads.map(self.__getitem__, parts),
        desc=description,
        total=len(parts),
        delay=2,
      )
      for part, pixels in zip(parts, bar, strict=True):
        images[part] = pixels
    return images

  def __array__(self, *_: Any, **__: Any) -> np.ndarray:
    """Refuses: NumPy would decode the whole data set, one image at a time."""
    raise TypeError('these images stay on disk: gather() those of a batch')

  def _read(
    self,
    positions: Int[np.ndarray, ' batch'],
    view: Callable[[Image.Image, int], np.ndarray],
  ) -> UInt8[np.ndarray, 'batch height width channels']:
    images = np.empty((len(positions), *self.shape[1:]), np.uint8)
    for row, position in enumerate(positions):
      entry = int(self.entries[position])
      encoded, where = self.files.read(entry), self.files.where(entry)
      if checksum(encoded) != self.checksums[position]:
        raise ValueError(
          f'{where} is not what it was when all images were looked through: it'
          ' is damaged, or another program writes to it'
        )
      image = self.view.decode(encoded, where)
      images[row] = view(image, int(self.indices[position]))
    return images
