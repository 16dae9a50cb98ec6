"""Rows at levels that follow a distance, by two implementations."""

import numpy as np
import pytest

from dualrs_jax import distance_levels
from dualrs_jax.verify import Unverifiable, distances, verify

LEVEL = {'base': 0.5, 'rate': 0.01, 'centre': 2.0, 'neighbours': 20}
DISTANCE = {
  'smoothing': 'distance',
  'certificate': None,
  'estimator_sigma': None,
  'sigmas': [0.5],
  'pixels': 3072,
  'distance': LEVEL,
}
PREDICT = {'task': 'predict', 'n0': None}


@pytest.mark.parametrize(
  ('pixels', 'changes'),
  [
    (3072, {}),
    (150_528, {'rate': 0.002, 'base': 1.0}),
    (16, {'rate': 0.4}),
    (1, {'rate': 3.0, 'centre': 0.1}),
    (64, {'rate': 0.0}),
    (64, {'rate': 1e-6}),
    (64, {'rate': 60.0, 'centre': 0.1}),
  ],
)
def test_rows_of_the_library_follow(settings, rows_of, write, pixels, changes):
  settings |= DISTANCE | {'pixels': pixels, 'distance': LEVEL | changes}
  rows = rows_of(settings, 20)
  assert {row.predict < 0 for row in rows} == {True, False}
  assert verify(write(rows, settings)).problems == []


#: What a row says, and something else that it might say.
CHANGES = {
  'larger radius': lambda row: {'radius': row.radius * (1 + 1e-5)},
  'smaller radius': lambda row: {'radius': row.radius * (1 - 1e-5)},
  'sigma': lambda row: {
    'sigma': float(np.nextafter(np.float32(row.sigma), np.float32(9)))
  },
  'distance': lambda row: {'distance': row.distance * 1.001},
  'no distance': lambda row: {'distance': -row.distance},
  'no level': lambda row: {'distance': 1e9},
}


@pytest.mark.parametrize('task', [{}, PREDICT])
def test_a_row_that_says_something_else_does_not_follow(
  settings, rows_of, write, task
):
  settings |= DISTANCE | task
  rows = rows_of(settings, 20)
  report = verify(write(rows, settings))
  assert report.problems == []
  assert any('taken as recorded: the distance' in note for note in report.notes)
  assert report.record is not None
  said = report.record['guarantee']
  assert 'with the level 0.5 exp(0.01 (d - 2)), where d is' in said
  assert ('no distance is certified' in said) == bool(task)
  row = next(row for row in rows if row.predict >= 0)
  for name, change in CHANGES.items():
    if not (task and 'radius' in name):
      changed = row._replace(**change(row))
      problems = verify(write([changed], settings)).problems
      assert problems, name
      if name == 'no distance':
        assert 'which is no distance' in problems[0].reason


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'distance': LEVEL | {'rate': -1}}, 'a rate from 0 on'),
    ({'distance': LEVEL | {'base': 0}}, 'a positive base'),
    ({'distance': LEVEL | {'neighbours': 0.5}}, 'a number of neighbours'),
    ({'distance': 0.3}, 'distance = 0.3, which should be'),
    ({'pixels': 0}, 'pixels = 0'),
    ({'noise': 'lattice'}, 'noise = .lattice., which should be gaussian'),
    (
      {'goal': 'full'},
      "smoothing = 'distance' with task = 'certify' and",
    ),
  ],
)
def test_settings_that_do_not_do(settings, rows_of, write, changes, message):
  settings |= DISTANCE
  path = write(rows_of(settings, 20), settings | changes)
  with pytest.raises(Unverifiable, match=message):
    verify(path)


def test_settings_without_pixels(settings, rows_of, write):
  settings |= DISTANCE
  rows = rows_of(settings, 20)
  del settings['pixels']
  with pytest.raises(Unverifiable, match='does not record pixels, without'):
    verify(write(rows, settings))


def test_the_slack_is_that_of_the_library():
  level = {'base': 0.5, 'rate': 0.03, 'centre': 9.0, 'neighbours': 7}
  library = distance_levels.DistanceLevel(**level)
  for distance, reach, pixels in ((12.0, 1.3, 3072), (0.0, 0.0, 1)):
    expected = library.slack(distance, reach, pixels)
    found = distances.slack(level, distance, reach, pixels)
    assert found == pytest.approx(expected, rel=1e-12)
