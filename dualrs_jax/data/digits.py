"""Handwritten digits at random scales and places, from scikit-learn's set.

The 1,797 digits of 8x8 pixels that scikit-learn ships are drawn on a larger
canvas at a random scale. A small digit has little l2 norm and bears little
noise, a large one bears much: no single noise level serves all of them, and
how much noise an image bears can be seen from it. That is the situation dual
randomized smoothing is made for.
"""

import numpy as np
from jaxtyping import Float, Int, UInt8

from dualrs_jax.data.source import Source

#: How many classes there are.
NUM_CLASSES = 10
#: How many images each split has.
SPLIT_SIZES = {'train': 1097, 'validation': 200, 'test': 500}

_WHITE = 16  # the largest value in scikit-learn's digits
_SPLIT, _RENDER = 0, 1  # what a random stream is for


def load(
  split: str,
  *,
  renderings: int = 64,
  seed: int = 0,
  canvas: int = 32,
  scales: tuple[float | int, float | int] = (8.0, 32.0),
) -> Source:
  """The digits of one split, rendered.

  Which digits make up a split depends on `seed` alone, and a rendering on
  `seed`, the digit and the rendering's number alone: more renderings add
  images after those that fewer would give, and change none.

  Args:
    split: 'train' (1,097 digits), 'validation' (200) or 'test' (500). No digit
      is in two of them.
    renderings: images per digit of the training split; the others hold one of
      each digit. Position and dataset index of rendering `r` of the split's
      `i`-th digit are `r * digits + i`.
    seed: of the split and of the renderings.
    canvas: height and width of an image in pixels.
    scales: smallest and largest height and width of a digit on the canvas in
      pixels, drawn log-uniformly between them.

  Returns:
    The split, with facts `scale` (pixels) and `digit` (position of the digit
    in scikit-learn's set).

  Raises:
    ValueError: an unknown split, no renderings, or scales that do not
      fit on the canvas.
  """
  if split not in SPLIT_SIZES:
    raise ValueError(f'split must be one of {[*SPLIT_SIZES]}, not {split!r}')
  if renderings < 1:
    raise ValueError(f'renderings must be at least 1, not {renderings}')
  if not 0 < scales[0] <= scales[1] <= canvas:
    raise ValueError(
      f'scales must be increasing, from above 0 to at most {canvas} (the '
      f'canvas), not {tuple(scales)}'
    )
  from sklearn import datasets  # which no other images need

  pixels, labels = datasets.load_digits(return_X_y=True)
  pixels = np.reshape(pixels, (-1, 8, 8))
  members = split_digits(split, seed=seed, labels=labels)
  images, used_scales = [], []
  for number in range(renderings if split == 'train' else 1):
    rng = np.random.default_rng([seed, _RENDER, number])
    draws = rng.random((len(labels), 3))[members]
    scale = scales[0] * (scales[1] / scales[0]) ** draws[:, 0]
    corner = draws[:, 1:] * (canvas - scale[:, None])
    images.append(render(pixels[members], scale, corner, canvas=canvas))
    used_scales.append(scale)
  repeats = len(images)
  return Source(
    images=np.concatenate(images)[..., None],
    labels=np.tile(labels[members], repeats).astype(np.int32),
    indices=np.arange(repeats * len(members), dtype=np.int64),
    num_classes=NUM_CLASSES,
    facts={
      'scale': np.concatenate(used_scales),
      'digit': np.tile(members, repeats),
    },
  )


def split_digits(
  split: str, *, seed: int, labels: Int[np.ndarray, ' digits']
) -> Int[np.ndarray, ' members']:
  """Positions of a split's digits among all digits, in increasing order."""
  order = np.random.default_rng([seed, _SPLIT]).permutation(len(labels))
  ends = np.cumsum([*SPLIT_SIZES.values()])
  parts = np.split(order[: ends[-1]], ends[:-1])
  return np.sort(parts[[*SPLIT_SIZES].index(split)])


def render(
  digits: Float[np.ndarray, 'digits 8 8'],
  scale: Float[np.ndarray, ' digits'],
  corner: Float[np.ndarray, 'digits 2'],
  *,
  canvas: int,
) -> UInt8[np.ndarray, 'digits canvas canvas']:
  """Draws each digit on its own black canvas, by bilinear interpolation.

  Args:
    digits: 8x8 digits with values from 0 to 16.
    scale: height and width of each digit on the canvas in pixels.
    corner: top and left edge of each digit on the canvas in pixels.
    canvas: height and width of the canvas in pixels.

  Returns:
    8-bit images, 255 where the digit is 16. Beyond its outermost pixels a
    digit fades to black within one of its own pixels.
  """
  rows = _interpolation(scale, corner[:, 0], digits.shape[1], canvas)
  columns = _interpolation(scale, corner[:, 1], digits.shape[2], canvas)
  drawn = rows @ digits @ columns.swapaxes(1, 2)
  return np.rint(drawn * (255 / _WHITE)).astype(np.uint8)


def _interpolation(
  scale: Float[np.ndarray, ' digits'],
  edge: Float[np.ndarray, ' digits'],
  size: int,
  canvas: int,
) -> Float[np.ndarray, 'digits canvas size']:
  """The weight of each pixel of a digit at each pixel of the canvas."""
  centres = np.arange(canvas) + 0.5
  at = (centres - edge[:, None]) * (size / scale[:, None]) - 0.5
  distance = np.abs(at[:, :, None] - np.arange(size))
  return np.maximum(1 - distance, 0)
