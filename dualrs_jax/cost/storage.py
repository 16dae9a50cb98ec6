"""Bytes that a run leaves on the disk, and weights that each device holds."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import optax
from flax import nnx

from dualrs_jax.cost.sizes import Network, tree_bytes
from dualrs_jax.evaluation import tsv
from dualrs_jax.evaluation.records import Record
from dualrs_jax.runtime.settings import FINGERPRINT, fingerprint

#: Bytes of a line of metrics.jsonl and of its TensorBoard events, in a run of
#: configs/digits.py.
METRICS_LINE = 300

#: Bytes of the names, shapes and checksums in a shard of targets.
_SHARD = 824


class Stored(NamedTuple):
  """What a stage leaves on the disk.

  Attributes:
    what: Its place in the folder of the run.
    size: Bytes, before the compression that checkpoints have.
  """

  what: str
  size: int


def checkpoint_bytes(
  network: Network, optimizer: optax.GradientTransformation
) -> int:
  """Bytes of one checkpoint: weights, their mean, and the optimiser's state.

  Args:
    network: What is trained.
    optimizer: Any of the same kind: its state has the size of the network.
  """
  _, parameters, rest = nnx.split(network.model, nnx.Param, ...)
  made = jax.eval_shape(optimizer.init, parameters)
  return 2 * tree_bytes(parameters) + tree_bytes((rest, made))


def targets_bytes(images: int, levels: int, shard_size: int) -> int:
  """Bytes of the radius targets: index, two counts, and radii per image."""
  files = -(-images // shard_size) + 1
  return images * (2 * 8 + 3 * 4 * levels) + files * _SHARD


def metrics_bytes(steps: int, metrics_steps: int) -> int:
  """Bytes of the metrics of a stage."""
  return -(-steps // metrics_steps) * METRICS_LINE


def row_bytes(
  task: str, *, n0: int, n: int, classes: int, levels: int, sampled: int = 1
) -> int:
  """Bytes of a row of a certification, in which most votes agree.

  Args:
    task: 'certify' or 'predict'.
    n0: Selection votes of a stage.
    n: Estimation votes of a stage.
    classes: Number of classes.
    levels: Number of noise levels; 1 in plain smoothing.
    sampled: At how many of them the classifier votes.
  """

  def votes(width: int, total: int) -> tuple[int, ...]:
    return (total - width // 2, *[1] * (width // 2), *[0] * (width - 1))[:width]

  def by_level(value: tuple[int, ...]) -> Mapping[int, tuple[int, ...]]:
    return dict.fromkeys(range(sampled), value)

  row = Record(
    idx=10_000,
    label=classes - 1,
    predict=classes - 1,
    radius=0.5 + 2**-40,
    time=0.123456,
    sigma=0.25,
    sigma_index=0,
    estimator_radius=0.5 + 2**-40,
    classifier_radius=0.5 + 2**-40,
    estimator_selection=votes(levels, n0),
    estimator_estimation=votes(levels, n),
    estimator_cast=(n0, n),
    classifier_selection=by_level(votes(classes, n0)),
    classifier_estimation=by_level(votes(classes, n)),
    classifier_cast=by_level((n0, n)),
    status='certified',
  )
  settings = {
    'task': task,
    'smoothing': 'dual',
    'goal': None,
    FINGERPRINT: fingerprint({}),
  }
  return len(tsv.file_line(row, settings)) + 1
