"""Certification of many images, row by row, resumable by index."""

import functools
import hashlib
import pathlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

from dualrs_jax import dual, noise, sharding, smoothing, voting
from dualrs_jax.base import Classifier, Counts
from dualrs_jax.data import Source, to_unit
from dualrs_jax.evaluation import records, tsv
from dualrs_jax.evaluation.records import Record
from dualrs_jax.runtime import environment, shards
from dualrs_jax.runtime import settings as settings_lib

#: Folder of a working directory with one folder for each certification.
FOLDER = 'certify'
ROWS = 'rows.tsv'
SETTINGS = 'settings.json'

#: Recorded, but a difference does not make other results.
_ADVISORY = ('versions', 'git_revision', 'device_count')


def certify_source(
  estimator: Classifier | None,
  classifier: Classifier,
  source: Source,
  directory: pathlib.Path,
  *,
  settings: Mapping[str, Any],
  seed: int,
  chunk_size: int,
  positions: Int[np.ndarray, ' images'],
  report_radii: Sequence[float],
  devices: Sequence[Any] | None = None,
) -> list[Record]:
  """Certifies images and keeps their rows in a directory.

  Each row is on the disk before the next image begins. Called again with the
  same settings, for the same images or others, it adds the rows that are
  missing; the noise of an image depends on the seed and its dataset index
  alone, so neither order nor interruption shows in the results.

  Args:
    estimator: The variance estimator; None in plain smoothing.
    classifier: The base classifier.
    source: The images.
    directory: Where the rows and the settings of this run are.
    settings: What identifies the run: the statistics that `records.of_counts`
      names, `n0`, and anything else worth comparing. This function adds the
      number of classes, fingerprints of the networks and of the source, the
      environment, the chunk and the seed, and, of the latest call, the number
      of `images` and the dataset indices that were `asked` for.
    seed: Of all noise, in [0, 2**32). For the guarantee it must not have been
      chosen after looking at results. It is recorded before the first vote.
    chunk_size: Noisy copies per device and forward pass.
    positions: Which images, as positions in the source; one that is repeated
      counts once.
    report_radii: Radii whose certified accuracy the progress bar shows.
    devices: Spreads the votes on each image over these; all local devices by
      default. The rows do not depend on it.

  Returns:
    One row per image, in the order of the positions.

  Raises:
    ValueError: If the statistics are invalid, a vote depends on its batch
      companions, or images are not the estimator's or classifier's.
    SettingsMismatch: If the directory holds results of other settings.
    CorruptShard: If the file of rows is damaged before its last line, or the
      label of a row is not that of its image.
    ShardInUse: If another process is adding rows.
  """
  settings_lib.check_seed(seed)
  positions = np.array(list(dict.fromkeys(np.asarray(positions).tolist())))
  mesh = _mesh(devices)
  if mesh is not None:
    everywhere = NamedSharding(mesh, PartitionSpec())
    estimator, classifier = jax.device_put((estimator, classifier), everywhere)
  vote = functools.partial(
    _vote,
    estimator,
    classifier,
    settings=settings,
    chunk_size=chunk_size,
    mesh=mesh,
  )
  example = to_unit(source.gather(positions[:1])[0])[0]
  _check(vote, estimator, classifier, example, settings, chunk_size)
  precision = jax.config.jax_default_matmul_precision  # pyright: ignore
  identity = {
    **settings,
    'seed': seed,
    'num_classes': voting.num_classes(classifier, example),
    'weights': {
      'classifier': fingerprint(classifier),
      'estimator': None if estimator is None else fingerprint(estimator),
    },
    'source': source_fingerprint(source),
    'chunk_size': chunk_size,
    'dtype': str(example.dtype),
    'matmul_precision': precision,
    **environment.describe(),
  }
  claimed = settings_lib.claim(
    directory / SETTINGS,
    identity,
    latest={
      'images': len(positions),
      'asked': ' '.join(map(str, source.indices[positions].tolist())),
    },
    advisory=_ADVISORY,
  )
  with shards.Shard(
    directory / ROWS,
    tsv.header(claimed['task']),
    tsv.parser(claimed),
  ) as shard:
    tsv.check_unique(shard.rows, directory / ROWS)
    rows = {row.idx: row for row in shard.rows}
    _check_labels(rows, source, directory / ROWS)
    indices = source.indices[positions].tolist()
    missing = positions[[idx not in rows for idx in indices]].tolist()
    progress = _Progress(report_radii)
    for idx in indices:
      if idx in rows:
        progress.add(rows[idx])
    with tqdm.tqdm(
      missing,
      desc=directory.name,
      initial=len(indices) - len(missing),
      total=len(indices),
      unit='image',
    ) as bar:
      for position in bar:
        row = _certify_image(vote, source, position, claimed)
        shard.append(tsv.to_line(row, claimed['task']))
        rows[row.idx] = row
        progress.add(row)
        bar.set_postfix_str(str(progress), refresh=False)
  return [rows[idx] for idx in indices]


def fingerprint(network: Classifier) -> str:
  """A text that changes with the weights of a network, and its constants."""
  leaves, structure = jax.tree.flatten(network)
  description = re.sub(' at 0x[0-9a-f]+', '', str(structure))  # of functions
  digest = hashlib.sha256(description.encode())
  for leaf in leaves:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    _add_array(digest, leaf)
  return digest.hexdigest()[:16]


def source_fingerprint(source: Source) -> str:
  """A text that changes with the images, labels and indices of a source."""
  digest = hashlib.sha256()
  for array in (source.images, source.labels, source.indices):
    _add_array(digest, array)
  return digest.hexdigest()[:16]


def _add_array(digest: Any, values: Any) -> None:
  array = np.asarray(values)
  digest.update(f'{array.dtype}{array.shape}'.encode())
  digest.update(array.tobytes())


def _mesh(devices: Sequence[Any] | None) -> Mesh | None:
  chosen = jax.local_devices() if devices is None else devices
  return sharding.votes_mesh(chosen) if len(chosen) > 1 else None


def _vote(
  estimator, classifier, image, key, *, settings, chunk_size, mesh
) -> tuple[Counts, Counts]:
  """Casts all votes on one image: counts [K] and [K, classes]."""
  sigmas = np.asarray(settings['sigmas'], np.float32)
  spread = {'chunk_size': chunk_size, 'mesh': mesh}
  votes = {'n': settings['n'], 'alpha': settings['alpha'], **spread}
  if settings['smoothing'] == 'single':
    none = Counts(*(np.zeros(1, np.int32),) * 2)
    if settings['task'] == 'certify':
      selection, estimation = smoothing.certify(
        classifier,
        image,
        settings['sigmas'][0],
        key,
        n0=settings['n0'],
        **votes,
      ).counts
    else:
      estimation = smoothing.predict(
        classifier, image, settings['sigmas'][0], key, **votes
      ).counts
      selection = jnp.zeros_like(estimation)
    return none, Counts(selection[None], estimation[None])
  networks = estimator, classifier, image, sigmas
  estimator_sigma = settings['estimator_sigma']
  if settings['task'] == 'certify':
    found = dual.certify_dual(
      *networks,
      estimator_sigma,
      key,
      n0=settings['n0'],
      certificate=records.RULES[settings['certificate']],
      **votes,
    )
    return found.estimator_counts, found.classifier_counts
  found = dual.predict_dual(*networks, estimator_sigma, key, **votes)
  levels = jnp.arange(len(sigmas))[:, None] == found.sigma_index
  estimation = jnp.where(levels, found.classifier_counts[None], 0)
  return (
    Counts(jnp.zeros_like(found.estimator_counts), found.estimator_counts),
    Counts(jnp.zeros_like(estimation), estimation),
  )


def _check(vote, estimator, classifier, example, settings, chunk_size) -> None:
  """Raises what would be wrong with every image, before anything is written."""
  key = jax.random.key(0)
  jax.eval_shape(vote, example, key)
  levels = {
    'classifier': (classifier, max(settings['sigmas'])),
    'estimator': (estimator, settings['estimator_sigma']),
  }
  for name, (network, sigma) in levels.items():
    if network is not None:
      try:
        voting.check_batch_independence(
          network, example, sigma, key, chunk_size=chunk_size
        )
      except ValueError as error:
        raise ValueError(f'{name}: {error}') from error


def _check_labels(
  rows: Mapping[int, Record], source: Source, path: pathlib.Path
) -> None:
  """Raises CorruptShard unless the rows have the labels of the source."""
  labels = dict(
    zip(source.indices.tolist(), source.labels.tolist(), strict=True)
  )
  for idx, row in rows.items():
    if row.label != labels.get(idx):
      raise shards.CorruptShard(
        f'{path}: image {idx} has label {row.label} there and'
        f' {labels.get(idx, "no label")} in the data set'
      )


def _certify_image(
  vote: Callable[..., tuple[Counts, Counts]],
  source: Source,
  position: int,
  settings: Mapping[str, Any],
) -> Record:
  idx = int(source.indices[position])
  images, labels = source.gather(np.asarray([position]))
  start = time.monotonic()
  key = noise.image_key(jax.random.key(settings['seed']), idx)
  estimator, classifier = jax.device_get(vote(to_unit(images)[0], key))
  return records.of_counts(
    estimator,
    classifier,
    settings,
    idx=idx,
    label=int(labels[0]),
    time=time.monotonic() - start,
  )


class _Progress:
  """Running certified accuracy, as the progress bar shows it."""

  def __init__(self, radii: Sequence[float]):
    self._hits = dict.fromkeys(radii, 0)
    self._rows = 0

  def add(self, row: Record) -> None:
    self._rows += 1
    for radius in self._hits:
      self._hits[radius] += row.correct and row.radius >= radius

  def __str__(self) -> str:
    return ', '.join(
      f'{hits / self._rows:.1%} at r={radius:g}'
      for radius, hits in self._hits.items()
    )
