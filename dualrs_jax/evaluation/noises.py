"""The noise of a run: its sampler, and what that takes of alpha."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from dualrs_jax import denoising, diffusion, lattice, lattice_law, noise
from dualrs_jax.evaluation import run_plans

#: The samplers of noise by their names in configurations and settings.
NAMES = ('gaussian', 'lattice', 'published')


def make(settings: Mapping[str, Any]) -> Any:
  """The sampler that `noise` names, for all levels of the run."""
  if settings['noise'] == 'gaussian':
    return noise.gaussian
  if settings['noise'] == 'lattice':
    largest = lattice_law.largest_level(lattice_law.LARGEST_SIZE)
    if levels(settings).max() > largest:
      raise ValueError(
        f'sigma = {levels(settings).max()} is too large for exact noise, which'
        f" holds at most {largest}; certify.noise = 'gaussian' has no limit,"
        ' but its rounding is not accounted for (docs/lattice.md)'
      )
    return lattice.lattice_noise(levels(settings))
  denoiser = settings['model']['denoiser']
  if not denoiser:
    raise ValueError(
      "noise = 'published' is at the steps of a denoiser's schedule, and there"
      ' is no denoiser'
    )
  schedule = diffusion.Schedule.named(denoiser['schedule'], denoiser['steps'])
  return denoising.PublishedNoise(schedule)


def alpha(sampler: Any, settings: Mapping[str, Any], pixels: int) -> float:
  """How much of alpha the sampler takes, as it is not quite normal.

  Proposition 2 of docs/lattice.md adds the same for each bound whose errors
  are added, see `_added_bounds`.
  """
  if settings['noise'] != 'lattice':
    return 0.0
  votes = _added_bounds(settings) * run_plans.most_votes(settings)
  return sampler.failure_probability(pixels=pixels, votes=votes)


def _added_bounds(settings: Mapping[str, Any]) -> int:
  """At most how many stages can make a claim wrong together.

  A certificate rests on one term of its radius: on the votes of the estimator,
  of the classifier at one level, or of both; in a cascade on those at one
  level. A prediction of a cascade has no radius, and rests on all levels.
  """
  if settings['smoothing'] == 'dual':
    return 2
  if settings['smoothing'] == 'cascade' and settings['task'] == 'predict':
    return len(settings['sigmas'])
  return 1


def levels(settings: Mapping[str, Any]) -> Float[np.ndarray, ' levels']:
  """All noise levels of a run, as they are sampled."""
  estimator = settings['estimator_sigma']
  alone = [] if estimator is None else [estimator]
  return np.asarray([*settings['sigmas'], *alone], np.float32)
