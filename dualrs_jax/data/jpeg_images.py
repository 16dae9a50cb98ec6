"""Images that stay on disk as JPEG and are decoded when they are asked for."""

import dataclasses
import hashlib
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8, UInt32
from PIL import Image

from dualrs_jax.data import decoding, transforms
from dualrs_jax.data.prepared import Prepared


@dataclasses.dataclass(frozen=True, eq=False)
class JpegImages:
  """The `StoredImages` of a prepared data set; see `transforms` for views.

  Every image that is read is compared with the checksum it had when the index
  of the data set was built. An orientation in EXIF is left out, as in the code
  from which published results are.

  Attributes:
    prepared: the files.
    files: the file of each image.
    places: its place there.
    checksums: CRC-32 of its encoded bytes.
    indices: its dataset index.
    resize: the shorter side of an image before its middle is cut out.
    crop: height and width of an image.
  """

  prepared: Prepared
  files: Int[np.ndarray, ' images']
  places: Int[np.ndarray, ' images']
  checksums: UInt32[np.ndarray, ' images']
  indices: Int[np.ndarray, ' images']
  resize: int
  crop: int

  @property
  def shape(self) -> tuple[int, int, int, int]:
    """Examples, height, width and channels."""
    return len(self.places), self.crop, self.crop, 3

  @property
  def dtype(self) -> np.dtype:
    """Always uint8."""
    return np.dtype(np.uint8)

  def __getitem__(
    self, positions: Int[np.ndarray, ' batch'], /
  ) -> UInt8[np.ndarray, 'batch crop crop 3']:
    """The middles of these images."""
    return self._read(
      positions,
      lambda image, _: transforms.central_view(
        image, resize=self.resize, crop=self.crop
      ),
    )

  def augmented(
    self, positions: Int[np.ndarray, ' batch'], stream: Sequence[int]
  ) -> UInt8[np.ndarray, 'batch crop crop 3']:
    """Random views: a function of `stream` and each image's dataset index."""
    return self._read(
      positions,
      lambda image, index: transforms.random_view(
        image, np.random.default_rng([*stream, index]), crop=self.crop
      ),
    )

  def take(self, positions: Int[np.ndarray, ' chosen']) -> 'JpegImages':
    """The images at these positions, still on disk."""
    return dataclasses.replace(
      self,
      files=self.files[positions],
      places=self.places[positions],
      checksums=self.checksums[positions],
      indices=self.indices[positions],
    )

  def fingerprint(self) -> str:
    """A text that changes with the encoded images and with the view."""
    digest = hashlib.sha256(self.checksums.tobytes())
    digest.update(f'middle {self.crop} of {self.resize}'.encode())
    return digest.hexdigest()

  def __array__(self, *_: Any, **__: Any) -> np.ndarray:
    """Refuses: NumPy would decode the whole data set, one image at a time."""
    raise TypeError(
      f'{self.prepared.name} stays on disk: gather() the images of a batch'
    )

  def _read(
    self,
    positions: Int[np.ndarray, ' batch'],
    view: Callable[[Image.Image, int], np.ndarray],
  ) -> UInt8[np.ndarray, 'batch crop crop 3']:
    images = np.empty((len(positions), *self.shape[1:]), np.uint8)
    for row, position in enumerate(positions):
      index = int(self.indices[position])
      images[row] = view(self._decode(int(position), index), index)
    return images

  def _decode(self, position: int, index: int) -> Image.Image:
    file = int(self.files[position])
    example = self.prepared.read(file, int(self.places[position]))
    encoded = example['image']
    where = (
      f'image {index} of {self.prepared.name}, in {self.prepared.paths[file]},'
    )
    if zlib.crc32(encoded) != self.checksums[position]:
      raise ValueError(
        f'{where} is not what it was when the files were indexed: it is'
        ' damaged, or another program writes to them'
      )
    return decoding.decode(encoded, where, upright=False)
