"""Batches of a fixed number of votes, which adaptive certification casts.

Each vote is one of an image at a stage, level and vote number, so that
images at any stage share a batch and nothing is ever compiled again.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dualrs_jax import (
  classifiers,
  compilers,
  host,
  host_votes,
  sharding,
  voting,
)
from dualrs_jax import noise as noise_lib
from dualrs_jax.base import Classifier
from dualrs_jax.decisions import ESTIMATOR

#: Steps that are under way at once, so that the device need not wait.
_STEPS_AHEAD = 2
#: Collectives of two steps on a CPU may wait for each other for ever.
_STEPS_AHEAD_TOGETHER_ON_CPU = 1


class VoteBatch(NamedTuple):
  """The votes of a batch.

  Attributes:
    slot: Where the image is in the buffer.
    index: The dataset index of the image.
    split: `noise.SELECTION` or `noise.ESTIMATION`.
    vote: The number of the vote within its split.
    sigma: The noise level.
  """

  slot: Int[Array | np.ndarray, ' votes']
  index: Int[Array | np.ndarray, ' votes']
  split: Int[Array | np.ndarray, ' votes']
  vote: Int[Array | np.ndarray, ' votes']
  sigma: Float[Array | np.ndarray, ' votes']


def cast_batch(
  network: Classifier,
  images: Float[Array, 'slots *image'],
  key: PRNGKeyArray,
  noise: Any,
  batch: VoteBatch,
) -> Int[Array, ' votes']:
  """The class of each vote, or the number of classes if invalid.

  Args:
    network: The base classifier of all votes.
    images: The buffer of images.
    key: The key of the run.
    noise: The sampler of noisy images.
    batch: The votes to cast.
  """
  copies = _copies(images, key, noise, batch)
  return voting.cast_votes(network, copies, jnp.asarray(batch.sigma))


def _copies(images, key, noise, batch):
  """The noisy image of each vote."""

  def vote_key(index, split, vote):
    image_key = noise_lib.image_key(key, index)
    return noise_lib.vote_key(image_key, split, vote)

  keys = jax.vmap(vote_key)(batch.index, batch.split, batch.vote)
  return jax.vmap(noise)(keys, images[batch.slot], jnp.asarray(batch.sigma))


@functools.partial(compilers.jit, static_argnames='mesh')
def _cast(network, images, key, noise, batch, *, mesh):
  spread = PartitionSpec(sharding.VOTES)
  everywhere = PartitionSpec()
  together = mesh.is_multi_process

  def cast(*arguments):
    classes = cast_batch(*arguments)
    if together:  # each process tallies all votes
      return lax.all_gather(classes, sharding.VOTES, tiled=True)
    return classes

  return jax.shard_map(
    cast,
    mesh=mesh,
    in_specs=(everywhere,) * 4 + (spread,),
    out_specs=everywhere if together else spread,
    check_vma=False,  # networks need not know that they are spread
  )(network, images, key, noise, batch)


@functools.partial(compilers.jit, static_argnames=('mesh', 'divides'))
def _draw(images, key, noise, batch, *, mesh, divides):
  """The copies of a batch, and which of them are finite, for a host to vote on.

  Devices over which the batch does not divide draw all of them, each.
  """
  everywhere = PartitionSpec()
  spread = PartitionSpec(sharding.VOTES) if divides else everywhere

  def draw(*arguments):
    copies = _copies(*arguments)
    return copies, jnp.isfinite(copies.reshape(len(copies), -1)).all(axis=1)

  return jax.shard_map(
    draw,
    mesh=mesh,
    in_specs=(everywhere,) * 3 + (spread,),
    out_specs=spread,
    check_vma=False,  # a noise need not know that it is spread
  )(images, key, noise, batch)


class _ByHost:
  """The votes of a step, which a host casts when they are waited for."""

  def __init__(self, network, copies, finite, sigma, classes):
    for array in (copies, finite):
      array.copy_to_host_async()
    self._arguments = network, copies, finite, sigma, classes

  def __array__(self, dtype=None, copy=None):
    del copy
    network, copies, *rest = self._arguments
    return np.asarray(
      host_votes.cast(network, np.asarray(copies), *rest), dtype
    )


@jax.jit
def _store(images, slot, image):
  return images.at[slot].set(image)


def slots(votes: int) -> int:
  """How many images there are at once: their first 32 votes fill all steps."""
  return max(8, math.ceil(2 * _STEPS_AHEAD * votes / 32))


def _check_hosts(networks: Sequence[Any], mesh: Mesh) -> None:
  """Raises ValueError for host classifiers on devices of several processes."""
  if mesh.is_multi_process and host.parts(networks):
    raise ValueError(
      'A host classifier votes in one process, and these devices are those of'
      ' several: share the images out among them, each with a mesh of its own.'
    )


class Device:
  """Casts batches of votes on the images that its buffer holds."""

  def __init__(self, networks, image, key, noise, mesh, chunk_size):
    nets = [network for network, _ in networks]
    _check_hosts(nets, mesh)
    devices = sharding.votes_devices(mesh)
    hosted = [host.parts(net) for net in nets]
    #: Votes of a step, by the number of its network.
    self.batch_sizes = [
      chunk_size * (host.devices(net) if there else devices)
      for net, there in zip(nets, hosted, strict=True)
    ]
    self.slots = slots(max(self.batch_sizes))
    self.steps_ahead = _STEPS_AHEAD
    if mesh.is_multi_process and mesh.local_devices[0].platform == 'cpu':
      self.steps_ahead = _STEPS_AHEAD_TOGETHER_ON_CPU
    self._mesh = mesh
    self._hosted = [bool(there) for there in hosted]
    buffer = np.zeros((self.slots, *image.shape), np.float32)
    self._nets, self._images, self._key, self._noise = sharding.replicated(
      (nets, buffer, key, classifiers.as_pytree(noise)), mesh
    )
    self.widths = [width for _, width in networks]

  def network(self, stage: int) -> int:
    """The number of the network that votes in a stage."""
    if stage == ESTIMATOR:
      return 0
    return 1 if len(self._nets) == 2 else 1 + stage

  def store(
    self, slot: int, image: Float[Array | np.ndarray, '*image']
  ) -> None:
    """Puts an image into the buffer; steps under way keep the old one."""
    self._images = _store(self._images, np.int32(slot), image)

  def cast(self, network: int, batch: VoteBatch) -> Any:
    """Starts a step; its result, as an array, can be waited for later."""
    if self._hosted[network]:
      divides = len(batch.slot) % self._mesh.size == 0
      copies, finite = _draw(
        self._images,
        self._key,
        self._noise,
        batch,
        mesh=self._mesh,
        divides=divides,
      )
      return _ByHost(
        self._nets[network],
        copies,
        finite,
        batch.sigma,
        self.widths[network],
      )
    return _cast(
      self._nets[network],
      self._images,
      self._key,
      self._noise,
      batch,
      mesh=self._mesh,
    )
