"""The law of integer noise, exactly, and the tables that devices draw it from.

The noise of a pixel is t = round(255 * sigma * N(0, 1)). Its law is computed in
decimal arithmetic, rounded to multiples of 2**-64, and drawn without further
error by an alias table.

References:
  Walker (1977), An efficient method for generating discrete random variables
  with general distributions.
"""

import functools
import math
from collections.abc import Sequence
from decimal import Context, Decimal, localcontext
from typing import NamedTuple

import numpy as np
from scipy import special

#: The largest value of a pixel.
WHITE = 255
#: Sizes that a table may have, and the smallest that is used unasked.
SIZES = [2**bits for bits in range(8, 17)]
USUAL_SIZE, LARGEST_SIZE = 2**13, 2**16
#: Two words of 32 bits choose the noise of a pixel, so probabilities are
#: multiples of 2**-64.
_BITS = 64
#: The most that the normal law may hold beyond the ends of a table.
_TAIL = 2.0**-53
#: Decimal digits with which the normal law is computed.
_CONTEXT = Context(prec=60)
_SQRT_2PI = Decimal(
  '2.506628274631000502415765284811045253006986740609938316629923576'
)
#: No more than 1e-50 of the normal law is beyond so many deviations.
_FAR = 15


class Law(NamedTuple):
  """The law of the noise of one pixel at one level.

  Attributes:
    masses: Of t = -columns / 2, ..., columns / 2 - 1, in units of 2**-64:
      integers that sum to 2**64. The first is 0, the others are symmetric.
    total_variation: The distance to round(255 * sigma * N(0, 1)), rounded up:
      no event differs in probability by more.
  """

  masses: tuple[int, ...]
  total_variation: float


def largest_level(columns: int) -> float:
  """The largest sigma whose noise a table of this size holds, to 4 digits."""
  largest = (columns - 1) / 2 / WHITE / -float(special.ndtri(_TAIL / 2))
  return math.floor(largest * 10_000) / 10_000


@functools.lru_cache(maxsize=64)
def law(sigma: float, columns: int) -> Law:
  """The integer law of the noise of one pixel, and its distance to the ideal.

  The ideal mass of t is Phi((t + 1/2) / s) - Phi((t - 1/2) / s), s = 255 sigma.
  It is computed to more than 50 digits and rounded to a multiple of 2**-64;
  t = 0 takes up what is missing in the sum.

  Args:
    sigma: The noise level, exactly.
    columns: The number of values that t may take.
  """
  half = columns // 2
  with localcontext(_CONTEXT):
    unit = Decimal(2) ** -_BITS
    cell = 1 / (WHITE * Decimal(sigma))
    lower = _phi_minus_half(cell / 2)
    centre, positive, distance = 2 * lower, [], Decimal(0)
    while len(positive) < half - 1:
      upper = _phi_minus_half((len(positive) + Decimal('1.5')) * cell)
      ideal = upper - lower
      mass = int((ideal / unit).to_integral_value())
      if not mass:
        break  # nor is there any further out, where the ideal falls
      distance += abs(mass * unit - ideal)
      positive.append(mass)
      lower = upper
    tail = Decimal('0.5') - lower
    middle = 2**_BITS - 2 * sum(positive)
    distance += tail + abs(middle * unit - centre) / 2
    bound = math.nextafter(float(distance + Decimal('1e-45')), math.inf)
  positive += [0] * (half - 1 - len(positive))
  return Law((0, *reversed(positive), middle, *positive), bound)


def _phi_minus_half(x: Decimal) -> Decimal:
  """Phi(x) - 1/2 for x >= 0, within 1e-50.

  phi(x) * sum of x**k / k!! over odd k: there is nothing to cancel.
  """
  if x > _FAR:
    return Decimal('0.5')
  square, term, total, odd = x * x, x, Decimal(0), 1
  while total + term != total:
    total += term
    odd += 2
    term *= square / odd
  return total * (-square / 2).exp() / _SQRT_2PI


def alias_table(masses: Sequence[int]) -> tuple[list[int], list[int]]:
  """Walker's alias table of integer masses, exactly.

  Column i is drawn uniformly, and a number below size = sum(masses) / columns
  uniformly; below thresholds[i] the outcome is i, else aliases[i].

  Args:
    masses: Of each outcome; their sum is a multiple of their number.

  Returns:
    thresholds, below size, and aliases. A column of one outcome has threshold
    0 and itself as alias.
  """
  size, remainder = divmod(sum(masses), len(masses))
  assert not remainder
  left = list(masses)
  thresholds, aliases = [0] * len(masses), list(range(len(masses)))
  small = [i for i, mass in enumerate(left) if mass < size]
  large = [i for i, mass in enumerate(left) if mass > size]
  while small:
    # Masses sum to `size` per open column: with a small one, there is a large.
    low, donor = small.pop(), large[-1]
    thresholds[low], aliases[low] = left[low], donor
    left[donor] -= size - left[low]
    if left[donor] <= size:
      large.pop()
      if left[donor] < size:
        small.append(donor)
  return thresholds, aliases


@functools.lru_cache(maxsize=64)
def table(sigma: float, columns: int) -> tuple[np.ndarray, np.ndarray]:
  """The alias table of one level, as the words that devices read."""
  thresholds, aliases = (
    np.array(part, np.uint64)
    for part in alias_table(law(sigma, columns).masses)
  )
  bits = columns.bit_length() - 1
  low_bits = np.uint64(32 - bits)
  high = thresholds >> low_bits
  low = thresholds & ((np.uint64(1) << low_bits) - np.uint64(1))
  packed = (low << np.uint64(bits)) | aliases
  return high.astype(np.uint32), packed.astype(np.uint32)
