"""The levels of a run that follow the distance to the training images."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dualrs_jax import training_distances
from dualrs_jax.data import Source, to_unit
from dualrs_jax.distance_levels import DistanceLevel

#: Pixels of the training images that are compared at a time: they stay in the
#: cache of a processor while all images pass.
_PIXELS = 2**17


def level(settings: Mapping[str, Any]) -> DistanceLevel:
  """How the level of an image follows from its distance.

  Args:
    settings: Those of a run with `smoothing='distance'`.

  Raises:
    ValueError: If they describe no level.
  """
  return DistanceLevel(**settings['distance'])


def check(settings: Mapping[str, Any], training: Source | None) -> None:
  """Raises ValueError unless there are enough training images."""
  wanted = level(settings).neighbours
  there = 0 if training is None else len(training)
  if there < wanted:
    raise ValueError(
      f'there are {there} training images, fewer than the'
      f' {wanted} of certify.distance.neighbours; choose at most {there}'
    )


def measure(
  source: Source,
  positions: Int[np.ndarray, ' images'],
  training: Source,
  settings: Mapping[str, Any],
) -> dict[int, float]:
  """The mean distances of images to their nearest training images.

  Args:
    source: The images.
    positions: Which of them.
    training: The training images, which are read once.
    settings: Those of the run.

  Returns:
    By dataset index.
  """
  if not len(positions):
    return {}
  images = np.asarray(to_unit(source.gather(positions)[0]))
  found = training_distances.mean_distances_to(
    images, _chunks(training), neighbours=level(settings).neighbours
  )
  indices = source.indices[positions].tolist()
  return dict(zip(indices, found.tolist(), strict=True))


def _chunks(training: Source) -> Iterator[Float[np.ndarray, 'chunk *image']]:
  size = max(1, _PIXELS // math.prod(training.image_shape))
  for start in range(0, len(training), size):
    positions = np.arange(start, min(start + size, len(training)))
    yield np.asarray(to_unit(training.gather(positions)[0]))
