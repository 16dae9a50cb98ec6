"""A file is as it was, or as it was to become; errors say which one it is."""

import errno
import os

import pytest

from dualrs_jax.runtime import files
from tests.read_only import read_only


def test_write_atomic_replaces_and_leaves_nothing_else(tmp_path):
  path = tmp_path / 'deep' / 'file.txt'
  files.write_atomic(path, 'one')
  files.write_atomic(path, 'two\n')
  assert path.read_text() == 'two\n'
  assert os.listdir(path.parent) == ['file.txt']


def test_interrupted_write_keeps_the_old_contents(tmp_path, monkeypatch):
  path = tmp_path / 'file.txt'
  files.write_atomic(path, 'old')

  def fail(descriptor):
    raise OSError(errno.ENOSPC, 'no space left')

  monkeypatch.setattr(os, 'fsync', fail)
  with pytest.raises(OSError, match='no space') as error:
    files.write_atomic(path, 'new')
  assert error.value.filename == str(path)
  assert path.read_text() == 'old'
  assert os.listdir(tmp_path) == ['file.txt']


def test_a_file_that_cannot_be_made_is_named_and_not_its_temporary(tmp_path):
  path = tmp_path / 'file.txt'
  with (
    read_only(tmp_path),
    pytest.raises(PermissionError) as error,
  ):
    files.write_atomic(path, 'new')
  assert error.value.filename == str(path)
  path.mkdir()
  with pytest.raises(IsADirectoryError) as error:
    files.write_atomic(path, 'new')
  assert error.value.filename == str(path)


def test_an_error_without_a_number_stays_as_it_is():
  with pytest.raises(OSError, match='^words$') as error, files.naming('other'):
    raise OSError('words')
  assert error.value.filename is None


def test_a_link_stays_one_to_the_new_contents(tmp_path):
  (tmp_path / 'real').mkdir()
  path, link = tmp_path / 'real' / 'file.txt', tmp_path / 'link'
  link.symlink_to(path)
  for content in ('one', 'two'):  # of a file that is not there yet, and one
    files.write_atomic(link, content)
    assert link.is_symlink()
    assert path.read_text() == content


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
  path = tmp_path / 'pipe'
  os.mkfifo(path)
  reader = os.open(path, os.O_RDWR | os.O_NONBLOCK)
  files.write_atomic(path, 'text')
  assert os.read(reader, 100) == b'text'
  os.close(reader)
  assert path.is_fifo()
  assert os.listdir(tmp_path) == ['pipe']
