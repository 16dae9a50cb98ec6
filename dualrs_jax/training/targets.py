"""Radius targets: what each noise level could certify, per training image.

The table is built in shards. A shard is written in one piece, so a run that is
interrupted goes on with the first one that is missing.
"""

import contextlib
import functools
import logging
import os
import pathlib
import zipfile
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, UInt8

from dualrs_jax import base, confidence, data
from dualrs_jax.data import loader
from dualrs_jax.runtime import settings
from dualrs_jax.training import losses

logger = logging.getLogger(__name__)


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
) -> Int[np.ndarray, 'examples levels']:
  """Counts the votes for the true class, or goes on with it.

  Args:
    classifier: in inference mode, with its front; or one for each level.
    source: the images with their classes.
    stage: name of the stage, for the progress bar.
    sigmas: the noise levels.
    votes: noisy copies per image and level. The noise is a function of the key
      and the image's dataset index, the same at all levels.
    chunk_size: noisy copies per forward pass.
    shard_size: images per shard, and per call of the device.
    workers: processes that read images from disk, see `loader.batches`.
    key: of the stage.
    directory: of the shards; created if it is missing.

  Returns:
    The number of votes for the true class.
  """
  starts = range(0, len(source), shard_size)
  places = [
    np.arange(start, min(start + shard_size, len(source))) for start in starts
  ]
  paths = [directory / f'{start:09d}.npz' for start in starts]
  shards = [
    _load(path, source.indices[positions], len(sigmas))
    for path, positions in zip(paths, places, strict=True)
  ]
  missing = [number for number, shard in enumerate(shards) if shard is None]
  # The last shard is padded, so that all have one compiled shape.
  padded = [np.resize(places[number], shard_size) for number in missing]
  batches = loader.batches(
    source, map(loader.Request, padded), workers=workers, ahead=1
  )
  with (
    contextlib.closing(batches),
    tqdm.tqdm(
      zip(missing, padded, batches, strict=True),
      desc=stage,
      initial=len(shards) - len(missing),
      total=len(shards),
      unit='shard',
    ) as bar,
  ):
    for number, positions, batch in bar:
      counts = count_votes(
        classifier,
        batch.images,
        batch.labels,
        jax.vmap(functools.partial(jax.random.fold_in, key))(
          jnp.asarray(source.indices[positions], jnp.uint32)
        ),
        jnp.asarray(sigmas, jnp.float32),
        votes=votes,
        chunk_size=min(chunk_size, votes),
      )
      shard = np.asarray(counts)[: len(places[number])]
      _save(paths[number], source.indices[places[number]], shard)
      shards[number] = shard
  return np.concatenate([shard for shard in shards if shard is not None])


@functools.partial(jax.jit, static_argnames=('votes', 'chunk_size'))
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
    chunk_size: noisy copies per forward pass, at most `votes`.
  """
  chunks = -(-votes // chunk_size)

  def of_image(args):
    image, label, key = args
    noise = jax.random.normal(key, (votes, *image.shape))
    filled = jnp.resize(noise, (chunks * chunk_size, *image.shape))
    noise = filled.reshape(chunks, chunk_size, *image.shape)

    def by_chunks(expert, sigma):
      def right(noise):
        noisy = data.to_unit(image)[None] + sigma * noise
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
) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_suffix('.part')
  with part.open('wb') as file:
    np.savez(file, indices=indices, counts=counts)
    file.flush()
    os.fsync(file.fileno())
  os.replace(part, path)
  settings.sync_directory(path.parent)


def _load(
  path: pathlib.Path, indices: Int[np.ndarray, ' shard'], levels: int
) -> Int[np.ndarray, 'shard levels'] | None:
  """The counts of a shard; None if it is missing, damaged or of others."""
  if not path.exists():
    return None
  try:
    with path.open('rb') as file, np.load(file) as shard:
      saved, counts = shard['indices'], shard['counts']
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    logger.warning('%s is damaged (%s); it is computed again', path, error)
    return None
  if not np.array_equal(saved, indices) or counts.shape[1] != levels:
    logger.warning('%s holds other images; it is computed again', path)
    return None
  return counts
