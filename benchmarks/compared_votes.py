"""Votes of all noise levels, of the estimator, and at a level of the image.

They are cast once and kept in the working directory, a file for each image, so
that an interrupted recording goes on, and any certificate can be derived from
the same votes. Vote j of a split has the noise that certification gives it.
"""

import dataclasses
import functools
import json
import math
import pathlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dualrs_jax import (
  compilers,
  data,
  noise,
  training_distances,
  vote_batches,
)
from dualrs_jax.base import Counts
from dualrs_jax.data import to_unit
from dualrs_jax.distance_levels import DistanceLevel
from dualrs_jax.evaluation import (
  run_inputs,
  smoothed_networks,
)
from dualrs_jax.runtime import files as files_lib

FOLDER = 'compared_votes'
#: Of the varying level: how many neighbours, and how fast it varies.
NEIGHBOURS, RATE = 20, 0.02
_STEP = 500


class RecordedImage(NamedTuple):
  """The class of every vote on one image, in order.

  Attributes:
    label: Its class.
    distance: To its nearest training images, or NaN.
    votes: Integers [stages, n0 + n]: of the estimator, of the classifier at
      each level, and at the level of the image where there is one.
  """

  label: int
  distance: float
  votes: np.ndarray


@dataclasses.dataclass(frozen=True)
class Recording:
  """The votes on images, and what they were cast with.

  Attributes:
    images: One for each image.
    n0: Selection votes of a stage, which come first.
    n: Estimation votes of a stage.
    sigmas: The noise levels.
    estimator_sigma: That of the estimator.
    classes: The number of classes.
    pixels: The dimension of an image.
    level: How the level of an image follows from its distance, or None.
    seconds: Seconds of processor time of a vote: estimator, classifier.
  """

  images: list[RecordedImage]
  n0: int
  n: int
  sigmas: tuple[float, ...]
  estimator_sigma: float
  classes: int
  pixels: int
  level: DistanceLevel | None
  seconds: tuple[float, float]

  def counts(self, recorded: RecordedImage, stage: int) -> Counts:
    """Votes of a stage: 0 is the estimator, then the levels."""
    width = self.classes if stage else len(self.sigmas)
    parts = np.split(recorded.votes[stage], [self.n0])
    return Counts(*(np.bincount(p, minlength=width + 1)[:width] for p in parts))

  def of_levels(
    self, recorded: RecordedImage, sigmas: Sequence[float]
  ) -> tuple['Recording', RecordedImage]:
    """A recording at some of the levels, without images, and one of them."""
    rows = [0, *(1 + self.sigmas.index(sigma) for sigma in sigmas)]
    return (
      dataclasses.replace(self, images=[], sigmas=tuple(sigmas), level=None),
      recorded._replace(votes=recorded.votes[rows]),
    )

  def levels(self, recorded: RecordedImage) -> Counts:
    """Votes of the classifier at all levels, [K, classes]."""
    stages = range(1, 1 + len(self.sigmas))
    rows = [self.counts(recorded, stage) for stage in stages]
    return Counts(*map(np.stack, zip(*rows, strict=True)))


def record(
  config: Any,
  workdir: Any,
  images: int | None,
  n: int,
  *,
  stride: int = 1,
  by_distance: bool = True,
) -> Recording:
  """Casts the votes that are missing; reads those that are there."""
  source = run_inputs.load_source(config)
  networks: Any = run_inputs.load_networks(config, workdir, source)
  positions = np.arange(0, len(source), stride)[:images]
  level, distances = None, [math.nan] * len(positions)
  if by_distance:
    training = data.load(split='train', **data.chosen(config.data.to_dict()))
    images_01 = np.asarray(to_unit(np.asarray(training.images)))
    level, distances = _level(config, source, positions, images_01)
  folder = workdir / FOLDER
  folder.mkdir(exist_ok=True)
  identity = {
    'n0': config.certify.n0,
    'n': n,
    'sigmas': list(config.sigmas),
    'networks': [smoothed_networks.fingerprint(net) for net in networks],
    'level': dataclasses.asdict(level) if level else None,
    'data': data.identity(config.data.to_dict()),
    'split': config.certify.split,
    'images': source.fingerprint(),
  }
  claim(folder, identity)
  shape = 1 + len(config.sigmas) + by_distance, config.certify.n0 + n
  recorded, seconds = [], []
  for position, distance in zip(positions, distances, strict=True):
    file = folder / f'{source.indices[position]}.npz'
    if not file.exists():
      _record_image(
        source, position, networks, config, n, level, distance, file
      )
    label, votes, spent = read(file, shape)
    recorded.append(RecordedImage(label, distance, votes))
    seconds.append(spent)
  return Recording(
    recorded,
    config.certify.n0,
    n,
    tuple(config.sigmas),
    config.estimator_sigma,
    source.num_classes,
    int(np.prod(source.image_shape)),
    level,
    tuple(np.median(seconds, axis=0).tolist()),
  )


def claim(folder: pathlib.Path, identity: dict[str, Any]) -> None:
  """Makes a folder of votes belong to what casts them, or refuses."""
  path = folder / 'settings.json'
  if not path.exists() and any(folder.glob('*.npz')):
    raise SystemExit(
      f'{folder} has votes whose {path} is gone: put that file back, or move'
      ' the folder away.'
    )
  text = json.dumps(identity, indent=2)
  if path.exists() and path.read_text() != text:
    raise SystemExit(f'{folder} has votes of another kind; move it away.')
  files_lib.write_atomic(path, text)


def read(
  file: pathlib.Path, shape: tuple[int, int]
) -> tuple[int, np.ndarray, np.ndarray]:
  """The label, the votes and the seconds in a file, if it has all of them."""
  try:
    with file.open('rb') as opened, np.load(opened) as found:
      label, votes = int(found['label']), found['votes']
      spent = found['seconds']
  except Exception as error:  # the kinds differ with the bytes
    raise SystemExit(
      f'{file} is damaged ({error}): remove it, and the same command casts its'
      ' votes again.'
    ) from error
  if votes.shape != shape:
    raise SystemExit(
      f'{file} has votes of shape {votes.shape} in place of {shape}: remove it,'
      ' and the same command casts them again.'
    )
  return label, votes, spent


def _level(config, source, positions, training):
  """The varying level, centred on the training images; distances to them."""
  distances = functools.partial(
    training_distances.mean_distances, training=training, chunk_size=512
  )
  sample = training[:: max(1, len(training) // 200)]
  # The nearest image of a training image is itself.
  centre = distances(sample, neighbours=NEIGHBOURS + 1).mean()
  centre *= (NEIGHBOURS + 1) / NEIGHBOURS
  middle = sorted(config.sigmas)[len(config.sigmas) // 2]
  level = DistanceLevel(middle, RATE, round(float(centre), 4), NEIGHBOURS)
  images = np.asarray(to_unit(source.gather(positions)[0]))
  found = distances(images, neighbours=NEIGHBOURS)
  return level, found.astype(float).tolist()


@functools.partial(compilers.jit, static_argnames='n0')
def _cast(network, image, key, index, sigma, first, *, n0):
  votes = first + jnp.arange(_STEP)
  selects = votes < n0
  step = vote_batches.VoteBatch(
    slot=jnp.zeros(_STEP, jnp.int32),
    index=jnp.full(_STEP, index, jnp.int32),
    split=jnp.where(selects, noise.SELECTION, noise.ESTIMATION),
    vote=jnp.where(selects, votes, votes - n0),
    sigma=jnp.full(_STEP, sigma, jnp.float32),
  )
  return vote_batches.cast_batch(network, image, key, noise.gaussian, step)


def _record_image(source, position, networks, config, n, level, distance, file):
  estimator, classifier = networks
  images, labels = source.gather(np.array([position]))[:2]
  image = to_unit(images)
  n0 = config.certify.n0
  stages = [(estimator, config.estimator_sigma)]
  stages += [(classifier, sigma) for sigma in config.sigmas]
  if level:
    stages += [(classifier, level.at(distance))]
  votes = np.empty((len(stages), n0 + n), np.int16)
  seconds = np.zeros(len(stages))
  key = jax.random.key(0)
  for stage, (network, sigma) in enumerate(stages):
    start = time.process_time()
    for first in range(0, n0 + n, _STEP):
      index = np.int32(source.indices[position])
      found = _cast(
        network, image, key, index, np.float32(sigma), np.int32(first), n0=n0
      )
      votes[stage, first : first + _STEP] = np.asarray(found)[: n0 + n - first]
    seconds[stage] = (time.process_time() - start) / (n0 + n)
  partly = file.with_suffix('.partly.npz')
  np.savez(
    partly,
    votes=votes,
    label=labels[0],
    seconds=[seconds[0], seconds[1:].mean()],
  )
  partly.rename(file)
