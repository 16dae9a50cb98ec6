"""Certification of many images, row by row, resumable by index."""

import hashlib
import pathlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tqdm
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int

from dualrs_jax import sharding, validation, voting
from dualrs_jax.base import Classifier
from dualrs_jax.data import Source, to_unit
from dualrs_jax.evaluation import casting, memory, records, tsv
from dualrs_jax.evaluation.casting import Booth
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
  classifier: Classifier | tuple[Classifier, ...],
  source: Source,
  directory: pathlib.Path,
  *,
  settings: Mapping[str, Any],
  seed: int,
  chunk_size: int = 0,
  positions: Int[np.ndarray, ' images'],
  report_radii: Sequence[float],
  devices: Sequence[Any] | None = None,
) -> list[Record]:
  """Certifies images and keeps their rows in a directory.

  A row is on the disk as soon as its image is decided: with a fixed number of
  votes before the next image begins; adaptively with others under way, in the
  order of their decisions. Called again with the same settings, for the same
  images or others, it adds the rows that are missing; the noise of an image
  depends on the seed and its dataset index alone, so neither order nor
  interruption shows in the results.

  Args:
    estimator: The variance estimator; None in plain smoothing.
    classifier: The base classifier, or one expert per level as a tuple.
    source: The images.
    directory: Where the rows and the settings of this run are.
    settings: What identifies the run: the statistics that `verdicts.verdict`
      names, `noise`, and anything else worth comparing. This function adds the
      alpha that the noise takes, the number of classes, fingerprints of the
      networks and of the source, the environment, the chunk and the seed,
      and, of the latest call, the number of `images` and the dataset indices
      that were `asked` for.
    seed: Of all noise, in [0, 2**32). For the guarantee it must not have been
      chosen after looking at results. It is recorded before the first vote.
    chunk_size: Noisy copies per device and forward pass; 0 for as many as the
      memory of the devices holds, see `memory`, and for those of the run that
      the directory already has. It is recorded.
    positions: Which images, as positions in the source; one that is repeated
      counts once.
    report_radii: Radii whose certified accuracy the progress bar shows.
    devices: Spreads the votes on each image over these; all local devices by
      default. The rows do not depend on it.

  Returns:
    One row per image, in the order of the positions.

  Raises:
    ValueError: If the statistics are invalid, a vote depends on its batch
      companions, images are not the estimator's or classifier's, or the
      memory does not hold one copy at a time.
    SettingsMismatch: If the directory holds results of other settings.
    CorruptShard: If the file of rows is damaged before its last line, or the
      label of a row is not that of its image.
    ShardInUse: If another process is adding rows.
  """
  settings_lib.check_seed(seed)
  if chunk_size:
    validation.check_chunk_size(chunk_size)
  positions = np.array(list(dict.fromkeys(np.asarray(positions).tolist())))
  mesh = sharding.votes_mesh(devices)
  path = directory / SETTINGS
  chunk_size = chunk_size or _recorded_chunk_size(path)
  estimator, classifier = _everywhere((estimator, classifier), mesh)
  sampler = casting.make_noise(settings)
  booth = Booth(estimator, classifier, sampler, chunk_size or 1, mesh)
  example = np.asarray(to_unit(source.gather(positions[:1])[0])[0])
  taken = casting.noise_alpha(booth.noise, settings, example.size)
  settings = {**settings, 'noise_alpha': taken}
  casting.check_statistics(booth, example, settings)
  if not chunk_size:
    chunk_size = memory.choose_chunk_size(booth, example, settings)
    booth = booth._replace(chunk_size=chunk_size)
  identity = _identity(booth, example, settings, source, seed)
  if path.exists():  # another device may not have the memory for its chunks
    settings_lib.verify(
      path, {n: v for n, v in identity.items() if n not in _ADVISORY}
    )
  casting.check_independence(booth, example, settings)
  claimed = settings_lib.claim(
    path,
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
    missing = positions[[idx not in rows for idx in indices]]
    progress = _Progress(report_radii)
    for idx in indices:
      if idx in rows:
        progress.add(rows[idx])
    with tqdm.tqdm(
      _certify(booth, source, missing, claimed),
      desc=directory.name,
      initial=len(indices) - len(missing),
      total=len(indices),
      unit='image',
    ) as bar:
      for row in bar:
        shard.append(tsv.to_line(row, claimed['task']))
        rows[row.idx] = row
        progress.add(row)
        bar.set_postfix_str(str(progress), refresh=False)
  return [rows[idx] for idx in indices]


def _recorded_chunk_size(path: pathlib.Path) -> int:
  """The chunk size of the run that has these settings, or 0."""
  if not path.exists():
    return 0
  return settings_lib.read(path).get('chunk_size', 0)


def _everywhere(networks: Any, mesh: Mesh) -> Any:
  """Networks on all devices of a mesh, what they share once on each."""
  leaves, structure = jax.tree.flatten(networks)
  shared = {id(leaf): leaf for leaf in leaves}
  placed = jax.device_put(shared, NamedSharding(mesh, PartitionSpec()))
  return structure.unflatten([placed[id(leaf)] for leaf in leaves])


def _identity(
  booth: Booth,
  example: Float[np.ndarray, '*image'],
  settings: Mapping[str, Any],
  source: Source,
  seed: int,
) -> dict[str, Any]:
  """What the results depend on."""
  estimator, classifier = booth.estimator, booth.classifier
  precision = jax.config.jax_default_matmul_precision  # pyright: ignore
  device = booth.mesh.local_devices[0]
  return {
    **settings,
    'seed': seed,
    'num_classes': voting.num_classes(casting.experts(classifier)[0], example),
    'weights': {
      'classifier': fingerprint(classifier),
      'estimator': None if estimator is None else fingerprint(estimator),
    },
    'source': source.fingerprint(),
    'chunk_size': booth.chunk_size,
    'dtype': str(example.dtype),
    'matmul_precision': precision,
    'threefry_partitionable': jax.config.jax_threefry_partitionable,  # pyright: ignore
    **environment.describe(),
    'platform': device.platform,
    'device_kind': device.device_kind,
  }


def _certify(
  booth: Booth,
  source: Source,
  positions: Int[np.ndarray, ' images'],
  settings: Mapping[str, Any],
) -> Iterator[Record]:
  """The rows of images, each with the time since the row before it."""
  labels = dict(
    zip(
      source.indices[positions].tolist(),
      source.labels[positions].tolist(),
      strict=True,
    )
  )
  key = jax.random.key(settings['seed'])
  before = time.monotonic()
  for idx, ballots in casting.cast(
    booth, _examples(source, positions), settings, key
  ):
    now = time.monotonic()
    yield records.of_votes(
      ballots, settings, idx=idx, label=labels[idx], time=now - before
    )
    before = now


def _examples(
  source: Source, positions: Int[np.ndarray, ' images']
) -> Iterator[tuple[int, Float[np.ndarray, '*image']]]:
  """Dataset indices and images, each read when it is needed."""
  for position in positions.tolist():
    image = to_unit(source.gather(np.array([position]))[0])[0]
    yield int(source.indices[position]), np.asarray(image)


def fingerprint(network: Classifier | tuple[Classifier, ...]) -> str:
  """A text that changes with the weights of networks, and their constants."""
  leaves, structure = jax.tree.flatten(network)
  description = re.sub(' at 0x[0-9a-f]+', '', str(structure))  # of functions
  digest = hashlib.sha256(description.encode())
  for leaf in leaves:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    _add_array(digest, leaf)
  return digest.hexdigest()[:16]


def _add_array(digest: Any, values: Any) -> None:
  array = np.asarray(values)
  digest.update(f'{array.dtype}{array.shape}'.encode())
  digest.update(array.tobytes())


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
