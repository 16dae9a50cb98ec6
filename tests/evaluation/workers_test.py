"""Images are shared out without gap or overlap; no merge loses a row."""

import threading

import jax
import numpy as np
import pytest

from dualrs_jax.evaluation import certify_source, tsv, workers
from dualrs_jax.runtime import files as files_lib
from dualrs_jax.runtime import locks, shards
from dualrs_jax.runtime import settings as settings_lib
from dualrs_jax.runtime.processes import Place

FIRST, SECOND = Place(0, 2), Place(1, 2)
SHARDS = ('rows-0-of-2.tsv', 'rows-1-of-2.tsv')


@pytest.fixture(scope='module')
def run(tmp_path_factory, classifier, source):
  """Settings and rows of a run on images 100, ..., 107, in another order."""
  directory = tmp_path_factory.mktemp('run')
  certify_source.certify_source(
    None,
    classifier,
    source,
    directory,
    settings={
      'task': 'predict',
      'smoothing': 'single',
      'certificate': None,
      'sigmas': [0.25],
      'estimator_sigma': None,
      'n0': None,
      'n': 50,
      'alpha': 0.01,
      'noise': 'gaussian',
      'goal': None,
      'radii': [],
    },
    seed=1,
    chunk_size=50,
    positions=np.array([3, 1, 7, 5, 0, 2, 4, 6]),
    report_radii=(0.0,),
    devices=jax.local_devices()[:1],
  )
  settings = settings_lib.read(directory / certify_source.SETTINGS)
  return settings, tsv.read(directory / workers.ROWS, settings)


@pytest.fixture
def files(run, tmp_path):
  """Three rows in rows.tsv, two and three in those of two processes."""
  settings, rows = run
  write(tmp_path / workers.ROWS, rows[:3], settings)
  write(tmp_path / SHARDS[0], rows[3:5], settings)
  write(tmp_path / SHARDS[1], rows[5:], settings)
  return tmp_path


def write(path, rows, settings):
  lines = [tsv.file_line(row, settings) for row in rows]
  lines.insert(0, tsv.file_header(settings))
  path.write_text('\n'.join(lines) + '\n')


def names(directory):
  return sorted(path.name for path in directory.iterdir())


def merged(directory, run):
  return tsv.read(directory / workers.ROWS, run[0])


def by_index(rows):
  return sorted(rows, key=lambda row: row.idx)


def of(rows, *indices):
  return [rows[0]._replace(idx=idx) for idx in indices]


@pytest.mark.parametrize('count', [1, 2, 3, 4, 13])
def test_what_is_missing_is_shared_out_without_gap_or_overlap(run, count):
  files = {
    workers.ROWS: of(run[1], 2, 5),
    'rows-0-of-7.tsv': of(run[1], 3),
    'rows-6-of-7.tsv': of(run[1], 11, 99),
  }
  asked = [11, *range(10)]
  shares = [workers.share(asked, files, Place(k, count)) for k in range(count)]
  assert sorted(sum(shares, [])) == [0, 1, 4, 6, 7, 8, 9]
  assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_who_begins_later_gets_the_same_share(run):
  asked = list(range(10))
  at_once = [workers.share(asked, {}, place) for place in (FIRST, SECOND)]
  later = {SHARDS[0]: of(run[1], *at_once[0][:3])}
  assert workers.share(asked, later, SECOND) == at_once[1]
  assert workers.share(asked, later, FIRST) == at_once[0][3:]


def test_who_begins_again_after_a_merge_gets_the_rest_of_its_share(
  run, tmp_path
):
  settings, rows = run
  asked = range(100, 112)
  write(tmp_path / workers.ROWS, rows[:2], settings)
  places = FIRST, SECOND
  before = workers.read(tmp_path, settings)
  shares = [workers.share(asked, before, place) for place in places]
  assert [len(share) for share in shares] == [5, 5]
  done = [shares[0], shares[1][:2]]  # the second one is killed
  for name, own in zip(SHARDS, done, strict=True):
    write(tmp_path / name, of(rows, *own), settings)
  missing = workers.merge(tmp_path, settings, asked, partly=True)
  assert missing == sorted(shares[1][2:])
  files = workers.read(tmp_path, settings)
  again = [workers.share(asked, files, place) for place in places]
  assert again == [[], shares[1][2:]]
  others = [workers.share(asked, files, Place(k, 3)) for k in range(3)]
  assert sorted(sum(others, [])) == missing
  assert [len(share) for share in others] == [1, 1, 1]


def test_a_merge_is_one_file_in_the_order_of_the_indices(files, run):
  rows = run[1]
  assert workers.merge(files, run[0], range(100, 108), partly=False) == []
  assert names(files) == [workers.ROWS]
  assert merged(files, run) == by_index(rows)
  before = (files / workers.ROWS).read_bytes()
  assert workers.merge(files, run[0], range(100, 108), partly=True) == []
  assert (files / workers.ROWS).read_bytes() == before


def test_what_is_missing_is_named_and_only_a_part_is_merged_on_request(
  files, run
):
  asked = range(100, 112)
  missing = [108, 109, 110, 111]
  before = names(files)
  assert workers.merge(files, run[0], asked, partly=False) == missing
  assert names(files) == before
  assert workers.merge(files, run[0], asked, partly=True) == missing
  assert names(files) == before
  assert merged(files, run) == by_index(run[1])
  assert workers.merge(files, run[0], range(100, 108), partly=True) == []
  assert names(files) == [workers.ROWS]


def test_without_a_file_all_is_missing_and_nothing_is_made(run, tmp_path):
  assert workers.merge(tmp_path, run[0], [1, 2], partly=True) == [1, 2]
  assert names(tmp_path) == []


def test_the_file_of_a_process_that_goes_on_is_left_to_it(files, run):
  settings, rows = run
  with workers.open_own(files, settings, SECOND) as own:
    assert workers.merge(files, settings, range(100, 108), partly=False) == []
    assert names(files) == [*SHARDS, workers.ROWS]
    assert merged(files, run) == by_index(rows[:5])
    own.append(tsv.file_line(rows[0]._replace(idx=108), settings))
  assert workers.merge(files, settings, range(100, 109), partly=False) == []
  assert [row.idx for row in merged(files, run)] == list(range(100, 109))


def test_nothing_is_merged_into_a_file_that_is_written_to(files, run):
  before = names(files)
  with workers.open_own(files, run[0], Place()):
    assert workers.merge(files, run[0], range(100, 108), partly=False) == []
    assert names(files) == before
  workers.merge(files, run[0], range(100, 108), partly=False)
  assert names(files) == [workers.ROWS]


@pytest.mark.parametrize('count', [1, 3])
def test_another_number_of_processes_at_work_is_refused(
  files, run, monkeypatch, count
):
  monkeypatch.setattr(locks, 'PATIENCE_SECONDS', 0.2)
  settings, _ = run
  with (
    workers.open_own(files, settings, SECOND),
    pytest.raises(locks.InUse, match='must be given the same num_processes'),
  ):
    workers.open_own(files, settings, Place(0, count))
  workers.open_own(files, settings, Place(0, count)).close()
  with (
    workers.open_own(files, settings, Place()),
    pytest.raises(locks.InUse, match=r'rows\.tsv is being written to'),
  ):
    workers.open_own(files, settings, SECOND)


@pytest.mark.parametrize('step', ['replace', 'first', 'second'])
def test_a_merge_that_is_interrupted_loses_no_row(
  files, run, monkeypatch, step
):
  """Before it replaces rows.tsv, or removes the first or the second file."""
  settings, rows = run
  remove = shards.Shard.remove

  def interrupted(*arguments):
    raise KeyboardInterrupt

  def remove_first(shard):
    remove(shard)
    monkeypatch.setattr(shards.Shard, 'remove', interrupted)

  if step == 'replace':
    monkeypatch.setattr(files_lib, 'write_atomic', interrupted)
  else:
    second = step == 'second'
    monkeypatch.setattr(
      shards.Shard, 'remove', remove_first if second else interrupted
    )
  with pytest.raises(KeyboardInterrupt):
    workers.merge(files, settings, range(100, 108), partly=False)
  monkeypatch.undo()
  found = workers.together(workers.read(files, settings), settings)
  assert by_index(found.values()) == by_index(rows)
  assert (
    workers.share(range(100, 108), workers.read(files, settings), FIRST) == []
  )
  workers.merge(files, settings, range(100, 108), partly=False)
  assert names(files) == [workers.ROWS]
  assert merged(files, run) == by_index(rows)


def test_several_merge_at_once(files, run):
  missing = []

  def merge():
    missing.append(workers.merge(files, run[0], range(100, 108), partly=False))

  threads = [threading.Thread(target=merge) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert missing == [[]] * 4
  assert names(files) == [workers.ROWS]
  assert merged(files, run) == by_index(run[1])


def test_who_ends_while_another_merges_waits_and_merges_its_own(
  files, run, monkeypatch
):
  settings, rows = run
  asked = range(100, 108)
  own = workers.open_own(files, settings, SECOND)
  other = threading.Thread(
    target=workers.merge,
    args=(files, settings, asked),
    kwargs={'partly': False},
  )
  write = files_lib.write_atomic

  def slow_write(*arguments):
    monkeypatch.setattr(files_lib, 'write_atomic', write)
    own.close()
    other.start()
    other.join(0.5)
    write(*arguments)

  monkeypatch.setattr(files_lib, 'write_atomic', slow_write)
  workers.merge(files, settings, asked, partly=False)
  other.join()
  assert names(files) == [workers.ROWS]
  assert merged(files, run) == by_index(rows)


def test_a_file_that_is_merged_while_others_read_hides_no_row(
  files, run, monkeypatch
):
  read = tsv.read

  def slow_read(path, settings):
    monkeypatch.setattr(tsv, 'read', read)
    rows = read(path, settings)
    workers.merge(files, settings, range(100, 108), partly=False)
    return rows

  monkeypatch.setattr(tsv, 'read', slow_read)
  found = workers.together(workers.read(files, run[0]), run[0])
  assert by_index(found.values()) == by_index(run[1])


def test_the_torn_line_of_a_process_that_was_killed_is_missing(files, run):
  path = files / SHARDS[0]
  path.write_bytes(path.read_bytes()[:-3])
  torn = run[1][4].idx
  assert workers.merge(files, run[0], range(100, 108), partly=True) == [torn]
  assert len(merged(files, run)) == 7


def test_two_rows_of_an_image_must_agree_but_in_their_time(files, run):
  settings, rows = run
  later = rows[0]._replace(time=7.0)
  write(files / SHARDS[0], [later], settings)
  found = workers.together(workers.read(files, settings), settings)
  assert found[later.idx] == later
  other = next(r for r in rows if r.predict != rows[0].predict)
  write(files / SHARDS[0], [other._replace(idx=rows[0].idx)], settings)
  with pytest.raises(shards.CorruptShard, match=f'image {rows[0].idx} has ano'):
    workers.merge(files, settings, range(100, 108), partly=True)
  assert len(names(files)) == 3
