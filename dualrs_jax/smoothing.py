"""Randomized smoothing at one noise level.

The smoothed classifier is g(x) = argmax_c P[f(x + sigma * eps, sigma) = c]
with standard normal eps. Where its class has probability p > 1/2 at x, it
keeps that class within the l2 ball of radius sigma * Phi^-1(p).

References:
  Cohen, Rosenfeld and Kolter (2019), Certified adversarial robustness via
  randomized smoothing, https://arxiv.org/abs/1902.02918
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dualrs_jax import confidence, validation, voting
from dualrs_jax import noise as noise_lib
from dualrs_jax.base import ABSTAIN, Certificate, Classifier, Counts, Prediction


def certify(
  classifier: Classifier,
  image: Float[Array | np.ndarray, '*image'],
  sigma: Float[Array | np.ndarray, ''] | float,
  key: PRNGKeyArray,
  *,
  n0: int,
  n: int,
  alpha: float,
  chunk_size: int,
  noise: Any = noise_lib.gaussian,
  mesh: Mesh | None = None,
) -> Certificate:
  """Certifies the smoothed classifier at one image.

  Guarantee: with probability at least 1 - alpha over the noise, either this
  abstains, or the smoothed classifier returns `prediction` at every point
  whose l2 distance to the image is below `radius`.

  Args:
    classifier: The base classifier f, a callable pytree or a function.
    image: One image in [0, 1], shape [*image].
    sigma: The noise level, a scalar in pixel units; may be traced.
    key: The key of this image, see `noise.image_key`.
    n0: Number of votes that select the class.
    n: Number of fresh votes that bound its probability.
    alpha: Failure probability.
    chunk_size: Noisy copies per device and forward pass.
    noise: The sampler of noisy images.
    mesh: Spreads the votes over its devices; without one, they are computed
      where the caller is. Neither changes the counts.

  Returns:
    The certificate; radius in pixel units, float32 rounded down.

  Raises:
    ValueError: If the image, sigma, the key, n0, n, alpha or chunk_size is
      invalid, or n votes can never certify at alpha.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> def half_space(images, sigma):  # class 0 where the first pixel < 0.7
    ...   return jnp.stack([0.7 - images[:, 0], images[:, 0] - 0.7], axis=-1)
    >>> answer = certify(
    ...   half_space,
    ...   jnp.full(2, 0.5),
    ...   0.25,
    ...   jax.random.key(0),
    ...   n0=100,
    ...   n=10_000,
    ...   alpha=0.001,
    ...   chunk_size=1_000,
    ... )
    >>> int(answer.prediction), bool(0.18 < answer.radius < 0.2)
    (0, True)
  """
  image = validation.as_array(image, 'The image')
  sigma = validation.as_array(sigma, 'sigma')
  n0, n = validation.as_votes('n0', n0), validation.as_votes('n', n)
  chunk_size = validation.as_votes('chunk_size', chunk_size)
  alpha = validation.as_alpha(alpha)
  validation.check_image(image)
  validation.check_scalar_sigma(sigma)
  validation.check_key(key)
  validation.check_votes(n0, n, alpha, chunk_size)
  sigma = jnp.asarray(sigma, jnp.float32)
  counts = voting.count_votes(
    classifier,
    image,
    sigma,
    key,
    n0=n0,
    n=n,
    chunk_size=chunk_size,
    noise=noise,
    mesh=mesh,
  )
  validation.check_classes(counts.estimation.shape[-1])
  return certificate_of_counts(counts, sigma, n=n, alpha=alpha)


def certificate_of_counts(
  counts: Counts,
  sigma: Float[Array | np.ndarray, '...'] | float,
  *,
  n: int,
  alpha: float,
) -> Certificate:
  """The certificate that votes at one noise level amount to.

  NumPy counts are evaluated in float64, JAX counts in float32; both round
  down.

  Args:
    counts: Arrays of shape [..., classes].
    sigma: The noise level, a scalar in pixel units.
    n: Number of estimation votes, the invalid ones included.
    alpha: Failure probability.

  Returns:
    The certificate, see `certify` for its guarantee.
  """
  xp = confidence.namespace(counts.estimation)
  top = xp.argmax(counts.selection, axis=-1)
  votes = xp.take_along_axis(counts.estimation, top[..., None], axis=-1)
  z = confidence.lookup(confidence.lower_z(n, alpha), votes[..., 0])
  radius = confidence.scale_down(confidence.level_like(sigma, z), z)
  return Certificate(
    xp.where(radius > 0, top, ABSTAIN),
    xp.where(radius > 0, radius, xp.zeros_like(radius)),
    counts,
  )


def predict(
  classifier: Classifier,
  image: Float[Array | np.ndarray, '*image'],
  sigma: Float[Array | np.ndarray, ''] | float,
  key: PRNGKeyArray,
  *,
  n: int,
  alpha: float,
  chunk_size: int,
  noise: Any = noise_lib.gaussian,
  mesh: Mesh | None = None,
) -> Prediction:
  """Predicts with the smoothed classifier, without a radius.

  Guarantee: with probability at least 1 - alpha over the noise, this abstains
  or returns the class of the smoothed classifier at the image (PREDICT of
  Cohen et al. 2019).

  Args:
    classifier: The base classifier f, a callable pytree or a function.
    image: One image in [0, 1], shape [*image].
    sigma: The noise level, a scalar in pixel units; may be traced.
    key: The key of this image, see `noise.image_key`.
    n: Number of votes.
    alpha: Failure probability.
    chunk_size: Noisy copies per device and forward pass.
    noise: The sampler of noisy images.
    mesh: Spreads the votes over its devices.

  Raises:
    ValueError: If an argument is invalid, see `certify`.
  """
  image = validation.as_array(image, 'The image')
  sigma = validation.as_array(sigma, 'sigma')
  n, alpha = validation.as_votes('n', n), validation.as_alpha(alpha)
  chunk_size = validation.as_votes('chunk_size', chunk_size)
  validation.check_image(image)
  validation.check_scalar_sigma(sigma)
  validation.check_key(key)
  validation.check_chunk_size(chunk_size)
  check_prediction_possible(n, alpha)
  counts = voting.count_votes(
    classifier,
    image,
    sigma,
    key,
    n0=0,
    n=n,
    chunk_size=chunk_size,
    noise=noise,
    mesh=mesh,
  ).estimation
  validation.check_classes(counts.shape[-1])
  return prediction_of_counts(counts, n=n, alpha=alpha)


def check_prediction_possible(
  n: int, alpha: float, *, share: float = 1.0, taken: float = 0.0
) -> None:
  """Raises ValueError where even n unanimous votes would abstain.

  Args:
    n: Number of votes.
    alpha: Failure probability of the prediction.
    share: The share of a stage, of what is left of alpha.
    taken: What the noise takes of alpha before.
  """
  validation.check_votes_number('n', n)
  confidence.check_alpha(alpha)
  part = share * (alpha - taken)
  if n < 1 or confidence.fewest_wins(n, part)[n] > n:
    needed = confidence.what_is_needed(
      n, alpha, share=share, taken=taken, sides=2
    )
    raise ValueError(
      f'n = {n} votes can never predict at'
      f' {confidence.parts_of_alpha(alpha, share, taken)}, not even when all'
      f' agree; {needed}.'
    )


def prediction_of_counts(
  counts: Int[Array | np.ndarray, '... classes'], *, n: int, alpha: float
) -> Prediction:
  """The prediction that n votes amount to; invalid ones oppose the winner."""
  xp = confidence.namespace(counts)
  top = xp.argmax(counts, axis=-1)
  ordered = xp.sort(counts, axis=-1)
  wins = ordered[..., -1]
  invalid = n - counts.sum(axis=-1)
  # With a single class the only competitors are the invalid votes.
  rival = ordered[..., -2] if counts.shape[-1] > 1 else xp.zeros_like(wins)
  table = xp.asarray(confidence.fewest_wins(n, alpha))
  decided = wins >= table[wins + rival + invalid]
  return Prediction(xp.where(decided, top, ABSTAIN), counts)
