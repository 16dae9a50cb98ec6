"""A file is as it was, or as it was to become; errors say which one it is."""

import errno
import os

import pytest

from dualrs_jax.runtime import files


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


def test_an_error_that_has_a_name_or_no_number_stays_as_it_is(tmp_path):
  missing = tmp_path / 'missing'
  with pytest.raises(FileNotFoundError) as error, files.naming('other'):
    missing.read_text()
  assert error.value.filename == str(missing)
  with pytest.raises(OSError, match='^words$') as error, files.naming('other'):
    raise OSError('words')
  assert error.value.filename is None
