"""Results of random votes, written as the library writes them."""

import json

import numpy as np
import pytest

from dualrs_jax.base import Cast, Counts
from dualrs_jax.evaluation import marks, methods, records, run_plans, tsv
from dualrs_jax.evaluation.methods import VoteCounts

SIGMAS = [0.25, 0.5, 1.0]
CLASSES = 4
#: Who leads where nobody does.
NOBODY = -1
SETTINGS = {
  'task': 'certify',
  'smoothing': 'dual',
  'certificate': 'agreement',
  'sigmas': SIGMAS,
  'estimator_sigma': 0.5,
  'n0': 30,
  'n': 100,
  'alpha': 0.01,
  'noise': 'gaussian',
  'noise_alpha': 0.0,
  'goal': None,
  'radii': [],
  'num_classes': CLASSES,
  'seed': 7,
}
#: What adaptive runs of cascades and rules that fall back record.
RUNNER_UP = {'smallest_level': 'runner-up'}


def draw(rng, votes, classes, leader):
  """Counts in which one class leads by more or less, some votes invalid."""
  share = np.full(classes, 1e-3)
  share[leader] = rng.choice([1.0, 0.99, 0.9, 0.7, 0.5])
  others = [k for k in range(classes) if k != leader % classes] or [leader]
  rivals = others[:1] if rng.random() < 0.6 else others
  share[rivals] += (1 - share[leader]) / len(rivals)
  if leader == NOBODY:
    share = np.ones(classes)
  invalid = rng.choice([0.0, 0.0, 0.01])
  share = np.append(share / share.sum() * (1 - invalid), invalid)
  return rng.multinomial(votes, share)[:-1]


def distance_of(rng, settings):
  """A distance, as it is computed with 32 bits; 0 where none is asked for."""
  if settings['smoothing'] != 'distance':
    return 0.0
  return float(np.float32(rng.uniform(0, 2 * settings['distance']['centre'])))


def votes_of(rng, settings):
  """Votes that the protocol of the settings can end with."""
  levels, classes = len(settings['sigmas']), settings['num_classes']
  level, label = rng.integers(levels), rng.integers(classes)
  dual = settings['smoothing'] == 'dual'
  cascade = settings['smoothing'] == 'cascade'
  adaptive = settings['goal'] is not None
  looks = run_plans.any_plan(settings).looks if adaptive else ()
  n0, n = settings['n0'] or 0, settings['n']
  # At some levels of a cascade no class has a majority.
  falls_back = settings['certificate'] == 'fallback'
  leads = [
    NOBODY if (cascade or falls_back) and rng.random() < 0.4 else label
    for _ in range(levels)
  ]

  def number():
    if run_plans.is_open(settings):  # after any number of votes
      return int(rng.choice([0, rng.integers(1, 400), rng.integers(1, 3_000)]))
    return int(rng.choice([0, *looks, looks[-1], looks[-1]]))

  def classifier(numbers):
    pairs = zip(numbers, leads, strict=True)
    return np.stack(
      [draw(rng, each, classes, leader) for each, leader in pairs]
    )

  if not adaptive:
    estimator = Counts(*(draw(rng, each, levels, level) for each in (n0, n)))
    votes = Counts(*(classifier([each] * levels) for each in (n0, n)))
    if rng.random() < 0.3:  # a level that was not sampled
      for split in votes:
        split[rng.integers(levels)] = 0
    return methods.fixed_votes(estimator, votes, settings)
  cast = Cast(n0 * dual, number() if dual else 0)
  selects, casts = np.full(levels, n0), [number() for _ in range(levels)]
  if cascade and rng.random() < 0.3:
    selects[0] = 0  # what came before was enough
  return VoteCounts(
    Counts(*(draw(rng, each, levels, level) for each in cast)),
    Counts(classifier(selects), classifier(casts)),
    cast,
    Cast(selects, np.array(casts)),
  )


@pytest.fixture(scope='session')
def rows_of():
  """Rows of random votes under settings, by the library."""

  made = {}

  def make(settings, number=40, seed=0):
    key = json.dumps([settings, number, seed])
    if key not in made:
      made[key] = draw_rows(settings, number, seed)
    return made[key]

  def draw_rows(settings, number, seed):
    rng = np.random.default_rng(seed)
    return [
      records.of_votes(
        votes_of(rng, settings)._replace(distance=distance_of(rng, settings)),
        settings,
        idx=idx,
        label=int(rng.integers(settings['num_classes'])),
        time=float(rng.integers(10**6)) / 7,
      )
      for idx in range(number)
    ]

  return make


@pytest.fixture
def write(tmp_path):
  """Writes rows and settings; returns the path of the rows."""

  def write(rows, settings, *, marked=True):
    if marked:
      settings = settings | {'fingerprint': marks.of(settings)}
    asked = ' '.join(str(row.idx) for row in rows)
    recorded = settings | {'images': len(rows), 'asked': asked}
    (tmp_path / 'settings.json').write_text(json.dumps(recorded))
    lines = [tsv.file_header(settings)]
    lines += [tsv.file_line(row, settings) for row in rows]
    path = tmp_path / 'rows.tsv'
    path.write_text('\n'.join(lines) + '\n')
    return path

  return write


@pytest.fixture
def settings():
  return dict(SETTINGS)
