"""Votes of a base classifier on noisy copies of one image."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dualrs_jax import classifiers, compilers, host, host_votes, sharding
from dualrs_jax import noise as noise_lib
from dualrs_jax.base import Classifier, Counts


def winners(
  logits: Float[Array, 'batch classes'],
) -> Int[Array, 'batch']:
  """The class that each row votes for, or `classes` where the row has a NaN.

  `argmax` alone would let a NaN win.
  """
  invalid = jnp.isnan(logits).any(axis=-1)
  return jnp.where(invalid, logits.shape[-1], jnp.argmax(logits, axis=-1))


def cast_votes(
  classifier: Classifier,
  copies: Float[Array, 'batch *image'],
  sigma: Float[Array, 'batch'],
) -> Int[Array, 'batch']:
  """The class that each noisy copy votes for, or `classes` where it has none.

  A vote is invalid where the logits hold a NaN, and also where the copy itself
  is not finite. That is how a noise says that it has no sample, and a network
  need not pass it on: a NaN pixel may end in finite logits.
  """
  logits = classifier(copies, sigma)
  finite = jnp.isfinite(copies.reshape(copies.shape[0], -1)).all(axis=-1)
  return jnp.where(finite, winners(logits), logits.shape[-1])


def check_noise(noise: Any, image: Any, sigmas: Any) -> None:
  """Lets a noise that is not made for every image and level refuse these.

  It does so in a method `check(image, sigmas)` that raises ValueError and
  looks at concrete values only; a noise without one takes everything. Under a
  trace its copies are not finite instead, and no vote is valid. What cannot be
  called is no noise, and is refused for all images.
  """
  if not callable(noise):
    raise ValueError(
      'noise is a sampler of noisy images, such as dualrs_jax.gaussian, not'
      f' {noise!r:.60}.'
    )
  check = getattr(noise, 'check', None)
  if check is not None:
    check(image, sigmas)


def count_votes(
  classifier: Classifier,
  image: Float[Array | np.ndarray, '*image'],
  sigma: Float[Array | np.ndarray, ''] | float,
  key: PRNGKeyArray,
  *,
  n0: int,
  n: int,
  chunk_size: int,
  noise: Any = noise_lib.gaussian,
  mesh: Mesh | None = None,
) -> Counts:
  """Counts the votes of a classifier on noisy copies of one image.

  One pass over n0 + n votes, in chunks of equal size, so that memory does not
  grow with n. The padding of the last chunk is never counted.

  Args:
    classifier: The base classifier.
    image: One image, shape [*image].
    sigma: The noise level, a scalar in pixel units. It may be traced: other
      levels do not recompile.
    key: The key of this image, see `noise.image_key`.
    n0: Number of selection votes; may be 0.
    n: Number of estimation votes.
    chunk_size: Noisy copies per device and forward pass, at most; exactly so
      many if the classifier takes no other batch, see `classifiers.batch_of`,
      or is one of a host. It moves no noise, and no vote either but for the
      rounding of kernels between batch shapes.
    noise: The sampler of noisy images.
    mesh: Spreads the votes over these devices, see `sharding.votes_mesh`. The
      shape of a device's batch, and so its votes, are those of one device. A
      host classifier has devices of its own.

  Returns:
    The valid votes per class in both splits, int32 arrays [classes].

  Raises:
    ValueError: If the noise is not made for this image or level.
  """
  check_noise(noise, image, sigma)
  image = jnp.asarray(image, jnp.float32)
  sigma = jnp.asarray(sigma, jnp.float32)
  if host.parts(classifier):
    host.check_concrete((image, sigma, key))
    return host_votes.count(
      classifier,
      functools.partial(
        _finite_copies, image, sigma, key, noise=classifiers.as_pytree(noise)
      ),
      np.asarray(sigma),
      classifiers.num_classes(classifier, image, batch=chunk_size),
      n0=n0,
      n=n,
      chunk_size=chunk_size,
    )
  return _count_votes(
    classifiers.as_pytree(classifier),
    image,
    sigma,
    key,
    classifiers.as_pytree(noise),
    n0=n0,
    n=n,
    chunk_size=chunk_size,
    mesh=mesh,
  )


@functools.partial(
  compilers.jit, static_argnames=('n0', 'n', 'chunk_size', 'mesh')
)
def _count_votes(
  classifier, image, sigma, key, noise, *, n0, n, chunk_size, mesh
):
  total = n0 + n
  chunk, classes = classifiers.batch_of(classifier, image, total, chunk_size)
  chunks = -(-total // chunk)
  devices = 1 if mesh is None else sharding.votes_devices(mesh)

  def tally(classifier, image, sigma, key, noise):
    device = 0 if mesh is None else lax.axis_index(sharding.VOTES)
    # A trace cannot raise: on bad values no vote is valid.
    valid = jnp.isfinite(image).all() & (0 < sigma) & (sigma < jnp.inf)

    def add_chunk(step, counts):
      votes = (step * devices + device) * chunk + jnp.arange(chunk)
      selects = votes < n0
      noisy = noisy_copies(
        image,
        sigma,
        key,
        jnp.where(selects, noise_lib.SELECTION, noise_lib.ESTIMATION),
        jnp.where(selects, votes, votes - n0),
        noise=noise,
      )
      cast = cast_votes(classifier, noisy, jnp.broadcast_to(sigma, (chunk,)))
      chosen = jax.nn.one_hot(cast, classes, dtype=bool) & valid
      estimates = ~selects & (votes < total)
      splits = jnp.stack([selects, estimates])
      return counts + jnp.sum(
        splits[:, :, None] & chosen[None], axis=1, dtype=jnp.int32
      )

    start = jnp.zeros((2, classes), jnp.int32)
    if mesh is None:
      return lax.fori_loop(0, chunks, add_chunk, start)
    start = lax.pcast(start, sharding.VOTES, to='varying')
    counts = lax.fori_loop(0, -(-chunks // devices), add_chunk, start)
    return lax.psum(counts, sharding.VOTES)

  if mesh is not None:
    tally = jax.shard_map(
      tally,
      mesh=mesh,
      in_specs=(PartitionSpec(),) * 5,
      out_specs=PartitionSpec(),
    )
  selection, estimation = tally(classifier, image, sigma, key, noise)
  return Counts(selection, estimation)


def noisy_copies(
  image: Float[Array, '*image'],
  sigma: Float[Array, ''],
  key: PRNGKeyArray,
  splits: Int[Array, 'votes'],
  votes: Int[Array, 'votes'],
  *,
  noise: Any = noise_lib.gaussian,
) -> Float[Array, 'votes *image']:
  """The noisy images on which the given votes are cast.

  Args:
    image: One image, shape [*image].
    sigma: The noise level, a scalar in pixel units.
    key: The key of this image.
    splits: Of each vote, `noise.SELECTION` or `noise.ESTIMATION`.
    votes: The number of each vote within its split.
    noise: The sampler of noisy images.
  """
  keys = jax.vmap(noise_lib.vote_key, in_axes=(None, 0, 0))(key, splits, votes)
  return jax.vmap(noise, in_axes=(0, None, None))(keys, image, sigma)


@compilers.jit
def _finite_copies(image, sigma, key, splits, votes, *, noise):
  """Noisy copies, and which of them can be voted on."""
  copies = noisy_copies(image, sigma, key, splits, votes, noise=noise)
  return copies, jnp.isfinite(copies.reshape(len(copies), -1)).all(axis=1)
