"""What certification leaves on the disk follows, computed the other way."""

import jax
import numpy as np
import pytest

from dualrs_jax.evaluation import certify_source, smoothed_networks, tsv
from dualrs_jax.runtime import settings as settings_lib
from dualrs_jax.verify import verify
from tests.evaluation import conftest

DECIDE = {'task': 'predict', 'goal': 'radius', 'radii': [0.0]}
PREDICT = {'task': 'predict', 'n0': None, 'certificate': None}
FULL = {'goal': 'full'}
CASCADE = {'smoothing': 'cascade', 'certificate': None, 'estimator_sigma': None}
DISTANCE = {
  'smoothing': 'distance',
  'certificate': None,
  'sigmas': [0.3],
  'estimator_sigma': None,
  'distance': {'base': 0.3, 'rate': 0.4, 'centre': 0.5, 'neighbours': 3},
}
METHODS = {
  'fixed': {},
  'adaptive': {'goal': 'grid', 'radii': [0.0, 0.25], 'noise': 'lattice'},
  'nearly full': FULL | {'tolerance': 0.1, 'n': 300},
  'open': FULL | {'protocol': 'open'},
  'predictions': PREDICT,
  'predictions that stop': DECIDE,
  'cascade': CASCADE,
  'adaptive cascade': CASCADE | FULL | {'n': 200},
  'adaptive, falls back': FULL | {'certificate': 'fallback', 'n': 200},
  'distance': DISTANCE,
  'predictions at a distance': DISTANCE | PREDICT,
  'predictions of a cascade': CASCADE | PREDICT | {'n': 400},
}


@pytest.fixture
def certify(estimator, classifier, source, settings, tmp_path):
  def run(method, **changes):
    of_run = settings | METHODS[method] | changes
    rows = certify_source.certify_source(
      estimator if of_run['smoothing'] == 'dual' else None,
      classifier,
      source,
      tmp_path / 'run',
      settings=of_run,
      seed=11,
      chunk_size=60,
      report_radii=(0.0,),
      positions=np.arange(6),
      devices=jax.local_devices()[:1],
      training=conftest.make_source(20)
      if of_run['smoothing'] == 'distance'
      else None,
    )
    return rows, tmp_path / 'run' / certify_source.ROWS

  return run


#: What a row says, and something else that it might say.
ALWAYS = {
  'class': lambda row: {'predict': (row.predict + 1) % conftest.CLASSES},
  'a look that is none': lambda row: {
    'classifier_cast': {
      level: (cast[0], cast[1] + (cast[1] > 0))
      for level, cast in row.classifier_cast.items()
    }
  },
}
#: The same where the radius is that of all votes.
OF_RADII = ALWAYS | {
  'larger radius': lambda row: {'radius': row.radius + 1e-6},
  'smaller radius': lambda row: {'radius': row.radius - 1e-6},
  'a vote more': lambda row: one_vote(row, 1),
  'a vote less': lambda row: one_vote(row, -1),
}


def one_vote(row, more):
  """For the answer, at the level that answers."""
  votes = list(row.classifier_estimation[row.sigma_index])
  votes[row.predict] += more
  changed = {row.sigma_index: tuple(votes)}
  return {'classifier_estimation': row.classifier_estimation | changed}


def write(path, rows, settings):
  lines = [tsv.file_header(settings)]
  lines += [tsv.file_line(row, settings) for row in rows]
  path.write_text('\n'.join(lines) + '\n')


@pytest.mark.parametrize(
  'method', [method for method in METHODS if 'falls back' not in method]
)
def test_the_rows_of_a_run_follow_and_others_do_not(
  certify, classifier, method
):
  rows, path = certify(method)
  report = verify(path)
  assert report.problems == []
  assert report.record is not None
  assert report.record['images'] == len(rows) == 6
  assert report.record['missing_images'] == 0
  weights = report.record['networks']['weights']
  assert weights['classifier'] == smoothed_networks.fingerprint(classifier)
  settings = settings_lib.read(path.with_name('settings.json'))
  whole = settings['task'] == 'certify' and settings['goal'] in (None, 'full')
  at = next(k for k, row in enumerate(rows) if row.predict >= 0)
  for name, change in (OF_RADII if whole else ALWAYS).items():
    changed = list(rows)
    changed[at] = rows[at]._replace(**change(rows[at]))
    write(path, changed, settings)
    found = {problem.line for problem in verify(path).problems}
    assert found == {at + 2}, name


def test_the_rows_of_a_rule_that_falls_back_follow(certify):
  rows, path = certify('adaptive, falls back')
  assert any(row.predict >= 0 for row in rows)
  report = verify(path)
  assert report.problems == []
  recorded = settings_lib.read(path.with_name('settings.json'))
  assert recorded['smallest_level'] == 'runner-up'


def test_rows_to_which_votes_were_added_follow(certify):
  certify('open')
  rows, path = certify('open', n=400)
  report = verify(path)
  header, *lines = path.read_text().splitlines()
  assert report.problems == []
  assert report.rows == len(lines) > 6
  assert report.record is not None
  assert report.record['images'] == 6
  right = sum(row.predict == row.label for row in rows)
  assert report.record['accuracy']['right'] == right
  assert 'votes that can be added to' in report.notes[0]
  assert 'all rows of the image together' in report.record['guarantee']
  path.write_text('\n'.join([header, *lines, lines[-1]]) + '\n')
  [problem] = verify(path).problems
  assert 'is already in line' in problem.reason
  assert 'with as many votes' in problem.reason
  path.write_text('\n'.join([header, *lines[::-1]]) + '\n')
  backwards = verify(path).problems
  assert len(backwards) == len(lines) - 6
  assert all('that this row lacks' in each.reason for each in backwards)
