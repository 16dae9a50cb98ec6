"""Batches on the device, read ahead of the program that consumes them."""

import collections
import concurrent.futures
import functools
import itertools
from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int, UInt8

from dualrs_jax.data.source import Source, StoredImages
from dualrs_jax.data.worker import Pool

_HostBatch = tuple[np.ndarray, np.ndarray]
_HostBatches = Generator[_HostBatch, None, None]


class Request(NamedTuple):
  """One batch.

  Attributes:
    positions: of its images in the source.
    stream: as in `Source.gather`: None, or the random draw of its views.
  """

  positions: Int[np.ndarray, ' batch']
  stream: Sequence[int] | None = None


class Batch(NamedTuple):
  """Images and their classes, on the device.

  Attributes:
    images: As they are stored, shape [batch, height, width, channels].
    labels: The class of each, shape [batch].
  """

  images: UInt8[Array, 'batch height width channels']
  labels: Int[Array, ' batch']


def batches(
  source: Source,
  order: Iterable[Request],
  *,
  workers: int = 0,
  ahead: int = 2,
  sharding: jax.sharding.Sharding | None = None,
) -> Generator[Batch, None, None]:
  """Yields the batches of `order`, while later ones are read and transferred.

  What is yielded is a function of source and order: the other arguments change
  the speed alone.

  Args:
    source: the images.
    order: what to load, consumed as needed; it may be endless. No batch is
      larger than the first.
    workers: processes that decode; 0 for a thread of this process. About one
      per core is right for JPEG; each takes a second or two to start. Images
      in memory need none, and get none.
    ahead: batches on the device that wait to be consumed. As many again are
      being decoded.
    sharding: where batches go; the first local device by default. With several
      processes each gives its own positions, and the batch is all of theirs.

  Returns:
    A generator; closing it, or dropping it, ends the workers.

  Raises:
    ValueError: `workers` or `ahead` is too small; from the iterator, also what
      reading raises, and a batch that is larger than the first.
    WorkerDied: from the iterator: a worker was killed.
  """
  if workers < 0:
    raise ValueError(f'workers must be at least 0, not {workers}')
  if ahead < 1:
    raise ValueError(f'ahead must be at least 1, not {ahead}')
  if sharding is None:
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  if workers and not isinstance(source.images, np.ndarray):
    read = _read_by_workers(source, source.images, order, workers, ahead)
  else:
    read = _read(source, order)
  return _prefetch(read, sharding, ahead)


def _read(source: Source, order: Iterable[Request]) -> _HostBatches:
  for positions, stream in order:
    yield source.gather(positions, stream=stream)


def _read_by_workers(
  source: Source,
  images: StoredImages,
  order: Iterable[Request],
  workers: int,
  ahead: int,
) -> _HostBatches:
  order = iter(order)
  first = next(order, None)
  if first is None:
    return
  batch_size = len(first.positions)
  # Two or more, so that a worker has the next task when it ends one.
  slots = ahead + 1
  with Pool(
    images, workers=workers, slots=slots, batch_size=batch_size
  ) as pool:
    flying: collections.deque[tuple[int, Request]] = collections.deque()

    def land() -> _HostBatch:
      slot, request = flying.popleft()
      pixels = pool.receive(slot, len(request.positions))
      return pixels, source.labels[request.positions]

    for number, request in enumerate(itertools.chain([first], order)):
      if len(request.positions) > batch_size:
        raise ValueError(
          f'batch {number} has {len(request.positions)} images, more than the'
          f' {batch_size} of the first'
        )
      pool.send(number % slots, *request)
      flying.append((number % slots, request))
      if len(flying) == slots:
        yield land()
    while flying:
      yield land()


def _prefetch(
  read: _HostBatches, sharding: jax.sharding.Sharding, ahead: int
) -> Generator[Batch, None, None]:
  """Reads and transfers in a thread, some batches ahead of the consumer."""

  def following() -> Batch | None:
    batch = next(read, None)
    if batch is None:
      return None
    put = functools.partial(jax.make_array_from_process_local_data, sharding)
    return Batch(*map(put, batch))

  with concurrent.futures.ThreadPoolExecutor(1) as thread:
    waiting = collections.deque(thread.submit(following) for _ in range(ahead))
    try:
      while (batch := waiting.popleft().result()) is not None:
        waiting.append(thread.submit(following))
        yield batch
    finally:
      thread.shutdown(cancel_futures=True)
      read.close()
