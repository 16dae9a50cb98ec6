"""Exact integer noise for 8-bit images.

In floating point, x + sigma * eps tells more about x than the real sum does:
a classifier can be built that reads x off the last bits and is then certified
where it is wrong (docs/lattice.md). Here nothing is left to read. An 8-bit
image is k / 255 with whole k, the noise is a whole number
t = round(255 * sigma * N(0, 1)), drawn as such by the law that `lattice_law`
has, and what the network sees is a function of the integer k + t alone.

References:
  Voracek and Hein (2022), Sound randomized smoothing in floating-point
  arithmetics, https://arxiv.org/abs/2207.07209
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

from dualrs_jax import lattice_law
from dualrs_jax.lattice_law import (
  LARGEST_SIZE,
  SIZES,
  USUAL_SIZE,
  WHITE,
  largest_level,
)

#: float32 images are k / 255 up to the rounding of a division by 255, however
#: it was done: 255 * x differs from k by less than this.
_TOLERANCE = 2.0**-14


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Lattice:
  """Noise for 8-bit images, a `Noise`; see `lattice_noise`, which makes it.

  Attributes:
    levels: The noise levels that it can draw, in pixel units.
    high: Upper 32 bits of the columns' thresholds.
    packed: The thresholds' other bits, and below them the columns' aliases.
  """

  levels: Float[Array, ' levels']
  high: UInt32[Array, 'levels columns']
  packed: UInt32[Array, 'levels columns']

  def __call__(
    self,
    key: PRNGKeyArray,
    image: Float[Array, '*image'],
    sigma: Float[Array, ''],
  ) -> Float[Array, '*image']:
    """Returns one noisy copy, a function of 255 * image + integer noise alone.

    Every pixel is NaN, so that the vote is invalid, if the image is off the
    lattice or sigma is not exactly one of the levels.
    """
    matches = self.levels == sigma
    known = matches.any() & on_lattice(image).all()
    noise = self.draw(key, image.shape, jnp.argmax(matches))
    return jnp.where(known, noisy_image(image, noise), jnp.nan)

  def draw(
    self,
    key: PRNGKeyArray,
    shape: tuple[int, ...],
    level: int | Int[Array, ''],
  ) -> Int[Array, '*shape']:
    """Integer noise, in units of 1 / 255, independent in every pixel.

    Args:
      key: The key of the vote.
      shape: The shape of the image.
      level: The index of the noise level, which must be in range.
    """
    columns = self.high.shape[1]
    bits = columns.bit_length() - 1
    # A pixel's 64 bits: `bits` of them choose a column, the others, of which
    # `first` are the upper 32, are compared with its threshold.
    first, second = jax.random.bits(key, (2, *shape), jnp.uint32)
    column = (second >> (32 - bits)).astype(jnp.int32)
    rest = second & (2 ** (32 - bits) - 1)
    at = jnp.asarray(level, jnp.int32) * columns + column
    high = self.high.reshape(-1).at[at].get(mode='promise_in_bounds')
    packed = self.packed.reshape(-1).at[at].get(mode='promise_in_bounds')
    below = (first < high) | ((first == high) & (rest < packed >> bits))
    alias = (packed & (columns - 1)).astype(jnp.int32)
    return jnp.where(below, column, alias) - columns // 2

  def check(
    self,
    image: Float[Array | np.ndarray, '*image'],
    sigmas: Any,
  ) -> None:
    """Refuses what this noise was not made for, where values are concrete.

    Args:
      image: One image or several.
      sigmas: One noise level or several.

    Raises:
      ValueError: If a pixel is not k / 255 with k = 0..255, or a noise level
        is not exactly, as float32, one of `levels`.
    """
    if not isinstance(image, Tracer):
      pixels = np.asarray(image, np.float32)
      off = ~on_lattice(pixels)
      if off.any():
        raise ValueError(
          'Lattice noise is for 8-bit images, whose pixels are k / 255 with k'
          f' = 0..255, but this one holds {pixels[off][0]:.9g}: round it to 8'
          ' bits first, which makes it the image that is certified, or use'
          ' gaussian noise.'
        )
    if not isinstance(sigmas, Tracer) and not isinstance(self.levels, Tracer):
      levels = np.asarray(self.levels)
      wanted = np.atleast_1d(np.asarray(sigmas, np.float32))
      missing = wanted[~np.isin(wanted, levels)]
      if missing.size:
        made = ', '.join(map(str, levels))
        raise ValueError(
          f'This lattice noise was made for the levels {made}, not'
          f' for sigma = {missing[0]!s}; pass every level, that of the'
          ' estimator too, to lattice_noise.'
        )

  def total_variation(self) -> Float[np.ndarray, ' levels']:
    """The total variation between a pixel's noise and the ideal, per level.

    The ideal is round(255 * sigma * N(0, 1)). A noisy copy of an image of d
    pixels is within d times this of its ideal. Host only.
    """
    columns = self.high.shape[1]
    return np.array(
      [
        lattice_law.law(float(level), columns).total_variation
        for level in np.asarray(self.levels)
      ]
    )

  def failure_probability(self, *, pixels: int, votes: int) -> float:
    """What the distance from the ideal law may add to alpha, at most.

    Args:
      pixels: Number of pixels of an image, its channels included.
      votes: Number of estimation votes that one claim may rest on: n at a
        single noise level, 2 n for a dual certificate (docs/lattice.md).

    Returns:
      votes * pixels * total_variation of the worst level, rounded up.
    """
    worst = float(self.total_variation().max())
    return math.nextafter(votes * pixels * worst, math.inf)


def lattice_noise(
  sigmas: Float[Array | np.ndarray, ' levels'] | Sequence[float],
  *,
  columns: int | None = None,
) -> Lattice:
  """Exact integer noise for 8-bit images, at these noise levels.

  Guarantee: with Q(z) = round(255 z) / 255, the noisy copy of an image k / 255
  at level sigma is, up to `Lattice.total_variation` per pixel, a function of
  Q(k / 255 + sigma * eps) with eps ~ N(0, I) in the reals. A certificate from
  such copies is therefore one of f after Q, at every real point of the ball,
  without loss of radius, at alpha + `Lattice.failure_probability`.

  Args:
    sigmas: Every noise level that will be drawn, in pixel units: those of the
      classifier and that of the estimator. They are matched as float32.
    columns: Size of a level's table, a power of 2 from 2**8 to 2**16; by
      default the smallest from 2**13 on that holds the largest level. The
      noise of a pixel is below columns / 2 in absolute value, in units of
      1 / 255, and sigma is at most about columns / 4230.

  Returns:
    The noise, a callable pytree: pass it as `noise=`.

  Raises:
    ValueError: If a level is not positive, or so large that a normal variable
      leaves the table with a probability above 2**-53: any table, beyond
      15.4961.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> noise = lattice_noise([0.25, 0.5])
    >>> image = jnp.array([0, 7, 255]) / 255
    >>> noisy = noise(jax.random.key(0), image, jnp.float32(0.5))
    >>> steps = 255 * noisy
    >>> bool(jnp.allclose(steps, jnp.round(steps), atol=1e-3))
    True
  """
  if columns is not None and columns not in SIZES:
    raise ValueError(
      f'columns must be a power of 2 from 256 to 65536, not {columns}.'
    )
  # Rounded to float32 first: the law is that of the level which is matched.
  levels = np.unique(np.asarray(sigmas, np.float32))
  if not levels.size or not np.all((levels > 0) & (levels < np.inf)):
    raise ValueError(
      'Lattice noise needs at least one noise level, each positive and finite,'
      f' not {np.asarray(sigmas).tolist()}.'
    )
  sizes = [size for size in SIZES if size >= USUAL_SIZE]
  holding = [size for size in sizes if levels[-1] <= largest_level(size)]
  if not holding:
    raise ValueError(
      f'sigma = {levels[-1]} is too large for lattice noise, which holds at'
      f' most {largest_level(LARGEST_SIZE)}; gaussian noise has no'
      ' limit, but its rounding is not accounted for (docs/lattice.md).'
    )
  size = holding[0] if columns is None else columns
  if levels[-1] > largest_level(size):
    raise ValueError(
      f'sigma = {levels[-1]} is too large for lattice noise of {size}'
      f' columns, which holds at most {largest_level(size)}; leave'
      f' columns out, or pass columns={holding[0]}.'
    )
  tables = [lattice_law.table(float(level), size) for level in levels]
  high, packed = (np.stack(part) for part in zip(*tables, strict=True))
  return Lattice(jnp.asarray(levels), jnp.asarray(high), jnp.asarray(packed))


def on_lattice(
  image: Float[Array | np.ndarray, '*image'],
) -> Bool[Array | np.ndarray, '*image']:
  """Whether pixels are k / 255, k = 0..255, as float32 can tell.

  Accepted is what any way of dividing by 255 in float32 makes of k:
  abs(255 * x - k) <= 2**-14. The certificate is of the image k / 255.
  """
  xp = np if isinstance(image, np.ndarray) else jnp
  scaled = image * WHITE
  nearest = xp.clip(xp.rint(scaled), 0, WHITE)
  return xp.abs(scaled - nearest) <= _TOLERANCE


def noisy_image(
  image: Float[Array, '*image'], noise: Int[Array, '*image']
) -> Float[Array, '*image']:
  """What the network sees: a function of k + noise alone, k = 255 * image.

  The sum is one of int32. It is converted exactly and multiplied once, by the
  float32 next to 1 / 255; so an image without noise is `data.to_unit` of k. A
  compiler may fuse that product with what the network does next, but whatever
  it makes of it remains a function of the sum. Undefined off the lattice.
  """
  steps = jnp.rint(image * WHITE).astype(jnp.int32) + noise
  return steps.astype(jnp.float32) * jnp.float32(1 / WHITE)
