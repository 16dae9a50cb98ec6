"""Wrong files of rows and settings, each with its sentence."""

import json

import pytest

from dualrs_jax import metrics
from dualrs_jax.verify import Unverifiable, verify


@pytest.fixture
def files(settings, rows_of, write):
  """Rows of a run with counts, and their settings; both may be damaged."""
  rows = [row for row in rows_of(settings, 80) if row.radius > 0][:5]
  assert len(rows) == 5
  path = write(rows, settings)
  return path, path.with_name('settings.json')


def change(path, line, column, text):
  """Replaces the text of a column in a line, counted from 1."""
  lines = path.read_text().split('\n')
  at = lines[0].split('\t').index(column)
  fields = lines[line - 1].split('\t')
  fields[at] = text
  lines[line - 1] = '\t'.join(fields)
  path.write_text('\n'.join(lines))


def first_votes(path, column):
  lines = path.read_text().split('\n')
  return lines[1].split('\t')[lines[0].split('\t').index(column)]


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('', 'is empty'),
    ('\n\n', 'is empty'),
    (b'\xff\xfe\x00rows', 'cannot be read as text'),
    ('a\tb\tc\n1\t2\t3\n', "has no rows of results: its first line is 'a"),
    ('1,0,0,0.5,1,2.0\n', 'separated by tabs'),
    ('idx\tlabel\tpredict\n1\t2\t3\n', 'columns idx, label, predict, radius'),
    ('idx\tlabel\tpredict\tradius\tcorrect\n', 'a header and no rows'),
  ],
)
def test_what_is_no_result(tmp_path, content, message):
  path = tmp_path / 'rows.tsv'
  path.write_bytes(content.encode() if isinstance(content, str) else content)
  with pytest.raises(Unverifiable, match=message):
    verify(path)


def test_a_file_that_is_not_there(tmp_path):
  with pytest.raises(Unverifiable, match=r'rows.tsv cannot be read.*No such'):
    verify(tmp_path / 'rows.tsv')


@pytest.mark.parametrize(
  ('old', 'new', 'message'),
  [
    ('radius_full\t', '', 'radius_full missing'),
    ('\tstatus', '\tstatus\tmargin', 'margin not known'),
    ('idx\tlabel', 'label\tidx', 'no rows of results|another order'),
    ('\tsettings\n', '\n', 'settings missing'),
  ],
)
def test_other_columns(files, old, new, message):
  path, _ = files
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new, 1))
  with pytest.raises(Unverifiable, match=message):
    verify(path)


@pytest.mark.parametrize(
  ('column', 'text', 'message'),
  [
    ('radius_full', 'nan', "radius_full is 'nan', which is no number"),
    ('radius_full', 'inf', 'radius_full is inf, which is no radius'),
    ('radius_full', '-0.1', 'radius_full is -0.1, which is no radius'),
    (
      'radius_full',
      '9.5',
      r'radius_full is 9.5, and the votes prove 0\.\d+ at',
    ),
    ('radius', '0.9', 'radius is 0.9, and radius_full rounded down is not'),
    ('predict', '4', 'predict is 4, and classes are 0 to 3, or -1 for none'),
    ('predict', '-2', 'predict is -2, and classes'),
    ('predict', '1.0', "predict is '1.0', which is no whole number"),
    ('label', '4', 'label is 4, and classes are 0 to 3'),
    ('idx', '-3', 'idx is -3, and images are numbered from 0'),
    ('correct', '7', 'correct is 7, and predict and label make it'),
    ('time', 'nan', "time is 'nan', which is no time in seconds"),
    ('time', 'soon', "time is 'soon', which is no time"),
    ('status', 'hopeless', 'status is hopeless, and the votes make it cert'),
    ('settings', 'beef', r'of other settings \(beef\) than these'),
    ('estimator_cast', '30', 'estimator_cast is 1 numbers'),
    ('estimator_cast', '30,80', 'estimator_cast is 30,80, where 30,100 votes'),
    ('estimator_selection', '1,2', 'has 2 counts, and there are 3 noise'),
    ('estimator_estimation', '90,10,1', 'has 101 votes, and 100 were cast'),
    ('estimator_estimation', '-1,3,9', 'has a negative count'),
    ('estimator_estimation', 'many', 'is no list of votes'),
    ('classifier_estimation', '7:1,2,3,4', 'at level 7, and there are 3'),
    ('classifier_estimation', '0:1,2,3', 'has 3 counts, and there are 4'),
    ('classifier_estimation', '1,2,3', 'is no list of votes by level'),
    ('classifier_estimation', '', 'classifier_radius is .* prove 0.0 at most'),
  ],
)
def test_a_row_with_a_wrong_column(files, column, text, message):
  path, _ = files
  change(path, 4, column, text)
  report = verify(path)
  assert {problem.line for problem in report.problems} == {4}
  told = '\n'.join(map(str, report.problems))
  assert told.startswith('line 4: ')
  pytest.raises(ValueError, _raise, told).match(message)
  assert report.record is None


def _raise(text):
  raise ValueError(text)


def test_a_line_that_is_cut_short(files):
  path, _ = files
  path.write_text(path.read_text()[:-40])
  [problem] = verify(path).problems
  assert problem.line == 6
  assert 'the line is cut short' in problem.reason


def test_an_image_in_two_rows(files):
  path, _ = files
  lines = path.read_text().splitlines()
  path.write_text('\n'.join([*lines, lines[2]]) + '\n')
  [problem] = verify(path).problems
  assert problem.line == 7
  assert 'is already in line 3' in problem.reason


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'alpha': None}, 'does not record alpha, without which no row can'),
    ({'certificate': 'cascade'}, "certificate = 'cascade', which this verif"),
    ({'certificate': 'sum'}, 'it knows paper, minimum, agreement'),
    ({'goal': 'open'}, "goal = 'open', which this verification does not know"),
    ({'protocol': 'open'}, "protocol = 'open' with goal = None, which this"),
    ({'protocol': 'later'}, "protocol = 'later', which this verification"),
    (
      {'task': 'predict', 'goal': 'full'},
      "task = 'predict' with goal = 'full', which this verification",
    ),
    ({'tolerance': 0.1}, 'tolerance = 0.1, which should be between'),
    ({'tolerance': 1, 'goal': 'full'}, 'tolerance = 1, which should be'),
    ({'task': 'predict', 'goal': 'radius', 'radii': [0.5]}, r'be \[0.0\], as'),
    ({'noise': 'laplace'}, "noise = 'laplace'"),
    ({'task': 'guess'}, "task = 'guess'"),
    ({'alpha': 0}, 'alpha = 0, which should be between 0 and 1'),
    ({'alpha': 1.5}, 'alpha = 1.5'),
    ({'n': 0}, 'n = 0, which should be a number of votes'),
    ({'n': 10.5}, r'n = 10.5'),
    ({'n0': '30'}, "n0 = '30'"),
    ({'sigmas': []}, r'sigmas = \[\], which should be a list of positive'),
    ({'sigmas': [0.5, -1]}, 'sigmas = '),
    ({'sigmas': [0.5, float('nan')]}, 'sigmas = '),
    ({'estimator_sigma': 0}, 'estimator_sigma = 0'),
    ({'num_classes': True}, 'num_classes = True'),
    ({'noise_alpha': 0.001}, 'noise_alpha = 0.001, which should be 0'),
    ({'noise': 'lattice', 'noise_alpha': 0.02}, 'noise_alpha = 0.02'),
    ({'radii': [0.5, 0.25], 'goal': 'grid'}, r'radii = \[0.5, 0.25\]'),
    ({'goal': 'radius', 'radii': []}, r'radii = \[\]'),
    ({'smoothing': 'single'}, 'should be a list of one noise level'),
    ({'certificate': None}, 'certificate = None, which should be the name'),
  ],
)
def test_settings_that_do_not_do(files, changes, message):
  path, settings = files
  found = json.loads(settings.read_text()) | changes
  kept = {n: v for n, v in found.items() if n not in changes or v is not None}
  if 'certificate' in changes:
    kept['certificate'] = changes['certificate']
  settings.write_text(json.dumps(kept))
  with pytest.raises(Unverifiable, match=message):
    verify(path)


@pytest.mark.parametrize(
  ('text', 'message'),
  [('{', 'is no settings file: '), ('[1]', 'it holds no JSON object')],
)
def test_settings_that_are_none(files, text, message):
  path, settings = files
  settings.write_text(text)
  with pytest.raises(Unverifiable, match=message):
    verify(path)
  settings.unlink()
  with pytest.raises(Unverifiable, match='name it with --settings'):
    verify(path)


def test_settings_that_were_changed_by_hand(files):
  path, settings = files
  found = json.loads(settings.read_text())
  settings.write_text(json.dumps(found | {'alpha': 0.02}))
  with pytest.raises(Unverifiable, match='was changed since its rows were'):
    verify(path)


def test_rows_of_files_without_a_name_of_their_settings(
  settings, rows_of, write
):
  path = write(rows_of(settings, 5), settings, marked=False)
  assert verify(path).problems == []


def test_images_without_a_row_are_told_and_others_not_counted(files):
  path, settings = files
  found = json.loads(settings.read_text())
  indices = found['asked'].split()
  asked = ' '.join([*indices[1:], '998', '999'])
  settings.write_text(json.dumps(found | {'asked': asked}))
  report = verify(path)
  assert report.record is not None
  assert report.record['images'] == 4
  assert report.record['missing_images'] == 2
  notes = '\n'.join(report.notes)
  assert 'PARTIAL: 2 of the 6 images asked for last have no row' in notes
  assert '1 rows are of images that were not asked for' in notes
  assert 'asked for, 6 from' in notes
  assert 'to 999;' in notes


@pytest.mark.parametrize('asked', ['0 1 two', [0, 1], None])
def test_images_that_are_no_images(files, asked):
  path, settings = files
  found = json.loads(settings.read_text())
  settings.write_text(json.dumps(found | {'asked': asked}))
  with pytest.raises(Unverifiable, match='asked = .* which should be the num'):
    verify(path)


def test_the_record_says_what_was_certified(settings, rows_of, write):
  settings |= {
    'data': {'name': 'digits'},
    'split': 'test',
    'weights': {'classifier': 'c0ffee', 'estimator': 'decade'},
    'versions': {'jax': '1'},
  }
  rows = rows_of(settings, 40)
  record = verify(write(rows, settings), radii=[0.0, 0.25]).record
  assert record is not None
  json.dumps(record, allow_nan=False)
  assert record['networks']['weights']['classifier'] == 'c0ffee'
  assert record['method']['seed'] == 7
  assert record['environment']['versions'] == {'jax': '1'}
  for entry in record['certified_accuracy']:
    hits = [row.correct and row.radius >= entry['radius'] for row in rows]
    assert entry['right'] == sum(hits)
    low, high = entry['interval_95']
    assert low < entry['share'] == sum(hits) / 40 < high
  low, high = record['certified_accuracy'][0]['interval_95']
  expected = metrics.accuracy_interval(
    record['certified_accuracy'][0]['share'], 40, alpha=0.05
  )
  assert [low, high] == pytest.approx([float(end) for end in expected])
