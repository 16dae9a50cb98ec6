"""Rows of cascades, by two implementations."""

import numpy as np
import pytest

from dualrs_jax import majorities
from dualrs_jax.evaluation import methods, records
from dualrs_jax.verify import verify
from tests.verify.conftest import RUNNER_UP

CASCADE = {
  'smoothing': 'cascade',
  'certificate': None,
  'estimator_sigma': None,
}
GOALS = {
  'fixed': {},
  'full': RUNNER_UP | {'goal': 'full'},
  'grid': RUNNER_UP | {'goal': 'grid', 'radii': [0.0, 0.1, 0.25, 0.5]},
  'late grid': RUNNER_UP | {'goal': 'grid', 'radii': [0.2, 0.4]},
  'radius': RUNNER_UP | {'goal': 'radius', 'radii': [0.0]},
}


@pytest.mark.parametrize('goal', GOALS)
@pytest.mark.parametrize('sigmas', [[0.25, 0.5, 1.0], [0.5, 0.5, 0.25], [0.5]])
def test_rows_of_the_library_follow(settings, rows_of, write, sigmas, goal):
  settings |= CASCADE | GOALS[goal] | {'sigmas': sigmas}
  rows = rows_of(settings, 80)
  assert {row.predict < 0 for row in rows} == {True, False}
  assert len({row.sigma_index for row in rows}) == len(sigmas)
  report = verify(write(rows, settings))
  assert report.problems == []
  assert report.record is not None
  assert 'of which the first with a majority' in report.record['guarantee']


@pytest.mark.parametrize('method', [CASCADE, {'certificate': 'fallback'}])
def test_runs_of_before_the_runner_up_was_bounded_follow(
  settings, rows_of, write, monkeypatch, method
):
  several = {'sigmas': [0.25, 1.0], 'goal': 'full', 'n': 400}
  new = settings | several | method | RUNNER_UP
  rows = rows_of(new, 300)
  monkeypatch.setattr(majorities, 'smallest', lambda sigmas: -1)
  old = {name: value for name, value in new.items() if name not in RUNNER_UP}
  before = rows_of(old, 300)
  longer = sum(
    ours.radius > theirs.radius
    for ours, theirs in zip(rows, before, strict=True)
  )
  assert longer >= 3
  assert verify(write(before, old)).problems == []
  assert verify(write(before, new)).problems
  assert verify(write(rows, old)).problems


def test_predictions_of_the_library_follow(settings, rows_of, write):
  settings |= CASCADE | {'task': 'predict', 'n0': None}
  rows = rows_of(settings, 80)
  assert {row.sigma_index for row in rows} == {-1, 0, 1, 2}
  assert verify(write(rows, settings)).problems == []


def without_level(row, level):
  return {
    'classifier_estimation': {
      k: votes for k, votes in row.classifier_estimation.items() if k != level
    },
    'classifier_cast': row.classifier_cast | {level: (30, 0)},
  }


#: What a row says, and something else that it might say.
CHANGES = {
  'radius': lambda row: {'radius': row.radius + 1e-6},
  'what earlier levels allow': lambda row: {
    'estimator_radius': row.estimator_radius + 1e-6
  },
  'without an earlier level': lambda row: without_level(row, 2),
  'as if another level had answered': lambda row: {
    'sigma_index': 1,
    'sigma': 0.5,
  },
  'other votes that select': lambda row: {
    'classifier_selection': row.classifier_selection
    | {0: tuple(30 * np.eye(4, dtype=int)[row.predict - 1].tolist())}
  },
  'an estimator': lambda row: {'status': 'estimator'},
}


@pytest.mark.parametrize('goal', ['fixed', 'full'])
@pytest.mark.parametrize('change', CHANGES)
def test_a_row_that_says_something_else_does_not_follow(
  settings, rows_of, write, change, goal
):
  settings |= CASCADE | GOALS[goal]
  row = next(
    row
    for row in rows_of(settings, 400, seed=1)
    if row.sigma_index == 0 and 0 < row.radius == row.estimator_radius
  )
  assert verify(write([row], settings)).problems == []
  changed = row._replace(**CHANGES[change](row))
  assert verify(write([changed], settings)).problems


def test_of_equal_promises_that_of_the_first_visited_is_taken(settings, write):
  """Both promise what the largest level allows, whose votes are divided."""
  settings |= CASCADE | {'sigmas': [0.4, 0.5, 1.0]}
  selection = np.array([[30, 0, 0, 0], [30, 0, 0, 0], [9, 8, 7, 6]])
  estimation = np.array([[100, 0, 0, 0], [100, 0, 0, 0], [40, 20, 20, 20]])
  nobody = methods.Counts(np.zeros(1, int), np.zeros(1, int))
  votes = methods.fixed_votes(
    nobody, methods.Counts(selection, estimation), settings
  )
  row = records.of_votes(votes, settings, idx=0, label=0, time=1.0)
  assert row.sigma_index == 1
  assert 0 < row.radius == row.estimator_radius < 0.8 * row.classifier_radius
  assert verify(write([row], settings)).problems == []
  other = row._replace(
    sigma_index=0,
    sigma=0.4,
    classifier_radius=0.8 * row.classifier_radius,
    classifier_estimation=row.classifier_estimation | {0: (100, 0, 0, 0)},
    classifier_cast=row.classifier_cast | {0: (30, 100)},
  )
  reasons = [each.reason for each in verify(write([other], settings)).problems]
  assert any('sigma_index is 0, and the votes make it 1' in r for r in reasons)
