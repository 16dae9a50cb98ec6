"""Bytes, against what the programs write."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dualrs_jax.base import Cast, Counts
from dualrs_jax.cost import sizes, storage
from dualrs_jax.evaluation import records, tsv
from dualrs_jax.evaluation.methods import VoteCounts
from dualrs_jax.training import state, target_shards


@pytest.mark.parametrize(
  'optimizer', [optax.adamw(0.1), optax.sgd(0.1, momentum=0.9)]
)
def test_a_checkpoint(optimizer):
  network = sizes.of_models(
    {'classifier': {'name': 'cifar_resnet', 'depth': 110}},
    data='digits',
    image_shape=(32, 32, 3),
    widths={'classifier': 10},
  )['classifier']
  items = jax.eval_shape(
    lambda model: state.to_items(state.create(model, optimizer)[1]),
    network.model,
  )
  found = storage.checkpoint_bytes(network, optimizer)
  assert sizes.tree_bytes(items) - found == 4  # the number of the step
  statistics = 2 * (37 * (16 + 32 + 64))  # mean and variance
  assert network.weight_bytes == 4 * (1_730_714 + statistics)


def test_targets(tmp_path):
  for number in range(2):
    counts = np.zeros((50, 3, 2), np.int32)
    path = tmp_path / f'{number:09d}.npz'
    target_shards.save(path, np.arange(50), counts, '0' * 16)
  bounds = np.zeros((100, 3), np.float32)
  path = tmp_path / 'bounds.npz'
  target_shards.save(path, np.arange(100), bounds, '0' * 16)
  written = sum(path.stat().st_size for path in tmp_path.iterdir())
  assert storage.targets_bytes(100, 3, 50) == pytest.approx(written, rel=0.02)


@pytest.mark.parametrize('classes', [10, 1000])
def test_a_row(classes):
  n0, n = 100, 10_000
  votes = lambda total, width: np.bincount(
    [0] * (total - 1) + [1] * 1, None, width
  )
  estimator = Counts(votes(n0, 3), votes(n, 3))
  classifier = Counts(
    *(
      np.stack([votes(m, classes), *np.zeros((2, classes), int)])
      for m in (n0, n)
    )
  )
  several = lambda total: np.array([total, 0, 0])
  row = records.of_votes(
    VoteCounts(
      estimator, classifier, Cast(n0, n), Cast(several(n0), several(n))
    ),
    {
      'task': 'certify',
      'smoothing': 'dual',
      'certificate': 'agreement',
      'sigmas': [0.25, 0.5, 1.0],
      'estimator_sigma': 0.5,
      'goal': None,
      'radii': [],
      'n0': n0,
      'n': n,
      'alpha': 0.001,
      'noise_alpha': 0.0,
      'num_classes': classes,
    },
    idx=1234,
    label=0,
    time=0.3,
  )
  written = len(tsv.to_line(row, 'certify')) + 17  # the fingerprint
  found = storage.row_bytes('certify', n0=n0, n=n, classes=classes, levels=3)
  assert found == pytest.approx(written, rel=0.1)


def test_metrics():
  assert storage.metrics_bytes(101, 50) == 3 * storage.METRICS_LINE
  assert (
    sizes.tree_bytes({'a': jnp.zeros(3), 'b': jnp.zeros(2, jnp.int8)}) == 14
  )
