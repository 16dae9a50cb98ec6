"""From the bytes of an image file to 8-bit pixels, rightly or not at all.

Pillow opens many kinds of images, and turns some of them quietly into something
else: 16-bit grey becomes white, what is transparent becomes whatever colour
is stored below, an orientation that a camera noted is left out. Here the first
is scaled, the second refused and the third carried out.
"""

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

#: What shows an image as it was taken, by the orientation that EXIF notes.
_UPRIGHT = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112

#: Formats whose grey values of 16 bits Pillow may hand out as integers of 32.
_DEEP_AS_INTEGERS = ('PNG', 'PPM')


def decode(
  encoded: bytes, where: str, *, channels: int = 3, upright: bool = True
) -> Image.Image:
  """Decodes one image, whatever colours it has in its file.

  Grey values of 16 bits are scaled to 8 and rounded; colours of 16 bits lose
  their lower 8. Palettes, CMYK and single bits become what they stand for. Of
  several pictures in a file it is the first.

  Args:
    encoded: the content of the file.
    where: the image, as messages are to name it.
    channels: 3 for red, green and blue, 1 for grey (luminance, of a coloured
      image).
    upright: whether an orientation in EXIF is carried out. Published results
      on ImageNet are of images as they are stored, so it is not for them.

  Returns:
    An image of Pillow in the mode 'RGB' or 'L'.

  Raises:
    ValueError: it is no image, is damaged, has transparent pixels, or values
      without a known range; the text begins with `where`.
  """
  mode = {1: 'L', 3: 'RGB'}[channels]
  try:
    image = Image.open(io.BytesIO(encoded))
    image.load()
    turn = _UPRIGHT.get(_orientation(image)) if upright else None
    deep = _is_deep(image)
    fault = _fault(image, deep)
    if not fault:
      image = (_in_eight_bits(image) if deep else image).convert(mode)
  except UnidentifiedImageError as error:
    raise ValueError(f'{where} is no image of a known kind') from error
  except Exception as error:  # each decoder of Pillow has kinds of its own
    reason = str(error).partition('\n')[0]
    raise ValueError(f'{where} is no image, or damaged ({reason})') from error
  if fault:
    raise ValueError(f'{where} has {fault}: save it in 8-bit grey or RGB')
  return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
  """What EXIF notes; 1, for upright, where nobody can read it."""
  try:
    return image.getexif().get(_ORIENTATION, 1)
  except Exception:  # viewers show such images as they are stored
    return 1


def _is_deep(image: Image.Image) -> bool:
  """Whether grey values are of 16 bits."""
  return image.mode.startswith('I;16') or (
    image.mode == 'I' and image.format in _DEEP_AS_INTEGERS
  )


def _in_eight_bits(image: Image.Image) -> Image.Image:
  values = np.asarray(image).astype(np.uint32)
  return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def _fault(image: Image.Image, deep: bool) -> str:
  """What cannot be shown in 8-bit grey or colours; '' if all can."""
  if image.mode in ('I', 'F') and not deep:
    return 'values whose range is unknown'
  if image.has_transparency_data and (
    deep or image.convert('RGBA').getchannel('A').getextrema() != (255, 255)
  ):
    return 'transparent pixels, whose colour is unknown'
  return ''
