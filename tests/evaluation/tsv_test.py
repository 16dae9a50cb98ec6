import decimal
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dualrs_jax import base
from dualrs_jax.evaluation import methods, records, tsv
from dualrs_jax.runtime import shards

COHEN = ['idx', 'label', 'predict', 'radius', 'correct', 'time']


def row(**changes):
  fields = {
    'idx': 7,
    'label': 2,
    'predict': 2,
    'radius': 0.4995349,
    'time': 1.234567,
    'sigma': 0.5,
    'sigma_index': 1,
    'estimator_radius': 1.25,
    'classifier_radius': 0.4995349,
    'estimator_selection': (1, 19, 0),
    'estimator_estimation': (5, 95, 0),
    'estimator_cast': (20, 100),
    'classifier_selection': {1: (0, 1, 19), 2: (0, 2, 18)},
    'classifier_estimation': {1: (3, 0, 97), 2: (12, 0, 88)},
    'classifier_cast': {1: (20, 100), 2: (20, 100)},
    'status': 'certified',
  }
  return records.Record(**{**fields, **changes})


def prediction(**changes):
  return row(
    **{
      'radius': 0.0,
      'estimator_radius': 0.0,
      'classifier_radius': 0.0,
      'estimator_selection': (),
      'classifier_selection': {},
      'classifier_estimation': {1: (3, 0, 97)},
      'estimator_cast': (0, 100),
      'classifier_cast': {1: (0, 100)},
      'status': 'predicted',
      **changes,
    }
  )


ROWS = [
  ('certify', row()),
  ('certify', row(predict=-1, radius=0.0, status='both')),
  ('certify', row(classifier_radius=math.inf, estimator_radius=0.0)),
  ('certify', row(estimator_selection=(), estimator_estimation=())),
  ('certify', row(radius=math.nextafter(0.5, 0), time=0.0)),
  ('certify', row(time=90_000.0)),
  ('certify', row(time=2 * 86_400 + 3_661.25)),
  ('predict', prediction()),
  (
    'predict',
    prediction(
      predict=-1,
      sigma=0.0,
      sigma_index=-1,
      classifier_estimation={},
      status='estimator',
    ),
  ),
]


@pytest.mark.parametrize(('task', 'record'), ROWS)
def test_a_row_comes_back_exactly(task, record):
  line = tsv.to_line(record, task)
  assert tsv.from_line(line, task) == record
  assert len(line.split('\t')) == len(tsv.header(task).split('\t'))


def test_images_may_take_days():
  line = tsv.to_line(row(time=90_000.0), 'certify')
  assert '\t1 day, 1:00:00\t' in line
  assert tsv.from_line(line, 'certify').time == 90_000.0


def test_the_first_columns_are_those_of_the_field():
  assert tsv.header('certify').split('\t')[:6] == COHEN
  assert tsv.header('predict').split('\t')[:5] == [
    name for name in COHEN if name != 'radius'
  ]
  line = tsv.to_line(row(), 'certify')
  assert line.startswith('7\t2\t2\t0.499\t1\t0:00:01.234567\t0.5\t1\t')
  assert line.endswith(
    '\t0.4995349\t1,19,0\t5,95,0\t20,100\t1:0,1,19;2:0,2,18'
    '\t1:3,0,97;2:12,0,88\t1:20,100;2:20,100\tcertified'
  )
  abstained = row(predict=-1, radius=0.0, status='both')
  assert tsv.to_line(abstained, 'certify').split('\t')[2:5] == [
    *('-1', '0.0', '0')
  ]


def test_the_reader_of_the_field_gets_the_certified_accuracy(tmp_path):
  """What locuslab's analyze.py does with a file, in its own steps."""
  rows = [
    row(idx=0),
    row(idx=1, predict=1),
    row(idx=2, predict=-1, radius=0.0, status='both'),
    row(idx=3, radius=0.25),
  ]
  lines = [tsv.header('certify'), *(tsv.to_line(r, 'certify') for r in rows)]
  table = np.genfromtxt(
    io.StringIO('\n'.join(lines)),
    delimiter='\t',
    names=True,
    usecols=range(5),
  )
  assert list(table.dtype.names) == COHEN[:5]
  for radius, accuracy in ((0, 0.5), (0.25, 0.5), (0.499, 0.25), (0.5, 0)):
    hits = table['correct'] * (table['radius'] >= radius)
    assert hits.mean() == accuracy


@given(st.floats(0, 1e3, allow_subnormal=False))
@hypothesis_settings(derandomize=True, max_examples=300)
def test_radii_are_rounded_down_to_three_digits(radius):
  text = tsv.round_down(radius)
  assert float(text) <= radius
  assert float(text) >= radius * (1 - 0.0101)
  digits = decimal.Decimal(text).normalize().as_tuple().digits
  assert len(digits) <= 3


@pytest.mark.parametrize(
  ('radius', 'text'),
  [
    (0.49953, '0.499'),
    (0.5, '0.5'),
    (math.nextafter(0.5, 0), '0.499'),
    (1.0, '1.0'),
    (3.1999, '3.19'),
    (12.39, '12.3'),
    (0.012399, '0.0123'),
    (0.0, '0.0'),
    (0.333, '0.333'),
    (1e-7, '1e-07'),
  ],
)
def test_rounding_examples(radius, text):
  assert tsv.round_down(radius) == text


@pytest.mark.parametrize('radius', [0.1, 0.3, 0.6, 0.7, 1.2, 1.4, 2.3, 0.25])
def test_a_radius_of_a_grid_is_read_as_itself(radius):
  """Most are a little less than they look: 0.3 must not become 0.299."""
  assert float(tsv.round_down(radius)) == radius
  below = np.nextafter(radius, 0)
  assert float(tsv.round_down(below)) < below


@pytest.mark.parametrize(
  ('old', 'new', 'message'),
  [
    ('\t0.499\t', '\t0.5\t', "radius is '0.5' where the rest"),
    ('\t2\t0.499\t1\t', '\t2\t0.499\t0\t', "correct is '0' where the rest"),
    ('7\t2\t', '7.0\t2\t', 'invalid literal'),
    ('\tcertified', '\tcertifi', 'status'),
    ('\tcertified', '', '17 columns instead of 18'),
    ('0:00:01.234567', '1.234567', 'not enough values'),
    ('5,95,0', '5,,0', 'invalid literal'),
    ('2:12,0,88', '2;12,0,88', 'not enough values'),
  ],
)
def test_a_damaged_line_is_noticed(old, new, message):
  line = tsv.to_line(row(), 'certify')
  assert old in line
  with pytest.raises(ValueError, match=message):
    tsv.from_line(line.replace(old, new), 'certify')


def test_any_missing_character_of_a_line_end_is_noticed():
  line = tsv.to_line(row(), 'certify')
  for length in range(len(line)):
    with pytest.raises(ValueError, match=r'.'):
      tsv.from_line(line[:length], 'certify')


@pytest.fixture
def file(tmp_path, settings):
  """Writes rows that agree with their votes, changed by a test."""
  settings |= {'smoothing': 'single', 'sigmas': [0.5]}
  votes = base.Counts(np.array([[0, 1, 19]]), np.array([[2, 1, 97]]))

  def write(indices, change=str):
    rows = [
      records.of_votes(
        methods.fixed_votes(votes, votes, settings),
        settings,
        idx=idx,
        label=2,
        time=0.0,
      )
      for idx in indices
    ]
    lines = [change(tsv.to_line(each, 'certify')) for each in rows]
    path = tmp_path / 'rows.tsv'
    path.write_text('\n'.join([tsv.header('certify'), *lines]) + '\n')
    return path

  return write


def test_reading_checks_rows_against_their_votes(file, settings):
  assert [row.idx for row in tsv.read(file([4, 5]), settings)] == [4, 5]
  path = file([4, 5], lambda line: line.replace('2,1,97', '2,2,96'))
  with pytest.raises(
    shards.CorruptShard, match=r'line 2: image 4: radius is .* votes'
  ):
    tsv.read(path, settings)


def test_reading_allows_for_the_rounding_of_other_versions(file, settings):
  [row] = tsv.read(file([4]), settings)
  close = repr(row.radius * (1 - 1e-14))
  path = file([4, 5], lambda line: line.replace(repr(row.radius), close))
  assert tsv.read(path, settings)[0].radius == float(close)
  far = repr(row.radius * (1 - 1e-6))
  path = file([4, 5], lambda line: line.replace(repr(row.radius), far))
  with pytest.raises(shards.CorruptShard, match='radius is'):
    tsv.read(path, settings)


def test_an_image_in_two_rows_is_an_error(file, settings):
  with pytest.raises(
    shards.CorruptShard, match=r'line 4: image 4 is already in line 2'
  ):
    tsv.read(file([4, 5, 4]), settings)
