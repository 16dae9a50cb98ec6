"""Certification of many images, row by row, resumable by index."""

import contextlib
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from dualrs_jax import folders, sharding
from dualrs_jax.base import AdaptiveCertificate, Classifier
from dualrs_jax.data import Source, to_unit
from dualrs_jax.evaluation import (
  claim,
  continuing,
  distances,
  file_names,
  marks,
  preparation,
  records,
  sampling,
  smoothed_networks,
  tsv,
  workers,
)
from dualrs_jax.evaluation.progress import Progress
from dualrs_jax.evaluation.records import Record
from dualrs_jax.evaluation.smoothed_networks import SmoothedNetworks
from dualrs_jax.runtime import preemption, processes, shards
from dualrs_jax.runtime import settings as settings_lib
from dualrs_jax.runtime.processes import Place

#: Folder of a working directory with one folder for each certification.
FOLDER = 'certify'
#: Name of the file of rows in it.
ROWS = workers.ROWS
#: Name of the file of settings in it.
SETTINGS = marks.SETTINGS

_ALONE = Place()


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
  place: Place = _ALONE,
  training: Source | None = None,
  preempted: Callable[[], bool] = lambda: False,
  after_row: Callable[[pathlib.Path], object] = lambda _: None,
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
    settings: What identifies the run: the statistics that `methods.result`
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
      default. The rows do not depend on it. With devices of several processes
      all of them make the same call, and the first one keeps the rows.
    place: Which one of how many processes that share the images this is: it
      adds its share of the rows, see `workers`. Nor do they depend on that.
    training: The training images, where levels follow from the distance to
      them.
    preempted: Whether to end, asked before each image or step.
    after_row: Called with the directory after each row, once it is on the disk.

  Returns:
    The rows of the images, in the order of the positions: one for each, unless
    other processes share them.

  Raises:
    ValueError: If the statistics are invalid, a vote depends on its batch
      companions, images are not the estimator's or classifier's, or the
      memory does not hold one copy at a time.
    SettingsMismatch: If the directory holds results of other settings, or
      without those that say how they were computed.
    CorruptShard: If the file of rows is damaged before its last line, or the
      label of a row is not that of its image.
    InUse: If another process is adding rows in this place.
    Preempted: If it was asked to end; what was decided is kept.
  """
  directory = folders.expand(directory)
  positions = np.array(list(dict.fromkeys(np.asarray(positions).tolist())))
  mesh = sharding.votes_mesh(devices)
  prepared = preparation.prepare(
    settings,
    source.image_shape,
    seed=seed,
    chunk_size=chunk_size,
    mesh=mesh,
  )
  settings = prepared.settings
  if settings['smoothing'] == 'distance':
    distances.check(settings, training)
    settings |= _of_training(source, training)
  estimator, classifier = smoothed_networks.everywhere(
    (estimator, classifier), mesh
  )
  smoothed, claimed, asked = claim.claim(
    directory,
    SmoothedNetworks(estimator, classifier, prepared.noise, chunk_size, mesh),
    settings,
    source,
    positions,
    seed=seed,
  )
  indices = source.indices[positions].tolist()
  together = mesh.is_multi_process
  with contextlib.ExitStack() as opened:
    shard = None
    if processes.here().first or not together:
      shard = opened.enter_context(workers.open_own(directory, claimed, place))
      # Of this call, now that it is let in.
      settings_lib.replace(directory / SETTINGS, asked)
      file_names.write(directory, source, positions)
    files = workers.read(directory, claimed)
    rows = workers.together(files, claimed)
    _check_labels(rows, source, directory)
    begun = continuing.begun(rows, claimed)
    enough = continuing.without(files, begun)
    todo = np.isin(indices, workers.share(indices, enough, place))
    if together:  # the first one may have added rows before others looked
      todo = processes.agreed(todo)
    progress = opened.enter_context(
      Progress(
        directory.name,
        report_radii,
        done=[rows[i] for i in indices if i in rows and i not in begun],
        todo=int(todo.sum()),
        shown=place.first and processes.here().first,
      )
    )

    def before_step():
      if preempted():
        there = sum(idx in rows for idx in indices)
        raise preemption.Preempted(
          f'preempted with {there} of {len(indices)} images in {directory}'
        )

    levels = {}
    if training is not None:
      levels = distances.measure(source, positions[todo], training, claimed)
    for row in _certify(
      smoothed, source, positions[todo], claimed, before_step, begun, levels
    ):
      if row.idx in rows:
        row = row._replace(time=row.time + rows[row.idx].time)
      if shard is not None:
        shard.append(tsv.file_line(row, claimed))
      rows[row.idx] = row
      progress.add(row)
      after_row(directory)
  return [rows[idx] for idx in indices if idx in rows]


def _of_training(source: Source, training: Source | None) -> dict[str, Any]:
  """What rows depend on besides, where levels follow from distances."""
  assert training is not None  # there are enough of them
  return {
    'training': training.fingerprint(),
    'pixels': math.prod(source.image_shape),
  }


def _certify(
  smoothed: SmoothedNetworks,
  source: Source,
  positions: Int[np.ndarray, ' images'],
  settings: Mapping[str, Any],
  before_step: Callable[[], object],
  begun: Mapping[int, AdaptiveCertificate],
  levels: Mapping[int, float],
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
  for idx, votes in sampling.cast(
    smoothed,
    _examples(source, positions),
    settings,
    key,
    before_step,
    begun,
    levels,
  ):
    now = time.monotonic()
    yield records.of_votes(
      votes, settings, idx=idx, label=labels[idx], time=now - before
    )
    before = now


def _examples(
  source: Source, positions: Int[np.ndarray, ' images']
) -> Iterator[tuple[int, Float[np.ndarray, '*image']]]:
  """Dataset indices and images, each read when it is needed."""
  for position in positions.tolist():
    image = to_unit(source.gather(np.array([position]))[0])[0]
    yield int(source.indices[position]), np.asarray(image)


def _check_labels(
  rows: Mapping[int, Record], source: Source, directory: pathlib.Path
) -> None:
  """Raises CorruptShard unless the rows have the labels of the source."""
  labels = dict(
    zip(source.indices.tolist(), source.labels.tolist(), strict=True)
  )
  for idx, row in rows.items():
    if row.label != labels.get(idx):
      raise shards.CorruptShard(
        f'{directory}: image {idx} has label {row.label} there and'
        f' {labels.get(idx, "no label")} in the data set'
      )
