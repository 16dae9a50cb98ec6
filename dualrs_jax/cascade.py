"""A cascade of noise levels: the largest that is sure of a class answers.

The levels are visited from the largest down, and the first one at which a
class has more than half of the votes of the smoothed classifier answers; the
smallest answers anyway. No estimator is needed. How votes become a certificate
is in `majorities`. All bounds of a fixed number of votes are of majorities, so
that what is claimed from them holds as well for the cascade whose smallest
level abstains where it has none.

References:
  Jeong and Shin (2023), Multi-scale diffusion denoised smoothing,
  https://arxiv.org/abs/2310.16779
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray

from dualrs_jax import (
  cascade_prediction,
  classifiers,
  compilers,
  majorities,
  smoothing,
  validation,
  voting,
)
from dualrs_jax import experts as experts_lib
from dualrs_jax import noise as noise_lib
from dualrs_jax.base import (
  CascadeCertificate,
  CascadePrediction,
  Classifier,
  Counts,
)


def certify_cascade(
  classifier: Classifier | Sequence[Classifier],
  image: Float[Array | np.ndarray, '*image'],
  sigmas: Float[Array | np.ndarray, 'levels'] | Sequence[float],
  key: PRNGKeyArray,
  *,
  n0: int,
  n: int,
  alpha: float,
  chunk_size: int,
  noise: Any = noise_lib.gaussian,
  mesh: Mesh | None = None,
) -> CascadeCertificate:
  """Certifies the cascade at one image.

  Guarantee: with probability at least 1 - alpha over the noise, either this
  abstains, or the cascade answers `prediction` at every point whose l2
  distance to the image is below `radius`.

  Selection votes are cast at all levels, estimation votes down to the level
  that they choose. Under `vmap` such a choice cannot save work: there, all
  levels are computed.

  Args:
    classifier: The classifier f, or one expert per level as a sequence. The
      expert is chosen by index.
    image: One image in [0, 1], shape [*image].
    sigmas: The K noise levels in any order, in pixel units; may be traced. Of
      equal ones the first is visited first.
    key: The key of this image, see `noise.image_key`.
    n0: Number of selection votes per level.
    n: Number of estimation votes per level that is visited.
    alpha: Failure probability.
    chunk_size: Noisy copies per device and forward pass.
    noise: The sampler of noisy images.
    mesh: Spreads the votes over its devices; without one, they are computed
      where the caller is. Neither changes the counts.

  Returns:
    The certificate; radii in pixel units, float32 rounded down.

  Raises:
    ValueError: If an argument is invalid, the number of experts differs from
      K, or n votes can never certify at alpha.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> def half_space(images, sigma):  # class 0 where the first pixel < 0.7
    ...   return jnp.stack([0.7 - images[:, 0], images[:, 0] - 0.7], axis=-1)
    >>> answer = certify_cascade(
    ...   half_space,
    ...   jnp.full(2, 0.5),
    ...   [0.1, 0.25],
    ...   jax.random.key(0),
    ...   n0=100,
    ...   n=10_000,
    ...   alpha=0.001,
    ...   chunk_size=1_000,
    ... )
    >>> int(answer.prediction), bool(0.18 < answer.radius < 0.2)
    (0, True)

  References:
    Jeong and Shin (2023), https://arxiv.org/abs/2310.16779
  """
  image = validation.as_array(image, 'The image')
  sigmas = validation.as_array(sigmas, 'sigmas')
  n0, n = validation.as_votes('n0', n0), validation.as_votes('n', n)
  chunk_size = validation.as_votes('chunk_size', chunk_size)
  alpha = validation.as_alpha(alpha)
  validation.check_votes(n0, n, alpha, chunk_size)
  experts = checked_experts(classifier, image, sigmas, key, noise, chunk_size)
  return _certify_cascade(
    experts,
    jnp.asarray(image, jnp.float32),
    jnp.asarray(sigmas, jnp.float32),
    key,
    classifiers.as_pytree(noise),
    n0=n0,
    n=n,
    alpha=alpha,
    chunk_size=chunk_size,
    mesh=mesh,
  )


def checked_experts(
  classifier, image, sigmas, key, noise, chunk_size
) -> tuple[Classifier, ...]:
  """Checks what the entry points share; returns one classifier, or K."""
  validation.check_sigmas(sigmas)
  validation.check_image(image)
  validation.check_key(key)
  voting.check_noise(noise, image, sigmas)
  levels = np.shape(sigmas)[0]
  return experts_lib.checked(classifier, image, levels, chunk_size)


@functools.partial(
  compilers.jit, static_argnames=('n0', 'n', 'alpha', 'chunk_size', 'mesh')
)
def _certify_cascade(
  experts, image, sigmas, key, noise, *, n0, n, alpha, chunk_size, mesh
) -> CascadeCertificate:
  options = {'chunk_size': chunk_size, 'noise': noise, 'mesh': mesh}
  selects = functools.partial(voting.count_votes, n0=n0, n=0, **options)
  estimates = functools.partial(voting.count_votes, n0=0, n=n, **options)
  levels = jnp.arange(sigmas.shape[0])
  classes = classifiers.num_classes(experts[0], image, batch=chunk_size)
  validation.check_classes(classes)

  def select(level):
    args = experts, level, selects, image, sigmas[level], key
    return experts_lib.count(*args).selection

  def estimate(level):
    args = experts, level, estimates, image, sigmas[level], key
    return experts_lib.count(*args).estimation

  def skip(level):
    del level
    return jnp.zeros(classes, jnp.int32)

  selection = lax.map(select, levels)
  chosen, *_ = majorities.choose(majorities.likely_z(selection, n0), sigmas)
  place = majorities.visits(sigmas)
  estimation = lax.map(
    lambda k: lax.cond(place[k] <= place[chosen], estimate, skip, k), levels
  )
  return majorities.certificate_of_counts(
    Counts(selection, estimation), sigmas, n0=n0, n=n, alpha=alpha
  )


def predict_cascade(
  classifier: Classifier | Sequence[Classifier],
  image: Float[Array | np.ndarray, '*image'],
  sigmas: Float[Array | np.ndarray, 'levels'] | Sequence[float],
  key: PRNGKeyArray,
  *,
  n: int,
  alpha: float,
  chunk_size: int,
  noise: Any = noise_lib.gaussian,
  mesh: Mesh | None = None,
) -> CascadePrediction:
  """Predicts with the cascade, without a radius.

  Each of the K levels has alpha / K, whichever answers: whether a level is
  decided, and for which class, is read from the same votes, so the theorem of
  the full alpha does not apply. A level that is neither sure of a class nor
  sure to have none abstains.

  Guarantee: with probability at least 1 - alpha over the noise, this abstains
  or returns the answer of the cascade at the image.

  Args:
    classifier: The classifier f, or one expert per level as a sequence.
    image: One image in [0, 1], shape [*image].
    sigmas: The K noise levels in any order, in pixel units; may be traced.
    key: The key of this image, see `noise.image_key`.
    n: Number of votes of each level that is visited.
    alpha: Failure probability.
    chunk_size: Noisy copies per device and forward pass.
    noise: The sampler of noisy images.
    mesh: Spreads the votes over its devices.

  Raises:
    ValueError: If an argument is invalid, see `certify_cascade`.
  """
  image = validation.as_array(image, 'The image')
  sigmas = validation.as_array(sigmas, 'sigmas')
  n = validation.as_votes('n', n)
  chunk_size = validation.as_votes('chunk_size', chunk_size)
  alpha = validation.as_alpha(alpha)
  validation.check_chunk_size(chunk_size)
  experts = checked_experts(classifier, image, sigmas, key, noise, chunk_size)
  levels = np.shape(sigmas)[0]
  smoothing.check_prediction_possible(n, alpha, share=1 / levels)
  return _predict_cascade(
    experts,
    jnp.asarray(image, jnp.float32),
    jnp.asarray(sigmas, jnp.float32),
    key,
    classifiers.as_pytree(noise),
    n=n,
    alpha=alpha / levels,
    chunk_size=chunk_size,
    mesh=mesh,
  )


@functools.partial(
  compilers.jit, static_argnames=('n', 'alpha', 'chunk_size', 'mesh')
)
def _predict_cascade(
  experts, image, sigmas, key, noise, *, n, alpha, chunk_size, mesh
) -> CascadePrediction:
  count = functools.partial(
    voting.count_votes,
    n0=0,
    n=n,
    chunk_size=chunk_size,
    noise=noise,
    mesh=mesh,
  )
  classes = classifiers.num_classes(experts[0], image, batch=chunk_size)
  validation.check_classes(classes)

  def sample(level):
    args = experts, level, count, image, sigmas[level], key
    return experts_lib.count(*args).estimation

  def skip(level):
    del level
    return jnp.zeros(classes, jnp.int32)

  def visit(going_on, level):
    votes = lax.cond(going_on, sample, skip, level)
    _, undecided = cascade_prediction.judge(votes, n=n, alpha=alpha)
    return going_on & undecided, votes

  order = jnp.argsort(majorities.visits(sigmas))
  _, votes = lax.scan(visit, jnp.asarray(True), order)
  counts = jnp.zeros_like(votes).at[order].set(votes)
  return cascade_prediction.prediction_of_counts(
    counts, sigmas, n=n, alpha=alpha
  )
