"""Losses, as small functions of logits and of radius targets.

Logits of several noisy copies of an image have the copies on their first
axis. `bounds` are signed radii: entry k of an image is the radius within which
the classifier at level k would keep the true class, negative where it does not
even have it.

References:
  Jeong and Shin 2020, Consistency regularization for certified robustness of
  smoothed classifiers, https://arxiv.org/abs/2006.04062.
  Sun, Mao and Vechev 2026, Dual randomized smoothing,
  https://arxiv.org/abs/2512.01782.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special
from jaxtyping import Array, Float, Int

from dualrs_jax.training.utility import Utility

#: Mean probabilities are mixed with that much of each level before they become
#: z-scores. Without it a certain prediction would have infinite ones, and with
#: mere clipping no gradient.
_LEAST_PROBABILITY = 1e-3

#: Of the noisy copies of the images of a batch.
Logits = Float[Array, 'copies batch classes']
#: A value for each image of a batch.
PerImage = Float[Array, ' batch']
#: A value for each image of a batch and noise level.
PerLevel = Float[Array, 'batch levels']
#: A value for each noise level.
Levels = Float[Array, ' levels']

#: The loss of the estimator, per image, from the logits of the noisy copies
#: over the noise levels, the radius targets, `best_level_frequencies`, the
#: noise level of the copies, and how much soft targets still guide, from 1 at
#: the start to 0.
EstimatorLoss = Callable[
  [Logits, PerLevel, Levels, Float[Array, ''], Float[Array, '']], PerImage
]


def cross_entropy(logits: Logits, labels: Int[Array, ' batch']) -> PerImage:
  """Cross-entropy against labels, the mean over the copies."""
  logs = jax.nn.log_softmax(logits)
  return -jnp.take_along_axis(logs, labels[None, :, None], -1)[..., 0].mean(0)


def soft_cross_entropy(
  logits: Logits, targets: Float[Array, 'batch classes']
) -> PerImage:
  """Cross-entropy against distributions, the mean over the copies."""
  return -(targets[None] * jax.nn.log_softmax(logits)).sum(-1).mean(0)


def consistency(
  logits: Logits, *, divergence: PerImage | float, entropy: float
) -> PerImage:
  """How much noise changes the prediction.

  Args:
    logits: of the noisy copies.
    divergence: weight of the mean divergence of a copy's prediction from the
      mean prediction ("lambda").
    entropy: weight of the mean prediction's entropy ("eta").
  """
  logs = jax.nn.log_softmax(logits)
  mean_logs = _mean_log_probabilities(logits)
  mean = jnp.exp(mean_logs)
  apart = mean_logs[None] - logs
  divergences = (mean[None] * apart).sum(-1).mean(0)
  return divergence * divergences - entropy * (mean * mean_logs).sum(-1)


def soft_targets(
  bounds: PerLevel, *, utility: Utility, temperature: float
) -> PerLevel:
  """The softmax, over the levels, of the utility of the radius at each."""
  return jax.nn.softmax(utility(jnp.maximum(bounds, 0.0)) / temperature)


def inverse_frequencies(bounds: PerLevel, frequencies: Levels) -> PerImage:
  """Weights that give each level the same say, whatever its share of images.

  Args:
    bounds: the radius targets.
    frequencies: share of the images that have their largest radius at a level.

  Returns:
    The inverse frequency of each image's best level, over the number of levels
    that are best for some image: a weight of mean 1 over all images. 0 for an
    image whose best level is best for no image that counts.
  """
  levels_in_use = (frequencies > 0).sum(dtype=frequencies.dtype)
  best = frequencies[bounds.argmax(-1)]
  return jnp.where(best > 0, 1 / (best * levels_in_use), 0.0)


def best_level_frequencies(
  bounds: Float[np.ndarray, 'examples levels'],
) -> Float[np.ndarray, ' levels']:
  """Share of the images that have their largest radius at each level.

  Images without a positive radius do not count.
  """
  counted = bounds[(bounds > 0).any(-1)]
  counts = np.bincount(counted.argmax(-1), minlength=bounds.shape[-1])
  return (counts / max(1, len(counted))).astype(np.float32)


def reachable_radius(
  logits: Logits, bounds: PerLevel, *, reach: str
) -> PerImage:
  """The radius at an extreme of the levels that the copies select.

  It weighs consistency: there is no point in it where nothing is certified.

  Args:
    logits: of the noisy copies, over the noise levels in increasing order.
    bounds: the radius targets.
    reach: 'strong' takes the largest selected level, 'weak' the smallest.
  """
  selected = REACHES[reach](logits.argmax(-1), axis=0)
  radius = jnp.take_along_axis(bounds, selected[:, None], -1)[:, 0]
  return jax.lax.stop_gradient(jnp.maximum(radius, 0.0))


def soft_certificate(
  logits: Logits, bounds: PerLevel, estimator_sigma: Float[Array, '']
) -> PerLevel:
  """The agreement certificate's radius for each level, were it selected.

  With p the mean prediction over the copies and z its z-scores, level i gets
  `min(B_i, min over k != i of max(A_ik, B_k))`, where B are the bounds and
  `A_ik = estimator_sigma / 2 * (z_i - z_k)`. It is signed, like the bounds, and
  differentiable in the logits.

  Args:
    logits: of the noisy copies, over the noise levels.
    bounds: the radius targets.
    estimator_sigma: the noise level of the copies.
  """
  z = _z_scores(logits)
  keeps = estimator_sigma / 2 * (z[:, :, None] - z[:, None, :])
  same = jnp.eye(bounds.shape[-1], dtype=bool)
  limits = jnp.where(
    same[None], bounds[:, None], jnp.maximum(keeps, bounds[:, None])
  )
  return limits.min(-1)


def mean_probabilities(logits: Logits) -> Float[Array, 'batch classes']:
  """The mean prediction over the copies."""
  return jnp.exp(_mean_log_probabilities(logits))


def paper_loss(
  logits: Logits,
  bounds: PerLevel,
  frequencies: Levels,
  estimator_sigma: Float[Array, ''],
  guidance: Float[Array, ''],
  *,
  utility: Utility,
  temperature: float,
  divergence: float,
  entropy: float,
  reach: str,
) -> PerImage:
  """Soft targets, with consistency where a radius can be reached, balanced."""
  del estimator_sigma, guidance
  fit = soft_cross_entropy(
    logits, soft_targets(bounds, utility=utility, temperature=temperature)
  )
  steady = consistency(logits, divergence=divergence, entropy=entropy)
  weight = reachable_radius(logits, bounds, reach=reach)
  balance = inverse_frequencies(bounds, frequencies)
  return balance * (fit + weight * steady)


def certificate_loss(
  logits: Logits,
  bounds: PerLevel,
  frequencies: Levels,
  estimator_sigma: Float[Array, ''],
  guidance: Float[Array, ''],
  *,
  utility: Utility,
  gain: float,
  temperature: float,
  imitation: float,
  rescue: float,
  divergence: float,
  entropy: float,
) -> PerImage:
  """The certificate itself, made soft, is what is maximised.

  The expected utility of the `soft_certificate` of a level that is drawn from
  the mean prediction. Its gradient is flat where the levels are tied, so soft
  targets help at the start; consistency helps as in `paper_loss`.

  One level for all images is a trap: an estimator is most certain of what it
  always says, and a certain choice is what the certificate rewards. As a batch
  nears it, soft targets count more and more, which leads out again. But they
  know of no certainty, and where a choice per image cannot have it, the best
  level for all is worth more than what they ask for. So their guidance ends,
  and the certificate has the last word.

  Args:
    logits: of the noisy copies, over the noise levels.
    bounds: the radius targets.
    frequencies: not used.
    estimator_sigma: the noise level of the copies.
    guidance: what remains of the weight of the soft targets.
    utility: of a radius.
    gain: weight of the expected utility.
    temperature: of the soft targets.
    imitation: weight of the cross-entropy against the soft targets.
    rescue: what is added to it where all choices are one level, see
      `uniformity`; 0 where the images do not need two.
    divergence: see `consistency`.
    entropy: see `consistency`.
  """
  del frequencies
  radii = soft_certificate(logits, bounds, estimator_sigma)
  expected = (mean_probabilities(logits) * utility(radii)).sum(-1)
  fit = soft_cross_entropy(
    logits, soft_targets(bounds, utility=utility, temperature=temperature)
  )
  steady = consistency(logits, divergence=divergence, entropy=entropy)
  weight = guidance * (imitation + rescue * uniformity(logits, bounds))
  return weight * fit + steady - gain * expected


def uniformity(logits: Logits, bounds: PerLevel) -> Float[Array, '']:
  """How near a batch is to one level for all: 0 up to nine in ten, 1 for all.

  Args:
    logits: of the noisy copies, over the noise levels.
    bounds: the radius targets; images that no level certifies do not count.
  """
  counted = (bounds > 0).any(-1).astype(logits.dtype)
  chosen = (mean_probabilities(logits) * counted[:, None]).sum(0)
  share = chosen.max() / jnp.maximum(counted.sum(), 1.0)
  return jax.lax.stop_gradient(jnp.maximum(share - 0.9, 0.0) / 0.1)


def _mean_log_probabilities(logits: Logits) -> Float[Array, 'batch classes']:
  logs = jax.nn.log_softmax(logits)
  return jax.nn.logsumexp(logs, axis=0) - jnp.log(float(len(logits)))


def _z_scores(logits: Logits) -> Float[Array, 'batch classes']:
  p = mean_probabilities(logits)
  mixed = p * (1 - p.shape[-1] * _LEAST_PROBABILITY) + _LEAST_PROBABILITY
  return special.ndtri(mixed)


#: The losses of the estimator by their names in configurations.
ESTIMATOR_LOSSES = {'paper': paper_loss, 'certificate': certificate_loss}
#: Which of the levels that copies of an image choose counts, by its name.
REACHES = {'strong': jnp.max, 'weak': jnp.min}
