"""The classifier's stages: trained under noise of all levels, then fine-tuned.

Fine-tuning uses the noise that the estimator selects, so that the classifier
is best where it will be asked.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from dualrs_jax import base, data, denoising
from dualrs_jax.training import losses, state
from dualrs_jax.training.feed import Examples
from dualrs_jax.training.noisy import by_slices, noisy_logits


class Selection(NamedTuple):
  """An estimator that selects the noise level of an image.

  Attributes:
    estimator: in inference mode and with its front; it is not trained.
    estimator_sigma: its own noise level.
    explored: share of the images whose level is drawn all the same.
    cascades: whether a cascade starts at the level, which then is one that is
      drawn of those up to the selected one.
  """

  estimator: base.Classifier
  estimator_sigma: Float[Array, '']
  explored: Float[Array, '']
  cascades: Bool[Array, '']


class Levels(NamedTuple):
  """The noise levels of a batch, and what the classifier sees of it.

  Attributes:
    sigmas: the levels.
    shares: probability of each where levels are drawn.
    selection: where they are selected instead.
    front: what stands before the classifier; it is not trained.
  """

  sigmas: Float[Array, ' levels']
  shares: Float[Array, ' levels']
  selection: Selection | None = None
  front: denoising.Front = denoising.Front()


def make_loss(
  *,
  copies: int,
  divergence_per_sigma: float,
  entropy: float,
  divergence_of_neighbours: float = 0.0,
) -> state.Loss:
  """The loss of a classifier: cross-entropy under noise, and consistency.

  Args:
    copies: noisy copies of each image, at one level, or, where neighbours are
      to agree, in turn at that level and at one next to it.
    divergence_per_sigma: weight of the divergence at a level, over sigma: one
      weight for all levels would be too much at the small ones.
    entropy: see `losses.consistency`.
    divergence_of_neighbours: weight of the divergence of copies at levels next
      to each other, in addition; 0 for copies at one level. An answer on which
      levels agree bounds a cascade at each of them.

  Returns:
    A loss whose context is a `Levels`; its targets are classes.
  """

  def loss(model, context: Levels, batch: Examples, key: PRNGKeyArray, step):
    del step
    level_key, noise_key = jax.random.split(key)
    images = data.to_unit(batch.images)
    level = choose_levels(context, images, level_key)
    if divergence_of_neighbours:
      turn_key, noise_key = jax.random.split(noise_key)
      next_to = neighbours(level, len(context.sigmas), turn_key)
      level = jnp.stack([level, next_to])[jnp.arange(copies) % 2]
    sigma = context.sigmas[level]
    classifier = context.front.before(model)
    logits = noisy_logits(classifier, images, sigma, noise_key, copies=copies)
    fit = losses.cross_entropy(logits, batch.targets).mean()
    divergence = divergence_per_sigma * (
      sigma.mean(0) if divergence_of_neighbours else sigma
    )
    steady = losses.consistency(
      logits,
      divergence=divergence + divergence_of_neighbours,
      entropy=entropy,
    ).mean()
    correct = (logits.argmax(-1) == batch.targets[None]).mean()
    return fit + steady, {'accuracy': correct, 'mean_sigma': sigma.mean()}

  return loss


def neighbours(
  level: Int[Array, ' batch'], levels: int, key: PRNGKeyArray
) -> Int[Array, ' batch']:
  """A level next to each, drawn where there are two; itself if it is alone."""
  up = jax.random.bernoulli(key, shape=level.shape)
  up = jnp.where(level == 0, True, jnp.where(level == levels - 1, False, up))
  return jnp.clip(level + jnp.where(up, 1, -1), 0, levels - 1)


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
  scores = jax.random.gumbel(draw_key, (batch, len(context.shares)))
  scores += jnp.log(context.shares)[None]
  drawn = scores.argmax(-1)
  if context.selection is None:
    return drawn
  estimator, estimator_sigma, explored, cascades = context.selection
  sigma = jnp.broadcast_to(estimator_sigma, batch)
  logits = noisy_logits(estimator, images, sigma, noise_key, copies=1)
  explores = jax.random.uniform(mix_key, (batch,)) < explored
  selected = logits[0].argmax(-1)
  above = jnp.arange(len(context.shares))[None] > selected[:, None]
  within = jnp.where(above, -jnp.inf, scores)
  none = jnp.isneginf(within).all(-1)  # where these have no share
  asked = jnp.where(none, selected, within.argmax(-1))
  return jnp.where(explores, drawn, jnp.where(cascades, asked, selected))


@functools.partial(jax.jit, static_argnames='batch_size')
def noisy_accuracy(
  classifier: base.Classifier,
  examples: Examples,
  sigmas: Float[Array, ' levels'],
  key: PRNGKeyArray,
  *,
  batch_size: int,
) -> Float[Array, ' levels']:
  """Share of noisy images that the classifier gets right, at each level.

  Args:
    classifier: in inference mode, with its front.
    examples: images and their classes.
    sigmas: the noise levels.
    key: of the noise, the same at all levels.
    batch_size: images per forward pass.
  """

  def at(sigma):
    def classes(images, key):
      levels = jnp.full(len(images), sigma)
      unit = data.to_unit(images)
      return noisy_logits(classifier, unit, levels, key, copies=1)[0].argmax(-1)

    found = by_slices(classes, examples.images, key, size=batch_size)
    return (found == examples.targets).mean()

  return jax.lax.map(at, sigmas)
