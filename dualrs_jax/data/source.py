"""The arrays of one split of a data set, and their way to [0, 1]."""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num, UInt8


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
  """One split of an image data set, held in memory.

  Attributes:
    images: uint8 images, `[examples, height, width, channels]`.
    labels: the class of each image, from 0 to `num_classes - 1`.
    indices: the dataset index of each image. It names the image for good:
      certification derives an image's noise from it, and result files list it.
    num_classes: the number of classes of the data set.
    facts: further arrays with one entry per image, for analysis only. Nothing
      in training or certification reads them.
  """

  images: UInt8[np.ndarray, 'examples height width channels']
  labels: Int[np.ndarray, ' examples']
  indices: Int[np.ndarray, ' examples']
  num_classes: int
  facts: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

  def __len__(self) -> int:
    return len(self.labels)

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height, width and channels of an image."""
    height, width, channels = self.images.shape[1:]
    return height, width, channels

  def gather(
    self, positions: Int[np.ndarray, ' batch']
  ) -> tuple[
    UInt8[np.ndarray, 'batch height width channels'],
    Int[np.ndarray, ' batch'],
  ]:
    """The images and labels at positions from 0 to `len(self) - 1`."""
    return self.images[positions], self.labels[positions]


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
