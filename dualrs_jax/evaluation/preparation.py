"""What a run fixes before its first vote, and needs no network for.

`prepare` is called by the certification, and before it by a training that will
end in one: what cannot be certified is then refused by the same code, in the
same sentence, before anything is trained.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray

from dualrs_jax import (
  compilers,
  confidence,
  smoothing,
  validation,
  vote_batches,
  voting,
)
from dualrs_jax.budgets import NeverCertifies
from dualrs_jax.evaluation import memory, noises, run_plans, sampling
from dualrs_jax.evaluation.smoothed_networks import SmoothedNetworks
from dualrs_jax.runtime import settings as settings_lib


class Prepared(NamedTuple):
  """What a run casts its votes under.

  Attributes:
    settings: Those of the run, with the part of alpha that the noise takes.
    noise: The sampler of noisy images.
    key: The key of the run.
  """

  settings: dict[str, Any]
  noise: Any
  key: PRNGKeyArray


def prepare(
  settings: Mapping[str, Any],
  image_shape: tuple[int, ...],
  *,
  seed: int,
  chunk_size: int,
  mesh: Mesh,
) -> Prepared:
  """Makes noise, bounds and key of a run; its tables are then in memory.

  Args:
    settings: Those of the run, see `methods.result`, without `noise_alpha`
      and `smallest_level`.
    image_shape: The shape of its images.
    seed: Of all noise.
    chunk_size: Noisy copies per device and forward pass; 0 if it is not known.
    mesh: The devices that cast the votes.

  Raises:
    ValueError: If no network could make a certification of this.
  """
  settings_lib.check_seed(seed)
  key = jax.random.key(seed)  # of the kind that JAX was told to make
  validation.check_key(key)
  validation.check_levels(
    settings['sigmas'], settings['estimator_sigma'] or settings['sigmas'][0]
  )
  sampler = noises.make(settings)
  blank = np.zeros(image_shape, np.float32)
  voting.check_noise(sampler, blank, noises.levels(settings))
  _check_numbers(settings)
  taken = noises.alpha(sampler, settings, math.prod(image_shape))
  if taken >= settings['alpha']:
    raise ValueError(
      f'alpha = {settings["alpha"]!r} leaves nothing for the bounds, as exact'
      f' noise takes {taken:.3g} of it; choose a larger alpha, or'
      " certify.noise = 'gaussian', whose rounding is not accounted for"
    )
  settings = {**settings, 'noise_alpha': taken, **_of_smallest(settings)}
  _check_statistics(settings)
  if chunk_size:
    validation.check_chunk_size(chunk_size)
    memory.check_images(mesh, math.prod(image_shape), settings, chunk_size)
  return Prepared(settings, sampler, key)


def rehearse(
  prepared: Prepared, image_shape: tuple[int, ...], classes: int, mesh: Mesh
) -> None:
  """Traces the votes of networks that answer nothing, and computes none.

  What JAX refuses under its present options, it then refuses here.

  Args:
    prepared: The run.
    image_shape: The shape of its images.
    classes: How many classes they have.
    mesh: The devices that cast the votes.
  """
  settings = prepared.settings
  image = jax.ShapeDtypeStruct(image_shape, jnp.float32)
  estimator = None
  if settings['smoothing'] == 'dual':
    estimator = _silent(len(settings['sigmas']))
  smoothed = SmoothedNetworks(
    estimator, _silent(classes), prepared.noise, 1, mesh
  )
  if settings['goal'] is None:
    fixed = functools.partial(sampling.cast_fixed, smoothed, settings)
    with compilers.guarded():  # nothing runs
      jax.eval_shape(fixed, image, prepared.key)
    return
  whole, sigma = np.zeros(1, np.int32), np.zeros(1, np.float32)
  step = vote_batches.VoteBatch(whole, whole, whole, whole, sigma)
  images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  arguments = _silent(classes), images, prepared.key, prepared.noise, step
  jax.eval_shape(vote_batches.cast_batch, *arguments)


def _of_smallest(settings: Mapping[str, Any]) -> dict[str, str]:
  """What is bounded where the smallest level of a cascade answers.

  Runs of before the runner-up was bounded there do not record it.
  """
  rule = run_plans.RULES.get(settings['certificate'] or '')
  falls_back = rule is not None and rule.falls_back
  cascades = settings['smoothing'] == 'cascade' or falls_back
  adaptive = settings['goal'] is not None
  return {'smallest_level': 'runner-up'} if cascades and adaptive else {}


def _silent(width: int) -> Any:
  """A network whose logits are all alike."""
  return jax.tree_util.Partial(_same_logits, np.zeros(width, np.float32))


def _same_logits(
  logits: Float[Array | np.ndarray, ' classes'],
  images: Float[Array, 'batch *image'],
  sigma: Float[Array, ' batch'],
) -> Float[Array, 'batch classes']:
  del sigma
  return jnp.broadcast_to(logits, (len(images), *logits.shape))


def _check_numbers(settings: Mapping[str, Any]) -> None:
  """Raises ValueError unless votes and alpha are in their ranges."""
  confidence.check_alpha(settings['alpha'])
  validation.check_estimation(settings['n'])
  if settings['n0'] is not None:
    validation.check_selection(settings['n0'])


def _check_statistics(settings: Mapping[str, Any]) -> None:
  """Makes the bounds of a run; raises ValueError where they never certify.

  Sentences name alpha as it was asked for.
  """
  n, alpha = settings['n'], settings['alpha']
  taken, levels = settings['noise_alpha'], len(settings['sigmas'])
  if settings['task'] == 'predict' and settings['goal'] is None:
    stages = {'dual': min(levels, 2), 'cascade': levels}
    share = 1 / stages.get(settings['smoothing'], 1)
    smoothing.check_prediction_possible(n, alpha, share=share, taken=taken)
  elif settings['goal'] is not None:
    try:
      run_plans.any_plan(settings)
    except NeverCertifies as error:
      fewest = _fewest_votes(settings, error.fewest)
      raise error.of(alpha, taken, fewest) from error
  elif settings['smoothing'] != 'dual':
    confidence.check_possible(n, alpha, taken=taken)
  else:
    share = run_plans.RULES[settings['certificate']].smallest_share(levels)
    confidence.check_possible(n, alpha, share=share, taken=taken)


def _fewest_votes(
  settings: Mapping[str, Any], fewest: int | None
) -> int | None:
  """The votes with which a plan certifies, though the noise takes more of them.

  Args:
    settings: Those of the run, whose votes are too few.
    fewest: The fewest votes if the noise took the same of them; None if no
      number is enough.
  """
  while fewest is not None:
    taken = settings['noise_alpha'] * fewest / settings['n']
    if taken >= settings['alpha']:
      return None
    try:
      run_plans.any_plan({**settings, 'n': fewest, 'noise_alpha': taken})
    except NeverCertifies as error:
      fewest = error.fewest
    else:
      break
  return fewest
