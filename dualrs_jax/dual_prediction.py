"""The class of the dual smoothed classifier at one image, without a radius.

PREDICT for both stages, see `predict_dual`; `dual` certifies.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray

from dualrs_jax import (
  classifiers,
  compilers,
  dual,
  smoothing,
  validation,
  voting,
)
from dualrs_jax import experts as experts_lib
from dualrs_jax import noise as noise_lib
from dualrs_jax.base import ABSTAIN, Classifier, DualPrediction


def predict_dual(
  estimator: Classifier,
  classifier: Classifier | Sequence[Classifier],
  image: Float[Array | np.ndarray, '*image'],
  sigmas: Float[Array | np.ndarray, 'levels'] | Sequence[float],
  estimator_sigma: Float[Array | np.ndarray, ''] | float,
  key: PRNGKeyArray,
  *,
  n: int,
  alpha: float,
  chunk_size: int,
  noise: Any = noise_lib.gaussian,
  mesh: Mesh | None = None,
) -> DualPrediction:
  """Predicts with the dual smoothed classifier, without a radius.

  PREDICT for the estimator, then for the classifier at the predicted level,
  at alpha / 2 each: PREDICT selects on its own votes, so the theorem of the
  full alpha does not apply. An undecided estimator abstains.

  Guarantee: with probability at least 1 - alpha over the noise, this abstains
  or returns G at the image.

  Args:
    estimator: The variance estimator h: a classifier over the K levels.
    classifier: The classifier f, or one expert per level as a sequence.
    image: One image in [0, 1], shape [*image].
    sigmas: The K noise levels, in pixel units; may be traced.
    estimator_sigma: The noise level of the estimator; may be traced.
    key: The key of this image, see `noise.image_key`.
    n: Number of votes of each stage.
    alpha: Failure probability.
    chunk_size: Noisy copies per device and forward pass.
    noise: The sampler of noisy images.
    mesh: Spreads the votes over its devices.

  Raises:
    ValueError: If an argument is invalid, see `dual.certify_dual`.
  """
  image = validation.as_array(image, 'The image')
  sigmas = validation.as_array(sigmas, 'sigmas')
  estimator_sigma = validation.as_array(estimator_sigma, 'estimator_sigma')
  n, alpha = validation.as_votes('n', n), validation.as_alpha(alpha)
  chunk_size = validation.as_votes('chunk_size', chunk_size)
  validation.check_chunk_size(chunk_size)
  validation.check_levels(sigmas, estimator_sigma)
  share = 1.0 if np.shape(sigmas)[0] == 1 else 0.5
  smoothing.check_prediction_possible(n, alpha, share=share)
  experts = dual.checked_experts(
    estimator, classifier, image, sigmas, key, chunk_size
  )
  voting.check_noise(noise, image, sigmas)
  voting.check_noise(noise, image, estimator_sigma)
  return _predict_dual(
    classifiers.as_pytree(estimator),
    experts,
    jnp.asarray(image, jnp.float32),
    jnp.asarray(sigmas, jnp.float32),
    jnp.asarray(estimator_sigma, jnp.float32),
    key,
    classifiers.as_pytree(noise),
    n=n,
    alpha=alpha * share,
    chunk_size=chunk_size,
    mesh=mesh,
  )


@functools.partial(
  compilers.jit, static_argnames=('n', 'alpha', 'chunk_size', 'mesh')
)
def _predict_dual(
  estimator,
  experts,
  image,
  sigmas,
  estimator_sigma,
  key,
  noise,
  *,
  n,
  alpha,
  chunk_size,
  mesh,
) -> DualPrediction:
  count = functools.partial(
    voting.count_votes,
    n0=0,
    n=n,
    chunk_size=chunk_size,
    noise=noise,
    mesh=mesh,
  )
  level_votes = count(estimator, image, estimator_sigma, key).estimation
  level = smoothing.prediction_of_counts(
    level_votes, n=n, alpha=alpha
  ).prediction
  if sigmas.shape[0] == 1:
    level = jnp.zeros_like(level)
  usable = jnp.maximum(level, 0)
  votes = experts_lib.count(
    experts, usable, count, image, sigmas[usable], key
  ).estimation
  validation.check_classes(votes.shape[-1])
  label = smoothing.prediction_of_counts(votes, n=n, alpha=alpha).prediction
  return DualPrediction(
    jnp.where(level == ABSTAIN, ABSTAIN, label), level, level_votes, votes
  )
