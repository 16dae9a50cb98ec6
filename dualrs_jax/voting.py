"""Votes of a base classifier on noisy copies of one image."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dualrs_jax import compilers, host, host_votes, sharding, validation
from dualrs_jax import noise as noise_lib
from dualrs_jax.base import Classifier, Counts


def _images_only(model, images, sigma):
  del sigma
  return model(images)


def ignore_sigma(model: Callable[[Array], Array]) -> Classifier:
  """Makes a model of images alone a `Classifier`, which is also given sigma.

  Args:
    model: `logits = model(images)`: a callable pytree, or a plain function.

  Returns:
    A callable pytree `classifier(images, sigma)`.
  """
  return jax.tree_util.Partial(_images_only, as_pytree(model))


def as_pytree(function: Any) -> Any:
  """Lets a plain function pass where jit wants a pytree.

  A function that is made afresh for every call is compiled for every call.
  """
  if callable(function) and jax.tree_util.all_leaves([function]):
    return jax.tree_util.Partial(function)
  return function


def num_classes(
  classifier: Classifier,
  image: Float[Array | np.ndarray, '*image'],
  *,
  batch: int,
) -> int:
  """The width of the classifier's logits, found without computing them.

  A host classifier says it, and is held to it when it is called.

  Args:
    classifier: The base classifier.
    image: One image, shape [*image].
    batch: The batch in which votes are cast: a network may take no other.

  Raises:
    ValueError: If the classifier does not take images of this shape, or does
      not map a batch of them and of noise levels to real numbers in an array
      [batch, classes].
  """
  if hosts := host.parts(classifier):
    return hosts[-1].num_classes
  shape = (batch, *jnp.shape(image))
  try:
    logits = jax.eval_shape(
      as_pytree(classifier),
      jax.ShapeDtypeStruct(shape, jnp.float32),
      jax.ShapeDtypeStruct((batch,), jnp.float32),
    )
  except Exception as error:
    reason = str(error).partition('\n')[0]
    raise ValueError(
      f'The classifier fails on images of shape {shape}, a batch of {batch}'
      f' ({reason}); check the shape, and that dropout is in inference mode.'
    ) from error
  shape = getattr(logits, 'shape', None)
  if (
    shape is None
    or len(shape) != 2
    or shape[0] != batch
    or shape[1] < 1
    or jnp.issubdtype(logits.dtype, jnp.complexfloating)
  ):
    raise ValueError(
      'A classifier maps images [batch, *image] and sigma [batch] to logits'
      f' [batch, classes]; given a batch of {batch}, this one returns'
      f' {logits}.'
    )
  return shape[1]


def batch_of(
  classifier: Classifier,
  image: Float[Array | np.ndarray, '*image'],
  votes: int,
  chunk_size: int,
) -> tuple[int, int]:
  """The batch in which votes on an image are cast, and the number of classes.

  Chunks are of equal size, so that little of the last one is padding. A network
  that takes one batch alone, as exported ones do, gets `chunk_size` copies.

  Args:
    classifier: The base classifier.
    image: One image, shape [*image].
    votes: How many votes there are.
    chunk_size: The largest batch.

  Raises:
    ValueError: If the classifier takes neither batch, see `num_classes`.
  """
  equal = -(-votes // -(-votes // chunk_size))
  try:
    return equal, num_classes(classifier, image, batch=equal)
  except ValueError:
    return chunk_size, num_classes(classifier, image, batch=chunk_size)


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
      many if the classifier takes no other batch, see `batch_of`, or is one of
      a host. It moves no
      noise, and no vote either but for the rounding of kernels between
      batch shapes.
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
        _finite_copies, image, sigma, key, noise=as_pytree(noise)
      ),
      np.asarray(sigma),
      num_classes(classifier, image, batch=chunk_size),
      n0=n0,
      n=n,
      chunk_size=chunk_size,
    )
  return _count_votes(
    as_pytree(classifier),
    image,
    sigma,
    key,
    as_pytree(noise),
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
  chunk, classes = batch_of(classifier, image, total, chunk_size)
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


def check_batch_independence(
  classifier: Classifier,
  image: Float[Array | np.ndarray, '*image'],
  sigma: Float[Array | np.ndarray, ''] | float,
  key: PRNGKeyArray,
  *,
  chunk_size: int,
  noise: Any = noise_lib.gaussian,
) -> None:
  """Refuses a classifier whose votes depend on their batch companions.

  Votes of such a classifier are not independent draws, and every bound on
  them is void. Batch normalisation in training mode is the usual cause, and it
  raises nothing by itself. The check computes the same noisy copies in two
  batches, at other positions and among other companions. In batches of one copy
  there are none, and the check is that the same copy gets the same logits.

  Args:
    classifier: The base classifier.
    image: One image, shape [*image].
    sigma: The noise level, a scalar.
    key: A key; its votes are not counted anywhere.
    chunk_size: The batch in which votes will be cast, and the only one that
      the classifier sees here.
    noise: The sampler of noisy images.

  Raises:
    ValueError: If the logits of a copy change with its companions or its
      place in the batch by more than rounding.
  """
  classifier = as_pytree(classifier)
  levels = jnp.full(chunk_size, sigma, jnp.float32)
  apply = compilers.jit(lambda f, images, levels: f(images, levels))
  check_companions(
    lambda images: apply(classifier, images, levels),
    image,
    sigma,
    key,
    chunk_size=chunk_size,
    noise=noise,
  )


def check_companions(
  apply: Callable[[Array], Any],
  image: Float[Array | np.ndarray, '*image'],
  sigma: Float[Array | np.ndarray, ''] | float,
  key: PRNGKeyArray,
  *,
  chunk_size: int,
  noise: Any = noise_lib.gaussian,
) -> None:
  """`check_batch_independence` of any function from images to logits."""
  image = jnp.asarray(image, jnp.float32)
  level = jnp.asarray(sigma, jnp.float32)
  kept = max(1, chunk_size // 2)
  others = chunk_size - kept

  def copies(image, level, first, count):
    votes = first + jnp.arange(count)
    splits = jnp.full(count, noise_lib.SELECTION)
    return noisy_copies(image, level, key, splits, votes, noise=noise)

  own = copies(image, level, 0, kept)
  companions = copies(image, level, kept, others)
  strangers = copies(1 - image, 2 * level, 2 * kept, others)
  logits = lambda images: jnp.asarray(apply(images), jnp.float32)
  before = logits(jnp.concatenate([own, companions]))[:kept]
  after = logits(jnp.concatenate([strangers, own]))[others:]
  validation.check_companions(before, after)
