"""Rows without networks: votes are drawn, and rows made of them."""

import numpy as np
import pytest

from dualrs_jax.base import Cast, Counts
from dualrs_jax.data import Source
from dualrs_jax.evaluation import records
from dualrs_jax.evaluation.methods import VoteCounts
from dualrs_jax.evaluation.run_rows import Run

SIGMAS = [0.25, 0.5, 1.0]
SETTINGS = {
  'task': 'certify',
  'smoothing': 'dual',
  'certificate': 'agreement',
  'sigmas': SIGMAS,
  'estimator_sigma': 0.5,
  'n0': 20,
  'n': 100,
  'alpha': 0.01,
  'noise': 'gaussian',
  'noise_alpha': 0.0,
  'goal': None,
  'radii': [],
  'num_classes': 4,
  'data': {'name': 'patterns'},
  'split': 'test',
  'seed': 5,
  'source': 'abc',
  'weights': {'classifier': 'c', 'estimator': 'e'},
}


def multinomial(rng, probabilities, count):
  return rng.multinomial(count, probabilities)


def make_row(rng, idx, settings):
  """A row whose votes are more or less sure of a level and of a class."""
  label, level = int(rng.integers(4)), int(rng.integers(3))
  n0, n = settings['n0'], settings['n']
  sure = rng.uniform(0.4, 1.0, 2)
  levels = np.full(3, (1 - sure[0]) / 2)
  levels[level] = sure[0]
  classes = np.full(4, (1 - sure[1]) / 3)
  classes[label if rng.uniform() < 0.9 else (label + 1) % 4] = sure[1]
  estimator = Counts(multinomial(rng, levels, n0), multinomial(rng, levels, n))
  chosen = int(np.argmax(estimator.selection))
  shape = 3, 4
  classifier = Counts(np.zeros(shape, int), np.zeros(shape, int))
  classifier.selection[chosen] = multinomial(rng, classes, n0)
  classifier.estimation[chosen] = multinomial(rng, classes, n)
  at = np.eye(3, dtype=int)[chosen]
  found = VoteCounts(estimator, classifier, Cast(n0, n), Cast(n0 * at, n * at))
  return records.of_votes(found, settings, idx=idx, label=label, time=0.5)


def make_run(count, *, label='dual-agreement', asked=None, **changes):
  settings = {**SETTINGS, 'images': asked or count, **changes}
  rng = np.random.default_rng(4)
  rows = [make_row(rng, idx, settings) for idx in range(count)]
  return Run(label, settings, rows)


def make_source(run, shape=(8, 8, 1)):
  rng = np.random.default_rng(5)
  count = len(run.rows)
  return Source(
    images=rng.integers(0, 256, (count, *shape)).astype(np.uint8),
    labels=np.array([row.label for row in run.rows]),
    indices=np.array([row.idx for row in run.rows]),
    num_classes=run.settings['num_classes'],
  )


@pytest.fixture(scope='session')
def run_of():
  return make_run


@pytest.fixture(scope='session')
def source_of_run():
  return make_source


@pytest.fixture(scope='session')
def run():
  return make_run(40)
