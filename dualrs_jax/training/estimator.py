"""The estimator's stage: which noise level an image should be certified at."""

import functools
import logging
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

from dualrs_jax import base, data, denoising
from dualrs_jax.training import losses, state, utility
from dualrs_jax.training.feed import Examples
from dualrs_jax.training.noisy import by_slices, noisy_logits

logger = logging.getLogger(__name__)


class Context(NamedTuple):
  """What stays the same over the stage.

  Attributes:
    estimator_sigma: the estimator's noise level.
    frequencies: see `losses.best_level_frequencies`.
    front: what stands before the estimator; it is not trained.
  """

  estimator_sigma: Float[Array, '']
  frequencies: Float[Array, ' levels']
  front: denoising.Front = denoising.Front()


def make_loss(
  per_image: losses.EstimatorLoss, *, copies: int, steps: int
) -> state.Loss:
  """The loss of an estimator.

  Args:
    per_image: the loss of one image.
    copies: noisy copies of each image.
    steps: length of the stage. Over its second half, soft targets cease to
      guide `certificate_loss`.

  Returns:
    A loss whose context is a `Context`; its targets are the radius targets of
    `target_radii`. An image that no level can certify has no weight.
  """

  def loss(model, context: Context, batch: Examples, key: PRNGKeyArray, step):
    images = data.to_unit(batch.images)
    sigma = jnp.broadcast_to(context.estimator_sigma, len(images))
    bounds = batch.targets
    estimator = context.front.before(model)
    logits = noisy_logits(estimator, images, sigma, key, copies=copies)
    values = per_image(
      logits,
      bounds,
      context.frequencies,
      context.estimator_sigma,
      jnp.minimum(1.0, 2 * (1 - step / steps)),
    )
    counted = certifiable(bounds)
    radii = losses.soft_certificate(logits, bounds, context.estimator_sigma)
    expected = (losses.mean_probabilities(logits) * radii).sum(-1)
    metrics = {
      'best_level_rate': _masked_mean(
        (logits.argmax(-1) == bounds.argmax(-1)[None]).mean(0), counted
      ),
      'soft_radius': _masked_mean(expected, counted),
    }
    return _masked_mean(values, counted), metrics

  return loss


def certifiable(
  bounds: Float[Array, 'batch levels'],
) -> Bool[Array, ' batch']:
  """Whether an image has a positive radius at some level."""
  return (bounds > 0).any(-1)


@functools.partial(jax.jit, static_argnames=('votes', 'batch_size'))
def selections(
  estimator: base.Classifier,
  images: UInt8[Array, 'examples *image'],
  estimator_sigma: Float[Array, ''],
  key: PRNGKeyArray,
  *,
  votes: int,
  batch_size: int,
) -> Int[Array, ' examples']:
  """The level that most noisy copies of each image select.

  Args:
    estimator: in inference mode, with its front.
    images: 8-bit images.
    estimator_sigma: the estimator's noise level.
    key: of the noise.
    votes: noisy copies of each image.
    batch_size: images per forward pass.
  """

  def select(images, key):
    unit = data.to_unit(images)
    sigma = jnp.broadcast_to(estimator_sigma, len(images))

    def vote(key):
      return noisy_logits(estimator, unit, sigma, key, copies=1)[0].argmax(-1)

    cast = jax.lax.map(vote, jax.random.split(key, votes))
    width = jax.eval_shape(estimator, unit, sigma).shape[-1]
    return jax.nn.one_hot(cast, width).sum(0).argmax(-1)

  return by_slices(select, images, key, size=batch_size)


def selected_shares(
  selected: Int[Array, ' batch'],
  sigmas: Sequence[float],
  worth: utility.Choice,
) -> dict[str, float]:
  """Share of images at each level, by name; warns where there is no choice.

  A constant estimator certifies as plain smoothing at one level does, at the
  cost of an estimator.

  Args:
    selected: the levels that were selected, as indices.
    sigmas: the levels.
    worth: what the radius targets say that a choice is worth.
  """
  counts = np.bincount(np.asarray(selected), minlength=len(sigmas))
  shares = counts / counts.sum()
  if len(sigmas) > 1 and shares.max() == 1:
    logger.warning(
      'the estimator selects sigma %g for every validation image; by the radius'
      ' targets %g is the best for all, and a choice per image worth %.1f%%'
      ' more, if it could be certain. python -m dualrs_jax.forecast compares'
      ' this with cascades of the levels, which take no estimator',
      sigmas[int(shares.argmax())],
      sigmas[worth.best],
      100 * worth.gain,
    )
  return {
    f'selected/{sigma:g}': float(share)
    for sigma, share in zip(sigmas, shares, strict=True)
  }


def _masked_mean(
  values: Float[Array, ' batch'], mask: Bool[Array, ' batch']
) -> Float[Array, '']:
  counted = mask.sum(dtype=values.dtype)
  return jnp.where(mask, values, 0.0).sum() / jnp.maximum(counted, 1.0)
