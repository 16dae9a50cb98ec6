"""Lanes: the fixed number of votes that a step of adaptive certification casts.

Each lane is the vote of one image at one stage, level and vote number, so that
images at any stage share a batch and nothing is ever compiled again.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dualrs_jax import compilers, sharding, voting
from dualrs_jax import noise as noise_lib
from dualrs_jax.base import Classifier
from dualrs_jax.decisions import ESTIMATOR

#: Steps that are under way at once, so that the device need not wait.
_STEPS_AHEAD = 2
#: Collectives of two steps on a CPU may wait for each other for ever.
_STEPS_AHEAD_TOGETHER_ON_CPU = 1


class Lanes(NamedTuple):
  """One vote per lane.

  Attributes:
    slot: Where the image is in the buffer.
    index: The dataset index of the image.
    split: `noise.SELECTION` or `noise.ESTIMATION`.
    vote: The number of the vote within its split.
    sigma: The noise level.
  """

  slot: Int[Array | np.ndarray, ' lanes']
  index: Int[Array | np.ndarray, ' lanes']
  split: Int[Array | np.ndarray, ' lanes']
  vote: Int[Array | np.ndarray, ' lanes']
  sigma: Float[Array | np.ndarray, ' lanes']


def cast_lanes(
  network: Classifier,
  images: Float[Array, 'slots *image'],
  key: PRNGKeyArray,
  noise: Any,
  lanes: Lanes,
) -> Int[Array, ' lanes']:
  """The class that each lane votes for, or the number of classes if invalid.

  Args:
    network: The base classifier of all lanes.
    images: The buffer of images.
    key: The key of the run.
    noise: The sampler of noisy images.
    lanes: The votes to cast.
  """

  def vote_key(index, split, vote):
    image_key = noise_lib.image_key(key, index)
    return noise_lib.vote_key(image_key, split, vote)

  keys = jax.vmap(vote_key)(lanes.index, lanes.split, lanes.vote)
  sigma = jnp.asarray(lanes.sigma)
  copies = jax.vmap(noise)(keys, images[lanes.slot], sigma)
  return voting.cast_votes(network, copies, sigma)


@functools.partial(compilers.jit, static_argnames='mesh')
def _cast(network, images, key, noise, lanes, *, mesh):
  spread = PartitionSpec(sharding.VOTES)
  everywhere = PartitionSpec()
  together = mesh.is_multi_process

  def cast(*arguments):
    classes = cast_lanes(*arguments)
    if together:  # each process tallies all votes
      return lax.all_gather(classes, sharding.VOTES, tiled=True)
    return classes

  return jax.shard_map(
    cast,
    mesh=mesh,
    in_specs=(everywhere,) * 4 + (spread,),
    out_specs=everywhere if together else spread,
    check_vma=False,  # networks need not know that they are spread
  )(network, images, key, noise, lanes)


@jax.jit
def _store(images, slot, image):
  return images.at[slot].set(image)


def slots(lanes: int) -> int:
  """How many images there are at once: their first 32 votes fill all steps."""
  return max(8, math.ceil(2 * _STEPS_AHEAD * lanes / 32))


class Device:
  """Casts steps of lanes on the images that its buffer holds."""

  def __init__(self, networks, image, key, noise, mesh, chunk_size):
    devices = sharding.votes_devices(mesh)
    self.lanes = devices * chunk_size
    self.slots = slots(self.lanes)
    self.steps_ahead = _STEPS_AHEAD
    if mesh.is_multi_process and mesh.local_devices[0].platform == 'cpu':
      self.steps_ahead = _STEPS_AHEAD_TOGETHER_ON_CPU
    self._mesh = mesh
    buffer = np.zeros((self.slots, *image.shape), np.float32)
    nets = [network for network, _ in networks]
    self._nets, self._images, self._key, self._noise = sharding.replicated(
      (nets, buffer, key, voting.as_pytree(noise)), mesh
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

  def cast(self, network: int, lanes: Lanes) -> Int[Array, ' lanes']:
    """Starts a step; its result can be waited for later."""
    return _cast(
      self._nets[network],
      self._images,
      self._key,
      self._noise,
      lanes,
      mesh=self._mesh,
    )
