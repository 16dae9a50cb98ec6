"""Files of Cohen's format and of its descendants."""

import pytest

from dualrs_jax.verify import Unverifiable, verify
from dualrs_jax.verify.cohen import Votes

HEADER = 'idx\tlabel\tpredict\tradius\tcorrect\ttime'
ROWS = (
  (0, 3, 3, 0.512, 1, '0:00:06.281'),
  (20, 1, -1, 0.0, 0, '0:00:06.3'),
  (40, 2, 1, 0.25, 0, '1 day, 0:01:02'),
  (60, 1, 1, 1.49, 1, '0:00:05'),
)


def text(rows=ROWS, header=HEADER):
  lines = ['\t'.join(map(str, row)) for row in rows]
  return '\n'.join([header, *lines] if header else lines) + '\n'


@pytest.fixture
def check(tmp_path):
  def run(content, **options):
    path = tmp_path / 'certified'
    path.write_text(content)
    return verify(path, **options)

  return run


def replaced(line, column, value):
  rows = [list(row) for row in ROWS]
  rows[line][column] = value
  return rows


@pytest.mark.parametrize(
  'content',
  [
    text(),
    text(header=''),
    text().replace('\n', '\r\n'),
    text(header=HEADER.replace('idx', 'Idx')),
    '\n'.join('\t'.join(line.split('\t')[:5]) for line in text().split('\n')),
    text([row[:5] for row in ROWS], header=''),
    text([(*row[:5], 6.28) for row in ROWS]),
    text([(*row[:4], bool(row[4]), row[5]) for row in ROWS]),
    '\ufeff' + text(),
  ],
)
def test_files_that_are_in_use(check, content):
  report = check(content)
  assert report.problems == []
  assert report.rows == 4
  record = report.record
  assert record['images'] == 4
  assert record['abstentions'] == 1
  assert [
    entry['right'] for entry in record['certified_accuracy'] if entry['radius']
  ] == [2, 2, 1, 1, 1, 0]
  assert 'the file has no vote counts: its radii are taken as they are' in (
    report.notes
  )
  assert record['guarantee'].startswith('none is stated')


def test_correct_as_a_running_total_is_computed_again(check):
  totals = (1, 1, 1, 2)
  rows = [(*row[:4], n, row[5]) for row, n in zip(ROWS, totals, strict=True)]
  report = check(text(rows))
  assert report.problems == []
  assert any('correct is a running total' in note for note in report.notes)
  assert report.record['accuracy']['right'] == 2
  rows[-1] = (*ROWS[-1][:4], 3, '0:00:05')
  [problem] = check(text(rows)).problems
  assert problem.line == 5
  assert 'correct is 3, and predict and label make it 2' in problem.reason


def test_correct_as_a_running_mean_is_computed_again(check):
  means = (1, 0.5, 0.333, 0.5)
  rows = [(*row[:4], x, row[5]) for row, x in zip(ROWS, means, strict=True)]
  report = check(text(rows))
  assert report.problems == []
  assert any('correct is a running mean' in note for note in report.notes)


def test_other_columns_are_named_and_not_looked_at(check):
  rows = [(*row, 0.9, 0.3) for row in ROWS]
  report = check(text(rows, header=HEADER + '\tpA\tACR'))
  assert report.problems == []
  assert 'not looked at: the columns pa, acr' in report.notes


@pytest.mark.parametrize(
  ('line', 'column', 'value', 'message'),
  [
    (1, 0, 0, 'image 0: it is already in line 2'),
    (0, 0, 'zero', "idx is 'zero', which is no whole number"),
    (0, 1, -1, 'label is -1'),
    (2, 2, -3, 'predict is -3, and classes are numbered from 0'),
    (0, 3, 'nan', "radius is 'nan', which is no number"),
    (0, 3, 'inf', 'radius is inf, which is no radius'),
    (0, 3, -0.5, 'radius is -0.5, which is no radius'),
    (1, 3, 0.1, 'radius is 0.1, and an abstention has none'),
    (0, 3, 2.5, 'radius is 2.5, and 1,000 votes at alpha = 0.001 can give 1.'),
    (0, 4, 0, 'correct is 0, and predict and label make it 1'),
    (0, 5, '1:2:3:4', "time is '1:2:3:4', which is no time"),
    (0, 5, '-5', "time is '-5', which is no time"),
  ],
)
def test_a_wrong_row(check, line, column, value, message):
  report = check(
    text(replaced(line, column, value)), votes=Votes(0.7, 1_000, 0.001)
  )
  [problem] = report.problems
  assert problem.line == line + 2
  assert message in problem.reason
  assert report.record is None


def test_a_line_that_is_cut_short(check):
  [problem] = check(text()[:-9]).problems
  assert problem.line == 5
  assert '5 columns of 6: the line is cut short' in problem.reason


def test_the_largest_radius_may_be_printed_with_three_digits(check):
  """To nearest, as Cohen's program prints them."""
  votes = Votes(0.5, 1_000, 0.001)
  printed = f'{votes.largest:.3}'
  above = [(0, 1, 1, printed, 1, '0:00:01')]
  assert check(text(above), votes=votes).problems == []
  beyond = [(0, 1, 1, float(printed) + 0.01, 1, '0:00:01')]
  assert len(check(text(beyond), votes=votes).problems) == 1


def test_rows_with_counts_have_their_settings(settings, rows_of, write):
  path = write(rows_of(settings, 3), settings)
  with pytest.raises(Unverifiable, match='leave out --sigma'):
    verify(path, votes=Votes(0.5, 100, 0.001))
