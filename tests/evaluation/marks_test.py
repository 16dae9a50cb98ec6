"""Rows go on under their own settings only, whatever became of these files."""

import json
import shutil

import jax
import numpy as np
import pytest

from dualrs_jax.evaluation import (
  certify_source,
  marks,
  report,
  seeds,
  tsv,
  workers,
)
from dualrs_jax.runtime import settings as settings_lib
from dualrs_jax.runtime import shards

RUN = {
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
  'data': {'name': 'patterns'},
  'split': 'test',
}


@pytest.fixture
def certify(classifier, source):
  def run(directory, *, seed=1, images=4, chunk_size=50, **changes):
    return certify_source.certify_source(
      None,
      classifier,
      source,
      directory,
      settings=RUN | changes,
      seed=seed,
      chunk_size=chunk_size,
      positions=np.arange(images),
      report_radii=(0.0,),
      devices=jax.local_devices()[:1],
    )

  return run


@pytest.fixture
def folder(certify, tmp_path):
  certify(tmp_path / 'certify' / 'run')
  return tmp_path / 'certify' / 'run'


def contents(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def unmark(folder):
  """Makes a folder as it was before there were fingerprints."""
  path, rows = folder / marks.SETTINGS, folder / workers.ROWS
  recorded = settings_lib.read(path)
  del recorded[settings_lib.FINGERPRINT]
  path.write_text(json.dumps(recorded))
  lines = [s.rpartition('\t')[0] for s in rows.read_text().splitlines()]
  rows.write_text('\n'.join(lines) + '\n')


def test_each_row_has_the_fingerprint_of_its_settings_last(folder):
  recorded = settings_lib.read(folder / marks.SETTINGS)
  header, *rows = (folder / workers.ROWS).read_text().splitlines()
  assert header == tsv.header('predict') + '\tsettings'
  assert len(rows) == 4
  for row in rows:
    assert row.rpartition('\t')[2] == recorded['fingerprint']


def test_the_fingerprint_is_of_what_results_depend_on(folder):
  recorded = settings_lib.read(folder / marks.SETTINGS)
  mark = recorded.pop('fingerprint')
  for name in recorded:
    changed = marks.of(recorded | {name: 'another'})
    apart = {*marks.ADVISORY, *marks.LATEST}
    assert (changed == mark) == (name in apart), name


@pytest.mark.parametrize('lost', ['deleted', 'none'])
def test_the_same_command_goes_on(certify, folder, lost):
  before = (folder / workers.ROWS).read_bytes()
  if lost == 'deleted':
    (folder / marks.SETTINGS).unlink()
  assert len(certify(folder, images=6)) == 6
  assert (folder / workers.ROWS).read_bytes().startswith(before)
  assert len(tsv.read(folder / workers.ROWS, marks.read(folder))) == 6


@pytest.mark.parametrize(
  'changes', [{'seed': 2}, {'n': 60}, {'chunk_size': 25}, {'split': 'train'}]
)
@pytest.mark.parametrize('name', [workers.ROWS, 'rows-0-of-2.tsv'])
def test_rows_without_settings_are_not_taken_by_others(
  certify, folder, changes, name
):
  (folder / marks.SETTINGS).unlink()
  (folder / workers.ROWS).rename(folder / name)
  before = contents(folder)
  with pytest.raises(
    settings_lib.SettingsMismatch, match='rows without the settings.json'
  ):
    certify(folder, **changes)
  assert contents(folder) == before, 'nothing may be left behind'


def test_rows_of_before_go_on_with_their_settings_only(certify, folder):
  unmark(folder)
  before = (folder / workers.ROWS).read_bytes()
  assert len(certify(folder, images=6)) == 6
  after = (folder / workers.ROWS).read_bytes()
  assert after.startswith(before)
  assert b'settings' not in after
  (folder / marks.SETTINGS).unlink()
  for seed in (1, 2):
    with pytest.raises(settings_lib.SettingsMismatch, match='go on if'):
      certify(folder, seed=seed)


def test_settings_of_another_run_are_refused(certify, folder, tmp_path):
  other = tmp_path / 'other'
  certify(other, seed=2)
  shutil.copy(other / marks.SETTINGS, folder / marks.SETTINGS)
  before = contents(folder)
  for seed, message in ((1, 'seed is 2 there'), (2, 'of other settings')):
    with pytest.raises(ValueError, match=message):
      certify(folder, seed=seed)
  with pytest.raises(shards.CorruptShard, match='line 2: the row is of other'):
    workers.merge(folder, marks.read(folder), [100], partly=True)
  assert contents(folder)['rows.tsv'] == before['rows.tsv']


def test_a_row_of_another_run_is_refused_and_kept(certify, folder, tmp_path):
  other = tmp_path / 'other'
  certify(other, seed=2, images=5)
  foreign = (other / workers.ROWS).read_text().splitlines()[-1]
  rows = folder / workers.ROWS
  there = rows.read_text()
  for line in (foreign, foreign.rpartition('\t')[0]):
    rows.write_text(f'{there}{line}\n')  # the last line, but a whole row
    with pytest.raises(shards.CorruptShard, match='line 6: the row is of oth'):
      certify(folder)
    assert rows.read_text() == f'{there}{line}\n'


@pytest.mark.parametrize('name', ['seed', 'n', 'chunk_size', 'weights'])
def test_settings_that_were_changed_by_hand_are_refused(certify, folder, name):
  path = folder / marks.SETTINGS
  recorded = settings_lib.read(path)
  recorded[name] = {'classifier': '0'} if name == 'weights' else 25
  path.write_text(json.dumps(recorded))
  options = {name: 25} if name != 'weights' else {}
  with pytest.raises(settings_lib.SettingsMismatch):
    certify(folder, **options)
  with pytest.raises(settings_lib.SettingsMismatch, match='was changed since'):
    marks.read(folder)


@pytest.mark.parametrize('content', ['', '{', '[]', '\0' * 9, '{}'])
def test_a_damaged_settings_file_is_told_with_what_to_do(
  certify, folder, content
):
  (folder / marks.SETTINGS).write_text(content)
  before = contents(folder)
  for read in (lambda: certify(folder), lambda: marks.read(folder)):
    with pytest.raises(ValueError, match='put a copy of it back|not set there'):
      read()
  assert contents(folder) == before


def test_a_table_needs_the_settings_of_its_rows(folder):
  workdir = folder.parents[1]
  (folder / marks.SETTINGS).unlink()
  with pytest.raises(ValueError, match='rows without the settings.json'):
    report.report(workdir, ['run'], radii=(0.0,))


def test_settings_that_do_not_say_what_was_asked_for(certify, folder):
  path = folder / marks.SETTINGS
  for asked in (7, 'x y'):
    path.write_text(json.dumps(settings_lib.read(path) | {'asked': asked}))
    with pytest.raises(ValueError, match='the same command writes that again'):
      report.report(folder.parents[1], ['run'], radii=(0.0,))
  certify(folder)
  assert report.report(folder.parents[1], ['run'], radii=(0.0,))


def test_no_other_seed_is_drawn_for_rows_that_are_there(folder):
  parent = folder.parent
  first = seeds.drawn(parent, ['new'])
  assert seeds.drawn(parent, ['run', 'new']) == first
  (parent / seeds.FILE).unlink()
  for _ in range(2):
    with pytest.raises(
      settings_lib.SettingsMismatch, match='seed.json is gone'
    ):
      seeds.drawn(parent, ['new', 'run'])
    assert not (parent / seeds.FILE).exists()
    (folder / marks.SETTINGS).unlink(missing_ok=True)


@pytest.mark.parametrize(
  'content', ['', '{"seed": ', '{"seed": "7"}', '{"seed": 1e3}', '{"seed": -1}',
  '{"seed": 4294967296}', '{"seed": true}', '{}', 'null']
)  # fmt: skip
def test_a_damaged_seed_is_told(tmp_path, content):
  (tmp_path / seeds.FILE).write_text(content)
  with pytest.raises(ValueError, match='seed'):
    seeds.drawn(tmp_path, ['run'])
