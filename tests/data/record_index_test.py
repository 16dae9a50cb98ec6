"""The index of a data set: built once, kept, and never of other files."""

import logging
import os
import shutil

import numpy as np
import pytest

from dualrs_jax.data import prepared, record_index
from tests import no_home


@pytest.fixture
def files(drawings, tmp_path, monkeypatch):
  """A copy of the drawings, and a cache of its own."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  folder = tmp_path / 'imagenet2012' / '5.1.0'
  shutil.copytree(drawings / 'tfrecord' / 'imagenet2012' / '5.1.0', folder)
  return prepared.open_split(
    folder, 'validation', needs=['file_name'], num_classes=1000
  )


@pytest.fixture
def scans(monkeypatch):
  """Numbers of the files that were read from end to end."""
  seen = []
  scan = prepared.Prepared.scan
  monkeypatch.setattr(
    prepared.Prepared,
    'scan',
    lambda self, file: seen.append(file) or scan(self, file),
  )
  return seen


def same(first, second):
  return all(map(np.array_equal, first, second))


def test_it_is_built_once(files, scans):
  first = record_index.load(files)
  assert sorted(scans) == [0, 1]
  assert same(record_index.load(files), first)
  assert sorted(scans) == [0, 1]
  for row in (0, 41, 79):
    example = files.read(int(first.files[row]), int(first.places[row]))
    assert example['file_name'] == first.file_names[row]
    assert example['label'] == first.labels[row]
  left = record_index.cache_path(files).parent.iterdir()
  assert [path.suffix for path in left] == ['.npz']


def test_other_files_have_another(files, scans):
  first = record_index.load(files)
  path = files.paths[0]
  os.utime(path, ns=(0, 0))  # as of another file of this length
  assert record_index.cache_path(files).exists() is False
  second = record_index.load(files)
  assert len(scans) == 4
  assert same(first[:3], second[:3])


@pytest.mark.parametrize(
  'damage',
  [lambda content: content[:-99], lambda content: b'PK' + content[9:]],
  ids=['cut', 'shifted'],
)
def test_a_damaged_one_is_built_again(files, scans, caplog, damage):
  first = record_index.load(files)
  path = record_index.cache_path(files)
  path.write_bytes(damage(path.read_bytes()))
  with caplog.at_level(logging.WARNING):
    assert same(record_index.load(files), first)
  assert 'is built again' in caplog.text
  assert len(scans) == 4
  assert same(record_index.load(files), first)
  assert len(scans) == 4


def test_a_cache_that_cannot_be_written_is_no_obstacle(files, tmp_path, caplog):
  (tmp_path / 'cache').write_text('a file in the place of the folder')
  with caplog.at_level(logging.WARNING):
    assert len(record_index.load(files).labels) == 80
  assert 'is not kept' in caplog.text


def test_a_file_with_other_records_is_refused(files):
  shutil.copy(
    files.paths[0].with_name('imagenet2012-train.tfrecord-00000-of-00002'),
    files.paths[1],
  )
  with pytest.raises(ValueError, match='holds 60 examples where .* says 40'):
    record_index.load(files)


def test_an_image_that_is_there_twice_is_refused(files):
  shutil.copy(files.paths[0], files.paths[1])
  with pytest.raises(ValueError, match=r'holds ILSVRC2012_val_\d+.JPEG twice'):
    record_index.load(files)


def test_without_a_cache_it_is_built_each_time(
  files, scans, monkeypatch, tmp_path
):
  (tmp_path / 'here').mkdir()
  no_home.leave(monkeypatch, tmp_path / 'here')
  for _ in range(2):
    record_index.load(files)
  assert sorted(scans) == [0, 0, 1, 1]
  assert not list((tmp_path / 'here').iterdir())
