"""Tables on disk: intact ones are read, anything else is computed again."""

import concurrent.futures
import logging
import pickle
import threading

import numpy as np
import pytest

from dualrs_jax import boundaries, sequential, table_cache
from tests import no_home

KEY = {'version': 1, 'looks': [3, 6], 'alpha': (0.05).hex()}
VALUES = np.array([-np.inf, 0.25, 1.5])


class Computation:
  """Counts how often it was asked."""

  def __init__(self, values=VALUES):
    self.values, self.calls = values, 0

  def __call__(self):
    self.calls += 1
    return self.values.copy()


@pytest.fixture
def stored(tmp_path):
  """A folder with one intact file."""
  table_cache.cached(KEY, Computation(), folder=tmp_path)
  [path] = tmp_path.iterdir()
  return path


def test_computed_once(tmp_path):
  compute = Computation()
  for _ in range(3):
    values = table_cache.cached(KEY, compute, folder=tmp_path / 'a' / 'b')
    np.testing.assert_array_equal(values, VALUES)
    assert values.dtype == np.float64
    assert not values.flags.writeable
  assert compute.calls == 1
  [path] = (tmp_path / 'a' / 'b').iterdir()
  assert path.suffix == '.npz'


@pytest.mark.parametrize(
  'change', [{'version': 2}, {'looks': [3, 7]}, {'alpha': (0.0500001).hex()}]
)
def test_another_key_is_another_file(stored, change):
  compute = Computation(VALUES + 1)
  values = table_cache.cached(KEY | change, compute, folder=stored.parent)
  np.testing.assert_array_equal(values, VALUES + 1)
  assert len(list(stored.parent.iterdir())) == 2


def flipped(data):
  middle = data.index(b'values.npy') + 60
  return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
  'damage',
  [
    flipped,
    lambda data: data[: len(data) // 2],
    lambda data: data[:-1],
    lambda data: b'',
    lambda data: b'no archive at all',
    lambda data: pickle.dumps(VALUES),
  ],
  ids=['flipped', 'half', 'last', 'empty', 'text', 'pickle'],
)
def test_a_damaged_file_is_replaced(stored, damage, caplog):
  intact = stored.read_bytes()
  stored.write_bytes(damage(intact))
  compute = Computation()
  values = table_cache.cached(KEY, compute, folder=stored.parent)
  np.testing.assert_array_equal(values, VALUES)
  assert compute.calls == 1
  [record] = caplog.records
  assert record.levelno == logging.WARNING
  assert f'{stored} is damaged and computed again' in record.getMessage()
  table_cache.cached(KEY, compute, folder=stored.parent)
  assert compute.calls == 1
  assert list(stored.parent.iterdir()) == [stored]


def save(path, **arrays):
  with open(path, 'wb') as file:
    np.savez_compressed(file, **arrays)


def test_a_checksum_guards_the_values(stored, caplog):
  with np.load(stored) as file:
    checksum = file['checksum']
  save(stored, values=VALUES + 1, checksum=checksum)
  values = table_cache.cached(KEY, Computation(), folder=stored.parent)
  np.testing.assert_array_equal(values, VALUES)
  assert 'its checksum is wrong' in caplog.text


def test_a_file_under_the_name_of_another_is_not_read(stored, caplog):
  other = Computation(VALUES + 1)
  table_cache.cached(KEY | {'version': 2}, other, folder=stored.parent)
  [renamed] = set(stored.parent.iterdir()) - {stored}
  stored.replace(renamed)
  values = table_cache.cached(KEY | {'version': 2}, other, folder=stored.parent)
  np.testing.assert_array_equal(values, VALUES + 1)
  assert other.calls == 2
  assert 'its checksum is wrong' in caplog.text


class Bomb:
  def __reduce__(self):
    return (pytest.fail, ('a pickle was executed',))


def test_code_in_a_file_is_not_executed(stored, caplog):
  with np.load(stored) as file:
    checksum = file['checksum']
  save(stored, values=np.array([Bomb()], object), checksum=checksum)
  table_cache.cached(KEY, Computation(), folder=stored.parent)
  assert 'allow_pickle=False' in caplog.text


def test_a_folder_that_cannot_be_used_is_reported_once(tmp_path, caplog):
  (tmp_path / 'file').write_text('not a folder')
  compute = Computation()
  for _ in range(2):
    values = table_cache.cached(KEY, compute, folder=tmp_path / 'file')
    np.testing.assert_array_equal(values, VALUES)
    assert not values.flags.writeable
  assert compute.calls == 2
  messages = [record.getMessage() for record in caplog.records]
  assert len(messages) == len(set(messages)) <= 2
  assert 'cannot be written' in messages[-1]
  assert 'DUALRS_JAX_CACHE names another folder' in messages[-1]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
  def interrupt(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(table_cache.os, 'fsync', interrupt)
  with pytest.raises(KeyboardInterrupt):
    table_cache.cached(KEY, Computation(), folder=tmp_path)
  assert list(tmp_path.iterdir()) == []


def test_processes_may_write_at_once(tmp_path):
  together = threading.Barrier(4)

  def compute():
    together.wait(timeout=30)
    return VALUES.copy()

  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    tasks = [
      pool.submit(table_cache.cached, KEY, compute, folder=tmp_path)
      for _ in range(4)
    ]
    for task in tasks:
      np.testing.assert_array_equal(task.result(), VALUES)
  assert len(list(tmp_path.iterdir())) == 1
  never = Computation()
  table_cache.cached(KEY, never, folder=tmp_path)
  assert never.calls == 0


def test_folder_of_the_user(monkeypatch, tmp_path):
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  (tmp_path / 'home').mkdir()
  monkeypatch.setenv('DUALRS_JAX_CACHE', str(tmp_path))
  assert table_cache.default_folder() == tmp_path
  monkeypatch.setenv('DUALRS_JAX_CACHE', '~/tables')
  assert table_cache.default_folder() == tmp_path / 'home' / 'tables'
  monkeypatch.delenv('DUALRS_JAX_CACHE')
  monkeypatch.setenv('XDG_CACHE_HOME', '')
  table_cache.cached(KEY, Computation())
  assert list((tmp_path / 'home' / '.cache' / 'dualrs_jax').iterdir())


@pytest.mark.parametrize('named', ['', '~/tables', '~nobody-of-this-name/x'])
def test_without_a_home_tables_are_computed_and_nothing_is_written(
  monkeypatch, tmp_path, caplog, named
):
  no_home.leave(monkeypatch, tmp_path)
  table_cache._warn.cache_clear()
  monkeypatch.setenv('DUALRS_JAX_CACHE', named)
  compute = Computation()
  for _ in range(2):
    np.testing.assert_array_equal(table_cache.cached(KEY, compute), VALUES)
  assert compute.calls == 2
  [record] = caplog.records
  assert 'no home directory' in record.getMessage()
  assert 'computed in memory' in record.getMessage()
  assert not list(tmp_path.iterdir())


def test_sequential_tables_use_it(monkeypatch, tmp_path):
  calls = []
  build = boundaries.lower_bounds
  monkeypatch.setattr(
    boundaries, 'lower_bounds', lambda *a: calls.append(a) or build(*a)
  )
  first = sequential.table(64, 0.05, folder=tmp_path)
  sequential._table.cache_clear()
  again = sequential.table(64, 0.05, folder=tmp_path)
  np.testing.assert_array_equal(first.bounds, again.bounds)
  assert len(calls) == 1
  for changed in ({'alpha': 0.0499999}, {'final_share': 0.6}, {'looks': (64,)}):
    sequential.table(64, **{'alpha': 0.05, 'folder': tmp_path} | changed)
  assert len(calls) == 4
  monkeypatch.setattr(sequential, '_VERSION', -1)
  sequential._table.cache_clear()
  sequential.table(64, 0.05, folder=tmp_path)
  assert len(calls) == 5
  assert len(list(tmp_path.iterdir())) == 5
