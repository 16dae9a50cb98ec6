"""Two implementations of every rule and protocol say the same of votes."""

import numpy as np
import pytest

from dualrs_jax.base import Counts
from dualrs_jax.evaluation import methods, records, tsv
from dualrs_jax.verify import verify
from dualrs_jax.verify.rows import COLUMNS
from dualrs_jax.verify.rules import RULES
from tests.verify.conftest import RUNNER_UP

GOALS = {
  'fixed': {},
  'full': {'goal': 'full'},
  'grid': {'goal': 'grid', 'radii': [0.0, 0.1, 0.25, 0.5]},
  'late grid': {'goal': 'grid', 'radii': [0.2, 0.4]},
  'radius': {'goal': 'radius', 'radii': [0.25]},
  'nearly full': {'goal': 'full', 'tolerance': 0.02, 'n': 300},
  'open': {'goal': 'full', 'protocol': 'open'},
  'open grid': {
    'goal': 'grid',
    'radii': [0.0, 0.25, 0.5],
    'protocol': 'open',
  },
}
METHODS = {
  **{rule: {'certificate': rule} for rule in RULES},
  'single': {
    'smoothing': 'single',
    'certificate': None,
    'sigmas': [0.5],
    'estimator_sigma': None,
  },
  'one level': {'sigmas': [0.5], 'certificate': 'paper'},
  'lattice': {'noise': 'lattice', 'noise_alpha': 0.004},
}
PREDICT = {'task': 'predict', 'certificate': None, 'n0': None}
DECIDE = {'task': 'predict', 'goal': 'radius', 'radii': [0.0]}


def recorded(method, goal):
  """What certification writes into the settings besides."""
  return RUNNER_UP if method == 'fallback' and goal != 'fixed' else {}


@pytest.mark.parametrize('goal', GOALS)
@pytest.mark.parametrize('method', METHODS)
def test_rows_of_the_library_follow(settings, rows_of, write, method, goal):
  settings |= METHODS[method] | GOALS[goal] | recorded(method, goal)
  rows = rows_of(settings, 40)
  assert {row.predict < 0 for row in rows} == {True, False}
  report = verify(write(rows, settings))
  assert report.problems == []
  assert report.record is not None


@pytest.mark.parametrize('method', ['agreement', 'single', 'one level'])
def test_predictions_of_the_library_follow(settings, rows_of, write, method):
  settings |= METHODS[method] | PREDICT
  rows = rows_of(settings, 40)
  assert {row.predict < 0 for row in rows} == {True, False}
  assert verify(write(rows, settings)).problems == []


@pytest.mark.parametrize('protocol', [{}, {'protocol': 'open'}])
@pytest.mark.parametrize(
  'method', ['agreement', 'minimum', 'single', 'fallback']
)
def test_predictions_that_stop_follow(
  settings, rows_of, write, method, protocol
):
  settings |= METHODS[method] | DECIDE | protocol | recorded(method, 'radius')
  rows = rows_of(settings, 40)
  assert {row.predict < 0 for row in rows} == {True, False}
  assert verify(write(rows, settings)).problems == []


#: What a row says, and something else that it might say.
CHANGES = {
  'predict': lambda row: {'predict': (row.predict + 1) % 4},
  'radius': lambda row: {'radius': row.radius * (1 + 1e-9)},
  'larger radius': lambda row: {'radius': row.radius + 0.01},
  'smaller radius': lambda row: {'radius': row.radius * 0.99},
  'sigma': lambda row: {'sigma': 2.0},
  'sigma_index': lambda row: {'sigma_index': (row.sigma_index + 1) % 3},
  'estimator_radius': lambda row: {'estimator_radius': 9.0},
  'classifier_radius': lambda row: {'classifier_radius': 9.0},
  'status': lambda row: {'status': 'both'},
  'abstention': lambda row: {'predict': -1, 'radius': 0.0, 'status': 'both'},
  'votes of the estimator': lambda row: {
    'estimator_estimation': tuple(
      max(0, count - 2 * (k == row.sigma_index))
      for k, count in enumerate(row.estimator_estimation)
    )
  },
  'votes of the classifier': lambda row: {
    'classifier_estimation': {
      k: votes[::-1] for k, votes in row.classifier_estimation.items()
    }
  },
  'a level less': lambda row: {
    'classifier_estimation': {},
    'classifier_cast': {},
  },
  'votes cast': lambda row: {
    'classifier_cast': dict.fromkeys(row.classifier_cast, (30, 99))
  },
  'more votes': lambda row: {'estimator_cast': (31, 100)},
}


@pytest.mark.parametrize('goal', ['fixed', 'full'])
@pytest.mark.parametrize('change', CHANGES)
def test_a_row_that_says_something_else_does_not_follow(
  settings, rows_of, write, change, goal
):
  settings |= GOALS[goal]
  rows = rows_of(settings, 80, seed=1)
  [row, *_] = [
    row
    for row in rows
    if row.status == 'certified'
    and 0 < row.estimator_radius < 5
    and row.classifier_cast.get(row.sigma_index) == (30, 100)
    and row.estimator_cast == (30, 100)
  ]
  assert verify(write([row], settings)).problems == []
  changed = row._replace(**CHANGES[change](row))
  report = verify(write([changed], settings))
  assert {problem.line for problem in report.problems} == {2}
  assert all('image' in problem.reason for problem in report.problems)
  assert report.record is None


@pytest.mark.parametrize('goal', ['fixed', 'full'])
def test_votes_at_a_level_that_was_passed_count_where_rules_fall_back(
  settings, rows_of, write, goal
):
  settings |= METHODS['fallback'] | GOALS[goal] | recorded('fallback', goal)
  report = verify(write(rows_of(settings), settings))
  said = report.record['guarantee']
  assert 'from the one that the smoothed estimator selects' in said
  moved = 0
  for row in rows_of(settings, 80, seed=1):
    passed = {
      level: votes
      for level, votes in row.classifier_estimation.items()
      if level == row.sigma_index and row.predict >= 0
    }
    for level, votes in passed.items():
      rival = (row.predict + 1) % len(votes)
      against = [0] * len(votes)
      against[rival] = sum(votes)  # another class has a majority there
      estimation = {**row.classifier_estimation, level: tuple(against)}
      changed = row._replace(classifier_estimation=estimation)
      moved += 1
      assert verify(write([changed], settings)).problems
  assert moved > 10


def test_settings_that_say_something_else_do_not_make_the_rows(
  settings, rows_of, write
):
  rows = rows_of(settings)
  for changes in ({'alpha': 0.02}, {'certificate': 'paper'}, {'n': 110}):
    assert verify(write(rows, settings | changes)).problems


def test_the_header_is_that_of_the_library():
  for kind, columns in COLUMNS.items():
    assert '\t'.join(columns) == tsv.header(kind)


@pytest.mark.parametrize(('wins', 'decided'), [(61, False), (63, True)])
def test_each_stage_of_a_prediction_has_half_of_alpha(
  settings, write, wins, decided
):
  """Against the rest of 100 votes their p-values are .035 and .012."""
  settings |= METHODS['agreement'] | PREDICT | {'alpha': 0.04, 'sigmas': [1, 2]}
  for estimator, classifier in ((wins, 100), (100, wins)):
    votes = Counts(np.zeros((2, 4), int), np.zeros((2, 4), int))
    votes.estimation[0, :2] = classifier, 100 - classifier
    votes = methods.fixed_votes(
      Counts(np.zeros(2, int), np.array([estimator, 100 - estimator])),
      votes,
      settings,
    )
    row = records.of_votes(votes, settings, idx=0, label=0, time=1.0)
    assert (row.predict == 0) == decided
    assert verify(write([row], settings)).problems == []
