"""The classifier's stages: trained under noise of all levels, then fine-tuned.

Fine-tuning uses the noise that the estimator selects, so that the classifier
is best where it will be asked.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from dualrs_jax import base, data
from dualrs_jax.training import losses, state
from dualrs_jax.training.noisy import noisy_logits


class Examples(NamedTuple):
  """What a classifier is trained on."""

  images: UInt8[Array, 'batch *image']
  labels: Int[Array, ' batch']


class Selection(NamedTuple):
  """An estimator that selects the noise level of an image.

  Attributes:
    estimator: in inference mode; it is not trained.
    estimator_sigma: its own noise level.
    explored: share of the images whose level is drawn all the same.
  """

  estimator: base.Classifier
  estimator_sigma: Float[Array, '']
  explored: Float[Array, '']


class Levels(NamedTuple):
  """The noise levels of a batch.

  Attributes:
    sigmas: the levels.
    shares: probability of each where levels are drawn.
    selection: where they are selected instead.
  """

  sigmas: Float[Array, ' levels']
  shares: Float[Array, ' levels']
  selection: Selection | None = None


def make_loss(
  *, copies: int, divergence_per_sigma: float, entropy: float
) -> state.Loss:
  """The loss of a classifier: cross-entropy under noise, and consistency.

  Args:
    copies: noisy copies of each image, at one level.
    divergence_per_sigma: weight of the divergence at a level, over sigma: one
      weight for all levels would be too much at the small ones.
    entropy: see `losses.consistency`.

  Returns:
    A loss whose context is a `Levels` and whose batch is an `Examples`.
  """

  def loss(model, context: Levels, batch: Examples, key: PRNGKeyArray):
    level_key, noise_key = jax.random.split(key)
    images = data.to_unit(batch.images)
    sigma = context.sigmas[choose_levels(context, images, level_key)]
    logits = noisy_logits(model, images, sigma, noise_key, copies=copies)
    fit = losses.cross_entropy(logits, batch.labels).mean()
    steady = losses.consistency(
      logits, divergence=divergence_per_sigma * sigma, entropy=entropy
    ).mean()
    correct = (logits.argmax(-1) == batch.labels[None]).mean()
    return fit + steady, {'accuracy': correct, 'mean_sigma': sigma.mean()}

  return loss


def level_shares(
  shares: Sequence[float], sigmas: Sequence[float]
) -> Float[Array, ' levels']:
  """How often each level is drawn; equally often for an empty `shares`.

  Raises:
    ValueError: not one weight for each level, or none that is positive.
  """
  given = np.asarray(shares or [1] * len(sigmas), np.float32)
  if len(given) != len(sigmas) or (given < 0).any() or not given.any():
    raise ValueError(
      'classifier.shares must hold one weight for each of the'
      f' {len(sigmas)} sigmas, not {tuple(shares)}'
    )
  return jnp.asarray(given / given.sum())


def choose_levels(
  context: Levels, images: Float[Array, 'batch *image'], key: PRNGKeyArray
) -> Int[Array, ' batch']:
  """The noise level of each image, as an index into the levels.

  Where an estimator selects, it sees one noisy copy: an image is trained at
  each level as often as the smoothed estimator votes for it.
  """
  draw_key, mix_key, noise_key = jax.random.split(key, 3)
  batch = len(images)
  drawn = jax.random.categorical(
    draw_key, jnp.log(context.shares), shape=(batch,)
  )
  if context.selection is None:
    return drawn
  estimator, estimator_sigma, explored = context.selection
  sigma = jnp.broadcast_to(estimator_sigma, batch)
  logits = noisy_logits(estimator, images, sigma, noise_key, copies=1)
  explores = jax.random.uniform(mix_key, (batch,)) < explored
  return jnp.where(explores, drawn, logits[0].argmax(-1))


@jax.jit
def noisy_accuracy(
  model: base.Classifier,
  examples: Examples,
  sigmas: Float[Array, ' levels'],
  key: PRNGKeyArray,
) -> Float[Array, ' levels']:
  """Share of noisy images that the classifier gets right, at each level."""
  images = data.to_unit(examples.images)

  def at(sigma):
    levels = jnp.full(len(images), sigma)
    logits = noisy_logits(model, images, levels, key, copies=1)[0]
    return (logits.argmax(-1) == examples.labels).mean()

  return jax.lax.map(at, sigmas)
