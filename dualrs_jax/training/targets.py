"""Radius targets: what each noise level could certify, per training image.

The table is built in shards. A shard is written in one piece, so a run that is
interrupted goes on with the first one that is missing.
"""

import contextlib
import functools
import io
import logging
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, UInt8

from dualrs_jax import base, compilers, confidence, data, host, sharding
from dualrs_jax.data import loader
from dualrs_jax.runtime import bars, files, preemption, processes
from dualrs_jax.training import losses

logger = logging.getLogger(__name__)

#: Calls of the device in which a shard is counted, where its images allow it: a
#: run that is asked to end loses those of one shard, and waits for one of them.
_CALLS = 8


def build(
  classifier: base.Classifier | tuple[base.Classifier, ...],
  source: data.Source,
  *,
  stage: str,
  sigmas: Sequence[float],
  votes: int,
  chunk_size: int,
  shard_size: int,
  workers: int,
  key: PRNGKeyArray,
  directory: pathlib.Path,
  mark: str,
  preempted: Callable[[], bool],
) -> Int[np.ndarray, 'examples levels']:
  """Counts the votes for the true class, or goes on with it.

  Processes share the shards that are missing, and the devices of a process the
  images of a shard; the counts do not depend on it.

  Args:
    classifier: in inference mode, with its front; or one for each level.
    source: the images with their classes.
    stage: name of the stage, for the progress bar.
    sigmas: the noise levels.
    votes: noisy copies per image and level. The noise is a function of the key
      and the image's dataset index, the same at all levels.
    chunk_size: noisy copies per forward pass, at most; of a host classifier
      exactly so many.
    shard_size: images per shard.
    workers: processes that read images from disk, see `loader.batches`.
    key: of the stage.
    directory: of the shards; created if it is missing.
    mark: the fingerprint of all that the counts depend on. A shard of another
      one is computed again.
    preempted: see `preemption.watch`; asked several times per shard.

  Returns:
    The number of votes for the true class.

  Raises:
    preemption.Preempted: the run was asked to end; its shards are saved.
    OSError: the processes do not share the folder.
  """
  starts = range(0, len(source), shard_size)
  places = [
    np.arange(start, min(start + shard_size, len(source))) for start in starts
  ]
  paths = [directory / f'{start:09d}.npz' for start in starts]
  indices = [source.indices[positions] for positions in places]
  there = [
    _load(path, chosen, len(sigmas), mark) is not None
    for path, chosen in zip(paths, indices, strict=True)
  ]
  missing = np.flatnonzero(~processes.agreed(np.array(there)))
  place = processes.here()
  mine = missing[place.index :: place.count].tolist()
  hosted = bool(host.parts(classifier))
  mesh = sharding.votes_mesh(jax.local_devices())
  fixed = sharding.on_local_devices(
    (classifier, key, jnp.asarray(sigmas, jnp.float32)), mesh
  )
  # Calls are padded with any images, so that all have one compiled shape.
  rows = -(-shard_size // (_CALLS * mesh.size)) * mesh.size
  calls = range(0, shard_size, rows)
  batches = loader.batches(
    source,
    (
      loader.Request(np.resize(places[number][call:], rows))
      for number in mine
      for call in calls
    ),
    workers=workers,
    ahead=1,
    sharding=NamedSharding(mesh, PartitionSpec(sharding.VOTES)),
  )
  count_votes: Callable[..., Any] = _count_by_host if hosted else _count_spread
  with (
    contextlib.closing(batches),
    bars.bar(
      stage,
      unit='shard',
      shown=place.first,
      initial=len(places) - len(missing),
      total=len(places),
    ) as bar,
  ):
    for turn, first in enumerate(range(0, len(missing), place.count)):
      number = mine[turn] if turn < len(mine) else None
      counts = []
      for call in range(_CALLS):  # all processes ask equally often
        if number is not None and call < len(calls):
          chosen = np.resize(indices[number][calls[call] :], rows)
          begins = not (turn or counts)
          with bars.compiling(bar) if begins else contextlib.nullcontext():
            found = count_votes(
              *fixed,
              *next(batches),
              jnp.asarray(chosen, jnp.uint32),
              votes=votes,
              chunk_size=chunk_size if hosted else min(chunk_size, votes),
              mesh=mesh,
            )
            counts.append(np.asarray(found))
          if len(counts) == len(calls):
            own = np.concatenate(counts)[: len(places[number])]
            _save(paths[number], indices[number], own, mark)
        if preempted():
          raise preemption.Preempted(
            f'the finished shards of {stage} are saved'
          )
      bar.update(min(place.count, len(missing) - first))
  processes.barrier(stage)
  return _read(paths, indices, len(sigmas), mark)


@functools.partial(
  compilers.jit, static_argnames=('votes', 'chunk_size', 'mesh')
)
def _count_spread(
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


def _count_by_host(
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
) -> Int[Array, 'batch levels']:
  """Votes for the true class on noisy copies of each image, at each level.

  Args:
    classifier: in inference mode; or a tuple of one for each level.
    images: 8-bit images.
    labels: their classes.
    keys: one per image.
    sigmas: the noise levels.
    votes: how many votes per image and level.
    chunk_size: noisy copies per forward pass.
  """
  chunks = -(-votes // chunk_size)

  def of_image(args):
    image, label, key = args
    noise = _noise(key, votes=votes, shape=image.shape)
    filled = jnp.resize(noise, (chunks * chunk_size, *image.shape))
    noise = filled.reshape(chunks, chunk_size, *image.shape)

    def by_chunks(expert, sigma):
      def right(noise):
        noisy = _noisy(image, sigma, noise)
        logits = expert(noisy, jnp.full(chunk_size, sigma))
        # argmax takes a NaN for the largest value: such a vote is invalid.
        return (logits.argmax(-1) == label) & ~jnp.isnan(logits).any(-1)

      found = jax.lax.map(right, noise).reshape(-1)[:votes]
      return found.sum(dtype=jnp.int32)

    if isinstance(classifier, tuple):
      return jnp.stack(list(map(by_chunks, classifier, sigmas)))
    return jax.lax.map(functools.partial(by_chunks, classifier), sigmas)

  return jax.lax.map(of_image, (images, labels, keys))


def signed_bounds(
  counts: Int[np.ndarray, 'examples levels'],
  sigmas: Sequence[float],
  *,
  votes: int,
  shrinkage: float,
  n: int,
  alpha: float,
) -> Float[np.ndarray, 'examples levels']:
  """The radius that a full certification would be expected to give.

  A certificate from few votes would be capped far below what a full budget
  reaches, and would hide which level is best for an easy image. So the share
  of right votes, shrunk towards 1/2, stands in for the probability, and the
  radius is the bound that `n` votes would give there. These are targets for
  training: no guarantee is attached to them.

  Args:
    counts: votes for the true class.
    sigmas: the noise levels.
    votes: how many votes were cast per image and level.
    shrinkage: right and wrong votes, of each that many, that are added.
    n: number of votes of the certification to come.
    alpha: its failure probability.

  Returns:
    Float32 signed radii in pixel units; negative where the true class would
    have to gain before it is the answer.
  """
  share = (counts + shrinkage) / (votes + 2 * shrinkage)
  z = confidence.predicted_lower_z(share, n, alpha)
  largest = confidence.lower_z(n, alpha)[n]
  z = np.clip(z, -largest, largest)
  return (z * np.asarray(sigmas)).astype(np.float32)


def describe(
  bounds: Float[np.ndarray, 'examples levels'], sigmas: Sequence[float]
) -> str:
  """How many images can be certified at all, and at which level best."""
  shares = losses.best_level_frequencies(bounds)
  best = ', '.join(
    f'{sigma:g} for {share:.1%}'
    for sigma, share in zip(sigmas, shares, strict=True)
  )
  certified = (bounds > 0).any(-1).mean()
  return (
    f'{certified:.1%} of {len(bounds)} images can be certified; of these the'
    f' best sigma is {best}'
  )


def _save(
  path: pathlib.Path,
  indices: Int[np.ndarray, ' shard'],
  counts: Int[np.ndarray, 'shard levels'],
  mark: str,
) -> None:
  content = io.BytesIO()
  np.savez(content, indices=indices, counts=counts, settings=np.array(mark))
  files.write_atomic(path, content.getvalue())


def _read(
  paths: Sequence[pathlib.Path],
  indices: Sequence[Int[np.ndarray, ' _']],
  levels: int,
  mark: str,
) -> Int[np.ndarray, 'examples levels']:
  """The counts of all shards, once all of them are written."""
  directory = paths[0].parent
  processes.await_shown(
    lambda: all(path.exists() for path in paths) or None, directory
  )
  table = []
  for path, chosen in zip(paths, indices, strict=True):
    shard = _load(path, chosen, levels, mark)
    if shard is None:
      raise OSError(
        f'{path} is not there: {directory} must be one folder for all processes'
      )
    table.append(shard)
  return np.concatenate(table)


def _load(
  path: pathlib.Path,
  indices: Int[np.ndarray, ' shard'],
  levels: int,
  mark: str,
) -> Int[np.ndarray, 'shard levels'] | None:
  """The counts of a shard; None if it is missing, damaged or of others."""
  if not path.exists():
    return None
  try:
    with path.open('rb') as file, np.load(file) as shard:
      saved, counts = shard['indices'], shard['counts']
      found = str(shard['settings']) if 'settings' in shard else ''
  except Exception as error:  # the kinds differ with the bytes
    logger.warning('%s is damaged (%s); it is computed again', path, error)
    return None
  if found != mark:
    logger.warning('%s is of other settings; it is computed again', path)
    return None
  if not np.array_equal(saved, indices) or counts.shape != (len(saved), levels):
    logger.warning('%s holds other images; it is computed again', path)
    return None
  return counts
