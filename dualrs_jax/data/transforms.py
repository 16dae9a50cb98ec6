"""From a decoded image to pixels of one shape, by Pillow."""

import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image

#: The range of areas, as shares of the image, and of ratios of width to
#: height of `random_view`.
AREAS = (0.08, 1.0)
#: The range of ratios of width to height, likewise.
RATIOS = (3 / 4, 4 / 3)

_ATTEMPTS = 10


def central_view(
  image: Image.Image, *, resize: int, crop: int
) -> UInt8[np.ndarray, 'crop crop 3']:
  """What is certified: the middle of the image, its shorter side resized.

  Args:
    image: in RGB.
    resize: the new length of the shorter side, by bilinear interpolation with
      antialiasing. The longer side keeps the ratio, rounded down.
    crop: height and width of the square that is cut from the middle; at most
      `resize`.
  """
  width, height = image.size
  shorter = min(width, height)
  if shorter != resize:
    width, height = resize * width // shorter, resize * height // shorter
    image = image.resize((width, height), Image.Resampling.BILINEAR)
  # Half pixels go to the even neighbour, as in the published transforms.
  left, top = round((width - crop) / 2), round((height - crop) / 2)
  return np.asarray(image.crop((left, top, left + crop, top + crop)))


def random_view(
  image: Image.Image,
  rng: np.random.Generator,
  *,
  crop: int,
  width: int | None = None,
) -> UInt8[np.ndarray, '...']:
  """What is trained on: a random rectangle of the image, half of them mirrored.

  Area and ratio of the rectangle are drawn from `AREAS`, uniformly, and from
  `RATIOS`, log-uniformly; where no drawn rectangle fits, it is the largest in
  the middle whose ratio is in `RATIOS`.

  Args:
    image: in RGB or grey.
    rng: of this view.
    crop: height and width of the square that it is resized to.
    width: where that is no square, its width; ratios are then meant beside its
      own.

  References:
    Szegedy et al., Going deeper with convolutions, 2015.
  """
  shape = (crop if width is None else width, crop)
  box = _random_box(*image.size, rng, shape[0] / shape[1])
  view = image.crop(box).resize(shape, Image.Resampling.BILINEAR)
  if rng.random() < 0.5:
    view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
  return np.asarray(view)


def _random_box(
  width: int, height: int, rng: np.random.Generator, own_ratio: float = 1.0
) -> tuple[int, int, int, int]:
  """Left, upper, right and lower edge of a rectangle in an image."""
  flattest, narrowest = RATIOS[1] * own_ratio, RATIOS[0] * own_ratio
  for _ in range(_ATTEMPTS):
    area = width * height * rng.uniform(AREAS[0], AREAS[1])
    ratio = math.exp(rng.uniform(math.log(RATIOS[0]), math.log(RATIOS[1])))
    ratio *= own_ratio
    across, down = (
      round(math.sqrt(area * ratio)),
      round(math.sqrt(area / ratio)),
    )
    if 0 < across <= width and 0 < down <= height:
      left = int(rng.integers(width - across + 1))
      top = int(rng.integers(height - down + 1))
      return left, top, left + across, top + down
  across = min(width, max(1, round(height * flattest)))
  down = min(height, max(1, round(width / narrowest)))
  left, top = (width - across) // 2, (height - down) // 2
  return left, top, left + across, top + down
