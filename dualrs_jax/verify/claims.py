"""What a row should say, and how its answer and radius are reported."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dualrs_jax.verify import protocols

#: The prediction of a row without an answer.
ABSTAIN = -1


class Claim(NamedTuple):
  """What a row should say, apart from its votes; names are its columns'.

  What a method does not have is 0.

  Attributes:
    predict: The class, or `ABSTAIN`.
    radius_full: The certified radius in pixel units, not rounded.
    sigma_index: The selected noise level, from 0.
    status: How the row was decided, or why it was given up.
    classifier_radius: Within it the classifier there keeps its class.
    estimator_radius: Within it the estimator keeps that level.
    earlier_radius: Within it no level before it answers another class.
  """

  predict: int
  radius_full: float
  sigma_index: int
  status: str
  classifier_radius: float = 0.0
  estimator_radius: float = 0.0
  earlier_radius: float = 0.0


def alpha_of(settings: Mapping[str, Any]) -> float:
  """What the noise leaves of alpha."""
  return settings['alpha'] - settings['noise_alpha']


def sampled(sigmas: Sequence[float]) -> list[float]:
  """Noise levels as noise is scaled by them, with 32 bits."""
  return [float(np.float32(sigma)) for sigma in sigmas]


def leader(votes: Sequence[int]) -> int:
  """The first class with the most votes; 0 where there are none."""
  return votes.index(max(votes)) if votes else 0


def second(cast: Sequence[int]) -> int:
  """How many estimation votes were cast."""
  return cast[1] if cast else 0


def reported(radius: float, settings: Mapping[str, Any]) -> float | None:
  """The radius that is said to be certified, or None for none."""
  if not radius > 0:
    return None
  if settings['goal'] in (None, 'full'):
    return radius
  reached = [asked for asked in settings['radii'] if asked <= radius]
  return max(reached) if reached else None


def cause(
  parts: Mapping[str, tuple[float, Sequence[int]]], settings: Mapping[str, Any]
) -> str:
  """Which parts had all their votes, and fell short nevertheless.

  Args:
    parts: By their name the radius of each, and how many votes its stages
      cast.
    settings: Those of the run.
  """
  protocol = protocols.of(settings)
  first = settings['radii'][0] if settings['radii'] else 0.0
  short = [
    name
    for name, (radius, cast) in parts.items()
    if any(map(protocol.is_last, cast)) and not (radius > 0 and radius >= first)
  ]
  if len(short) > 1:
    return 'both'
  return short[0] if short else 'hopeless'
