"""What a certified radius is worth, to the estimator that chooses the level.

The radius itself favours large levels: an image that gains much outweighs many
that lose a little. A table of certified accuracy counts how many images pass
each of its radii; `report` is worth that, with smooth steps. Its weights say
how much each of the radii counts.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

#: What certified radii are worth: an array in, one of its shape out.
Utility = Callable[[Array], Array]

#: In `balanced`, radii that fewer images reach count as if so many did: a few
#: images would otherwise decide about all others.
_LEAST_SHARE = 0.01


def radius_utility(
  *, radii: Sequence[float], weights: Sequence[float], width: float
) -> Utility:
  """The radius itself, as in the source paper; the arguments play no part."""
  del radii, weights, width
  return lambda radius: radius


def report_utility(
  *, radii: Sequence[float], weights: Sequence[float], width: float
) -> Utility:
  """The share of report radii that a radius passes, smoothed.

  Args:
    radii: The radii at which certified accuracy is to be reported.
    weights: Of the radii, in the same order; empty for equal ones. They are
      scaled to a sum of 1.
    width: Of the logistic step at each, in the unit of the radii.

  Raises:
    ValueError: The radii and their weights differ in number, or the weights
      are not non-negative numbers of a positive sum.
  """
  weights = tuple(weights) or (1.0,) * len(radii)
  if len(weights) != len(radii):
    raise ValueError(
      f'{len(radii)} utility radii need as many weights, not {len(weights)}'
    )
  total = sum(weights)
  if not (min(weights) >= 0 and 0 < total < np.inf):
    raise ValueError(
      'utility.weights must be non-negative numbers, not all of them 0, and'
      f' are {weights}'
    )

  def utility(radius):
    steps = [
      weight / total * jax.nn.sigmoid((radius - threshold) / width)
      for threshold, weight in zip(radii, weights, strict=True)
      if weight > 0
    ]
    return jnp.stack(steps).sum(0)

  return utility


def parse_weights(
  weights: str | Sequence[float | int],
) -> tuple[float, ...] | None:
  """The weights of a configuration: numbers, or None for 'balanced'.

  Args:
    weights: 'balanced', numbers, or a text of numbers with commas between
      them, as a command line has it; empty for equal weights.

  Raises:
    ValueError: A text that is neither.
  """
  if not isinstance(weights, str):
    return tuple(map(float, weights))
  if weights == 'balanced':
    return None
  try:
    return tuple(map(float, weights.strip('()').split(','))) if weights else ()
  except ValueError:
    raise ValueError(
      "estimator.utility.weights must be 'balanced' or numbers with commas"
      f' between them, not {weights!r}'
    ) from None


def balanced(
  bounds: Float[np.ndarray, 'examples levels'], radii: Sequence[float]
) -> tuple[float, ...]:
  """Weights by which every reported radius counts alike.

  The inverse of the share of images that the best single level certifies at a
  radius: the sum of the ratios to the best single level is then what is
  maximised, whatever the data set. A radius that no level reaches counts
  nothing.

  Args:
    bounds: The radius targets of all training images, in pixel units.
    radii: The radii at which certified accuracy is to be reported.

  Returns:
    A weight for each radius; equal ones where no image can be certified.
  """
  shares = best_shares(bounds, radii)
  if not shares.any():
    return (1.0,) * len(radii)
  counted = np.maximum(shares, _LEAST_SHARE)
  return tuple(np.where(shares > 0, 1 / counted, 0.0).tolist())


def best_shares(
  bounds: Float[np.ndarray, 'examples levels'], radii: Sequence[float]
) -> Float[np.ndarray, ' radii']:
  """The share of images that the best single level certifies, per radius."""
  at = np.asarray(radii, np.float64)
  passed = (bounds > 0)[..., None] & (bounds[..., None] >= at)
  return passed.mean(axis=0).max(axis=0)


class Choice(NamedTuple):
  """What a level of its own for each image is worth.

  Attributes:
    best: The index of the level that is worth most for all images.
    gain: How much more the best level of each image is worth, as a share; 0
      where there is nothing to choose from.
  """

  best: int
  gain: float


def choice(
  bounds: Float[np.ndarray, 'examples levels'], utility: Utility
) -> Choice:
  """Compares the best level of each image with the best one for all.

  Args:
    bounds: The radius targets. Images that no level certifies do not count.
    utility: Of a radius.
  """
  counted = bounds[(bounds > 0).any(-1)]
  if not len(counted):
    return Choice(0, 0.0)
  worth = np.asarray(utility(jnp.maximum(jnp.asarray(counted), 0.0)))
  for_all = worth.mean(axis=0)
  best = int(for_all.argmax())
  per_image = worth.max(axis=-1).mean()
  gain = per_image / for_all[best] - 1 if for_all[best] > 0 else 0.0
  return Choice(best, float(gain))


#: The utilities by their names in configurations.
UTILITIES = {'radius': radius_utility, 'report': report_utility}
