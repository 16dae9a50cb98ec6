"""How examples reach the training steps: all at once, or batch by batch.

Images in memory are put on the device once, and each step gathers its batch
there. Images on disk are read ahead by `data.loader`. Either way the batch of a
step is a function of the step alone.
"""

import collections
import functools
import zlib
from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PRNGKeyArray, UInt8

from dualrs_jax import data, sharding
from dualrs_jax.data import augment, loader

#: How far images in memory are shifted, in pixels, see `augment`.
_SHIFT = 4


class Examples(NamedTuple):
  """Images, and for each what is to be learnt of it.

  Attributes:
    images: 8-bit images.
    targets: classes, or radius targets: see the stages.
  """

  images: UInt8[Array, 'batch *image']
  targets: Array


class Order:
  """Which examples make up the batch of a step.

  Each epoch shows every example at most once, in an order of its own.
  """

  def __init__(self, examples: int, batch_size: int, seed: int, stage: str):
    """Prepares the order.

    Args:
      examples: how many there are.
      batch_size: how many each step takes.
      seed: of the training run.
      stage: name of the stage.

    Raises:
      ValueError: fewer examples than a batch needs.
    """
    if examples < batch_size:
      raise ValueError(
        f'{stage} has {examples} examples, fewer than its batch_size of'
        f' {batch_size}'
      )
    self.batch_size = batch_size
    self._per_epoch = examples // batch_size
    self._seeds = (seed, zlib.crc32(stage.encode()))

    @functools.lru_cache(maxsize=2)
    def permutation(epoch: int) -> Int[np.ndarray, ' examples']:
      rng = np.random.default_rng([*self._seeds, epoch])
      return rng.permutation(examples).astype(np.int32)

    self._permutation = permutation

  def __call__(self, step: int) -> Int[np.ndarray, ' batch']:
    """The positions of the examples of a step."""
    epoch, number = divmod(step, self._per_epoch)
    first = number * self.batch_size
    return self._permutation(epoch)[first : first + self.batch_size]

  def stream(self, step: int) -> tuple[int, ...]:
    """The random draw of the views of a step, see `data.Source.gather`."""
    return (*self._seeds, step // self._per_epoch)


class Feed(NamedTuple):
  """The examples of a stage.

  Attributes:
    source: the images.
    targets: what is to be learnt of each, an array of the source's length.
    augmented: whether random views of the images are shown: mirrored and
      shifted if they are in memory, else as the data set's `load` describes.
    workers: processes that read images from disk, see `loader.batches`.
  """

  source: data.Source
  targets: np.ndarray
  augmented: bool = False
  workers: int = 0

  @property
  def steps_per_call(self) -> int | None:
    """How many steps a call of the device may take; None for any number."""
    return None if self.source.in_memory else 1

  def calls(
    self, pieces: Iterable[tuple[int, int]], order: Order, mesh: Mesh
  ) -> Generator[tuple[Examples, Int[np.ndarray, 'steps batch'] | None]]:
    """For each call of the device its examples, and where its batches are.

    Args:
      pieces: the first step of each call, and the one after its last.
      order: of the examples.
      mesh: see `sharding.data_mesh`. Images in memory are on every device; of
        those on disk, each process reads what its own devices take.

    Yields:
      Examples, and the positions of the batches of the steps among them; None
      where the examples are the batch of the only step.
    """
    if isinstance(self.source.images, np.ndarray):
      arrays = self.source.images, np.asarray(self.targets)
      examples = Examples(*sharding.replicated(arrays, mesh))
      for first, last in pieces:
        yield examples, np.stack([order(step) for step in range(first, last)])
      return
    spread = NamedSharding(mesh, PartitionSpec(sharding.DATA))
    mine = sharding.own_rows(order.batch_size, mesh)
    requested = collections.deque()

    def requests() -> Iterator[loader.Request]:
      for step, _ in pieces:
        requested.append(order(step)[mine])
        stream = order.stream(step) if self.augmented else None
        yield loader.Request(requested[-1], stream)

    for batch in loader.batches(
      self.source, requests(), workers=self.workers, sharding=spread
    ):
      targets = np.asarray(self.targets)[requested.popleft()]
      targets = jax.make_array_from_process_local_data(spread, targets)
      yield Examples(batch.images, targets), None

  def view(self, examples: Examples, key: PRNGKeyArray) -> Examples:
    """The examples of one step as the network is shown them."""
    if not (self.augmented and self.source.in_memory):
      return examples
    keys = jax.random.split(key, len(examples.images))
    images = augment.shift_and_mirror(examples.images, keys, padding=_SHIFT)
    return examples._replace(images=images)
