"""Votes on training images, at each noise level: those won, and the rival's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int, Key, UInt8

from dualrs_jax import base, compilers, data, sharding


@functools.partial(
  compilers.jit, static_argnames=('votes', 'chunk_size', 'mesh')
)
def count_spread(
  classifier, key, sigmas, images, labels, indices, *, votes, chunk_size, mesh
):
  """`count_votes` with the images spread over the devices of a mesh."""
  everywhere, spread = PartitionSpec(), PartitionSpec(sharding.VOTES)

  def on_device(classifier, key, sigmas, images, labels, indices):
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(indices)
    return count_votes(
      classifier,
      images,
      labels,
      keys,
      sigmas,
      votes=votes,
      chunk_size=chunk_size,
    )

  return jax.shard_map(
    on_device,
    mesh=mesh,
    in_specs=(everywhere,) * 3 + (spread,) * 3,
    out_specs=spread,
    check_vma=False,  # networks need not know that they are spread
  )(classifier, key, sigmas, images, labels, indices)


def count_by_host(
  classifier, key, sigmas, images, labels, indices, *, votes, chunk_size, mesh
):
  """The same with host classifiers, which devices do not share."""
  del mesh
  images, labels, indices = map(np.asarray, (images, labels, indices))
  keys = jax.vmap(functools.partial(jax.random.fold_in, key))(indices)
  return count_votes(
    classifier,
    jnp.asarray(images),
    jnp.asarray(labels),
    keys,
    sigmas,
    votes=votes,
    chunk_size=chunk_size,
  )


@functools.partial(compilers.jit, static_argnames=('votes', 'shape'))
def _noise(key, *, votes, shape):
  return jax.random.normal(key, (votes, *shape))


@compilers.jit
def _noisy(image, sigma, noise):
  return data.to_unit(image)[None] + sigma * noise


@functools.partial(compilers.jit, static_argnames=('votes', 'chunk_size'))
def count_votes(
  classifier: base.Classifier | tuple[base.Classifier, ...],
  images: UInt8[Array, 'batch *image'],
  labels: Int[Array, ' batch'],
  keys: Key[Array, ' batch'],
  sigmas: Float[Array, ' levels'],
  *,
  votes: int,
  chunk_size: int,
) -> Int[Array, 'batch levels 2']:
  """Votes on noisy copies of each image, at each level.

  Args:
    classifier: in inference mode; or a tuple of one for each level.
    images: 8-bit images.
    labels: their classes.
    keys: one per image.
    sigmas: the noise levels.
    votes: how many votes per image and level.
    chunk_size: noisy copies per forward pass.

  Returns:
    The votes for the true class, and for the wrong class that has most.
  """
  chunks = -(-votes // chunk_size)

  def of_image(args):
    image, label, key = args
    noise = _noise(key, votes=votes, shape=image.shape)
    filled = jnp.resize(noise, (chunks * chunk_size, *image.shape))
    noise = filled.reshape(chunks, chunk_size, *image.shape)

    def by_chunks(expert, sigma):
      def answers(noise):
        noisy = _noisy(image, sigma, noise)
        logits = expert(noisy, jnp.full(chunk_size, sigma))
        # argmax takes a NaN for the largest value: such a vote is invalid.
        invalid = jnp.isnan(logits).any(-1)
        answer = jnp.where(invalid, -1, logits.argmax(-1))
        return jax.nn.one_hot(answer, logits.shape[-1], dtype=jnp.int32)

      found = jax.lax.map(answers, noise)
      cast = found.reshape(-1, found.shape[-1])[:votes].sum(0)
      return jnp.stack([cast[label], cast.at[label].set(0).max()])

    if isinstance(classifier, tuple):
      return jnp.stack(list(map(by_chunks, classifier, sigmas)))
    return jax.lax.map(functools.partial(by_chunks, classifier), sigmas)

  return jax.lax.map(of_image, (images, labels, keys))
