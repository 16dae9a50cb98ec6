"""What votes at a level of the image amount to, from docs/theory.md, section 9.

The level of an image follows from its distance to the training images, which
is taken as recorded: no counts show it.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualrs_jax.verify import bounds, claims, tails
from dualrs_jax.verify.claims import ABSTAIN, Claim
from dualrs_jax.verify.rows import Row

#: The relative error of an operation with 32 bits, which make distances and
#: levels.
_UNIT = 2.0**-24
#: That of the exponential with 64 bits, which versions may round otherwise.
_EXPONENTIAL = 1e-13


def certified(row: Row, settings: Mapping[str, Any]) -> tuple[Claim, Claim]:
  """The least that a careful computation claims, and the most that is true.

  Args:
    row: A row whose votes fit the settings, see `votes.problems`.
    settings: Those of its run.
  """
  label = claims.leader(row.classifier_selection.get(0, ()))
  votes = row.classifier_estimation.get(0, ())
  wins = votes[label] if votes else 0
  scores = bounds.fixed(wins, settings['n'], claims.alpha_of(settings)).tolist()
  found = sigmas(row, settings)
  radii = [0.0, 0.0]
  if found:
    sigma = row.sigma if row.sigma in found else found[0]
    radii = [
      _radii(z, sigma, row.distance, settings)[end]
      for end, z in enumerate(scores)
    ]
  least, most = (
    Claim(
      predict=label if radius > 0 else ABSTAIN,
      radius_full=radius,
      sigma_index=0,
      status='certified' if radius > 0 else 'classifier',
      classifier_radius=radius,
    )
    for radius in radii
  )
  return least, most


def sigmas(row: Row, settings: Mapping[str, Any]) -> tuple[float, ...]:
  """The level of an image: one number with 32 bits, or two next to each other.

  Args:
    row: Of which the distance is looked at.
    settings: Those of its run.

  Returns:
    None where no positive number is one.
  """
  level = settings['distance']
  power = level['rate'] * (row.distance - level['centre'])
  with np.errstate(over='ignore', under='ignore'):
    grown = level['base'] * np.exp(np.float64(power))
    ends = [
      float(np.float32(grown * factor))
      for factor in (1 - _EXPONENTIAL, 1 + _EXPONENTIAL)
    ]
  return tuple(end for end in dict.fromkeys(ends) if 0 < end < math.inf)


def slack(
  level: Mapping[str, Any], distance: float, reach: float, pixels: int
) -> float:
  """How far rounding may bring the logarithms of two levels apart.

  Args:
    level: How it follows from a distance.
    distance: That of an image.
    reach: How far away another image is, at most.
    pixels: The dimension of an image.
  """
  if not level['rate']:
    return 0.0
  steps = pixels / 2 + level['neighbours'] + 4
  error = steps * _UNIT / (1 - 2 * steps * _UNIT)
  return 2 * (level['rate'] * (distance + reach) * error + 4 * _UNIT)


def _radii(
  z: float, sigma: float, distance: float, settings: Mapping[str, Any]
) -> tuple[float, float]:
  level, pixels = settings['distance'], settings['pixels']
  apart = slack(level, distance, sigma * max(z, 0.0), pixels)
  return tails.radius(z, sigma, level['rate'], apart, pixels)
