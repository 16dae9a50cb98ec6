"""Images of any size brought to one, as options say."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from dualrs_jax.data import decoding, transforms


class View(NamedTuple):
  """How an image is shown.

  Attributes:
    height: of what is shown, in pixels.
    width: the same.
    resize: length to which the shorter side is resized, before the middle is
      cut out; None to resize an image so that it just covers height and width;
      0 to leave its pixels as they are.
    channels: 3 for colours, 1 for grey.
    upright: whether an orientation in EXIF is carried out.
  """

  height: int
  width: int
  resize: int | None
  channels: int
  upright: bool

  @property
  def shape(self) -> tuple[int, int, int]:
    """Height, width and channels."""
    return self.height, self.width, self.channels

  def decode(self, encoded: bytes, where: str) -> Image.Image:
    """The whole image, see `decoding.decode`."""
    return decoding.decode(
      encoded, where, channels=self.channels, upright=self.upright
    )

  def central(self, image: Image.Image) -> UInt8[np.ndarray, 'height width c']:
    """What is certified: the middle of the image."""
    if self.resize and self.height == self.width:
      shown = transforms.central_view(
        image, resize=self.resize, crop=self.height
      )
    else:
      shown = self._middle(image)
    return np.asarray(shown).reshape(self.shape)

  def random(
    self, image: Image.Image, rng: np.random.Generator
  ) -> UInt8[np.ndarray, 'height width c']:
    """What is trained on, see `transforms.random_view`."""
    shown = transforms.random_view(
      image, rng, crop=self.height, width=self.width
    )
    return shown.reshape(self.shape)

  def _middle(self, image: Image.Image) -> Image.Image:
    width, height = image.size
    if self.resize is None:
      scale = max(self.height / height, self.width / width)
      width = max(self.width, round(width * scale))
      height = max(self.height, round(height * scale))
      if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    if (width, height) == (self.width, self.height):
      return image
    left = round((width - self.width) / 2)
    top = round((height - self.height) / 2)
    return image.crop((left, top, left + self.width, top + self.height))


class Sizes(NamedTuple):
  """The sizes of images, as they are shown upright.

  Attributes:
    heights: of each image.
    widths: of each image.
  """

  heights: Int[np.ndarray, ' images']
  widths: Int[np.ndarray, ' images']


def is_chosen(size: int | Sequence[int], resize: int) -> bool:
  """Whether options bring images of any size to one."""
  return bool(size) or bool(resize)


def make(
  sizes: Sizes | None,
  names: Sequence[str],
  where: str,
  *,
  size: int | Sequence[int],
  resize: int,
  crop: int,
  channels: int,
  upright: bool,
) -> View:
  """The view that options ask for.

  Args:
    sizes: of the images; None where the options decide by themselves.
    names: what messages call each image.
    where: what they call all of them.
    size: height and width, or one number for both: the image is resized to
      just cover it, and the middle cut out. Empty or 0 for no such.
    resize: length of the shorter side, or 0.
    crop: height and width of the square that is then cut from the middle; 0
      for `resize`, or for all of an image.
    channels: 3 or 1.
    upright: see `View`.

  Raises:
    ValueError: options that do not fit, or images of several sizes and none
      that brings them to one; in one sentence.
  """
  asked = _asked_size(size, resize, crop)
  if asked is not None:
    return View(*asked, None, channels, upright)
  if resize:
    crop = crop or resize
    return View(crop, crop, resize, channels, upright)
  assert sizes is not None
  if crop:
    small = np.flatnonzero(np.minimum(*sizes) < crop)
    if len(small):
      raise ValueError(
        f'{names[int(small[0])]} has {_told(sizes, small[0])} pixels, which'
        f' data.crop = {crop} does not fit into: data.resize = {crop}'
        ' brings all images to it'
      )
    return View(crop, crop, 0, channels, upright)
  smallest, largest = (
    int(pick(sizes.heights.astype(np.int64) * sizes.widths))
    for pick in (np.argmin, np.argmax)
  )
  if (
    len({*zip(sizes.heights.tolist(), sizes.widths.tolist(), strict=True)}) > 1
  ):
    raise ValueError(
      f'{where} has images of several sizes, from {_told(sizes, smallest)}'
      f' ({names[smallest]}) to {_told(sizes, largest)} ({names[largest]}):'
      ' data.size = (height, width) brings them to one'
    )
  height, width = int(sizes.heights[0]), int(sizes.widths[0])
  return View(height, width, 0, channels, upright)


def _asked_size(
  size: int | Sequence[int], resize: int, crop: int
) -> tuple[int, int] | None:
  if resize < 0 or crop < 0 or (resize and crop > resize):
    raise ValueError(
      f'data.crop must be from 1 to data.resize, or 0, not {crop} of {resize}'
    )
  if not size:
    return None
  both = (size,) if isinstance(size, int) else tuple(size)
  both = both * 2 if len(both) == 1 else both
  whole = all(isinstance(side, int) and side > 0 for side in both)
  if len(both) != 2 or not whole:
    raise ValueError(
      f'data.size must be height and width in pixels, not {size!r}'
    )
  if resize or crop:
    raise ValueError(
      f'data.size = {both} says all of it: leave out data.resize and data.crop,'
      ' or data.size'
    )
  return both[0], both[1]


def _told(sizes: Sizes, image: int | np.integer) -> str:
  at = int(image)
  return f'{sizes.heights[at]} x {sizes.widths[at]}'
