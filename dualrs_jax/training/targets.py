"""Radius targets: what each noise level could certify, per training image.

The table is built in shards. A shard is written in one piece, so a run that is
interrupted goes on with the first one that is missing.
"""

import contextlib
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Float, Int, PRNGKeyArray

from dualrs_jax import base, data, host, sharding
from dualrs_jax.data import loader
from dualrs_jax.runtime import bars, preemption, processes
from dualrs_jax.training import target_shards, target_votes

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
) -> Int[np.ndarray, 'examples levels 2']:
  """Counts the votes of each level, or goes on with it.

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
    The votes for the true class, and for the wrong class that has most.

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
    target_shards.load(path, chosen, (len(sigmas), 2), mark) is not None
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
  count_votes: Callable[..., Any] = (
    target_votes.count_by_host if hosted else target_votes.count_spread
  )
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
            target_shards.save(paths[number], indices[number], own, mark)
        if preempted():
          raise preemption.Preempted(
            f'the finished shards of {stage} are saved'
          )
      bar.update(min(place.count, len(missing) - first))
  processes.barrier(stage)
  return target_shards.read(paths, indices, (len(sigmas), 2), mark)


def kept(
  draw: Callable[[], Float[np.ndarray, 'examples levels']],
  source: data.Source,
  *,
  levels: int,
  directory: pathlib.Path,
  mark: str,
) -> Float[np.ndarray, 'examples levels']:
  """Bounds as they were drawn first, whoever asks and however often.

  Processes that join call this together.

  Args:
    draw: draws them.
    source: their images.
    levels: the number of noise levels.
    directory: of the shards, beside which they are kept.
    mark: see `build`.

  Raises:
    OSError: the processes do not share the folder.
  """
  path = directory / 'bounds.npz'

  def load():
    return target_shards.load(path, source.indices, (levels,), mark)

  if processes.here().first and load() is None:
    target_shards.save(path, source.indices, draw(), mark)
  processes.barrier('bounds')
  found = processes.await_shown(load, path)
  if found is None:
    raise OSError(
      f'{path} is not there: {directory} must be one folder for all processes'
    )
  return found
