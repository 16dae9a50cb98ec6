import logging
import os

import pytest

from dualrs_jax.runtime import locks, shards
from tests.full_disk import full_disk

HEADER = 'number\tsquare'


def parse(line):
  number, square = line.split('\t')
  if int(number) ** 2 != int(square):
    raise ValueError(f'{square} is not the square of {number}')
  return int(number)


def line(number):
  return f'{number}\t{number**2}'


@pytest.fixture
def path(tmp_path):
  path = tmp_path / 'deep' / 'rows.tsv'
  with shards.Shard(path, HEADER, parse) as shard:
    for number in range(3):
      shard.append(line(number))
  return path


def test_rows_come_back_and_the_header_is_written_once(path):
  with shards.Shard(path, HEADER, parse) as shard:
    assert shard.rows == [0, 1, 2]
    shard.append(line(3))
  assert path.read_text() == f'{HEADER}\n0\t0\n1\t1\n2\t4\n3\t9\n'
  assert shards.read(path, HEADER, parse) == [0, 1, 2, 3]


def test_every_cut_loses_only_the_line_it_hits(path, caplog):
  whole = path.read_bytes()
  for length in range(len(whole) + 1):
    path.write_bytes(whole[:length])
    kept = max(0, whole[:length].count(b'\n') - 1)
    torn = length and not whole[:length].endswith(b'\n')
    caplog.clear()
    assert shards.read(path, HEADER, parse) == [0, 1, 2][:kept] or length < 14
    with shards.Shard(path, HEADER, parse) as shard:
      assert shard.rows == [0, 1, 2][:kept]
      for number in range(kept, 3):
        shard.append(line(number))
    assert path.read_bytes() == whole
    if kept:
      assert ('dropping' in caplog.text) == bool(torn)


@pytest.mark.parametrize(
  'damage', [b'2\t5\n', b'2\t\xff\n', b'\x00\x00\x00', b'\n', b'2\t4']
)
def test_damaged_last_line_is_dropped_with_a_warning(path, caplog, damage):
  good = f'{HEADER}\n0\t0\n1\t1\n'.encode()
  path.write_bytes(good + damage)
  with caplog.at_level(logging.WARNING):
    assert shards.read(path, HEADER, parse) == [0, 1]
  assert 'dropping its last line' in caplog.text
  assert path.read_bytes() == good + damage  # reading changes nothing
  with shards.Shard(path, HEADER, parse) as shard:
    assert shard.rows == [0, 1]
  assert path.read_bytes() == good


def test_damage_in_the_middle_is_an_error_that_names_the_line(path):
  damaged = f'{HEADER}\n0\t0\n1\t7\n2\t4\n'.encode()
  path.write_bytes(damaged)
  for opener in (shards.read, shards.Shard):
    with pytest.raises(
      shards.CorruptShard, match=r'rows\.tsv, line 3: 7 is not the square of 1'
    ):
      opener(path, HEADER, parse)
  assert path.read_bytes() == damaged


def test_a_damaged_line_before_a_torn_one_is_an_error(path):
  path.write_bytes(f'{HEADER}\n0\t0\n1\t7\n2\t'.encode())
  with pytest.raises(shards.CorruptShard, match='line 3'):
    shards.Shard(path, HEADER, parse)


@pytest.mark.parametrize('text', ['number\tcube\n0\t0\n', 'xyz', '\n'])
def test_another_header_is_refused(path, text):
  path.write_text(text)
  with pytest.raises(shards.CorruptShard, match='line 1: expected the header'):
    shards.Shard(path, HEADER, parse)
  assert path.read_text() == text


def test_only_one_writer_at_a_time(path):
  with shards.Shard(path, HEADER, parse) as shard:
    with pytest.raises(locks.InUse, match='another process'):
      shards.Shard(path, HEADER, parse, patience=0.0)
    assert shards.read(path, HEADER, parse) == [0, 1, 2]
    shard.append(line(3))
  with shards.Shard(path, HEADER, parse) as shard:
    assert shard.rows == [0, 1, 2, 3]


def test_each_row_is_on_the_disk_when_append_returns(path, monkeypatch):
  synced = []
  monkeypatch.setattr(
    os, 'fsync', lambda fd: synced.append(os.fstat(fd).st_size)
  )
  with shards.Shard(path, HEADER, parse) as shard:
    for number in (3, 4):
      shard.append(line(number))
      assert synced[-1] == path.stat().st_size
  assert len(synced) == 2


def test_the_name_of_a_new_file_is_synced(tmp_path, monkeypatch):
  synced = []
  monkeypatch.setattr(os, 'fsync', lambda fd: synced.append(os.fstat(fd)))
  with shards.Shard(tmp_path / 'rows.tsv', HEADER, parse):
    assert tmp_path.stat().st_ino in [status.st_ino for status in synced]


@pytest.mark.parametrize('text', ['1\t1\n', '1\n1', '1\r1'])
def test_a_row_must_be_one_line(path, text):
  with (
    shards.Shard(path, HEADER, parse) as shard,
    pytest.raises(ValueError, match='single line'),
  ):
    shard.append(text)
  assert shards.read(path, HEADER, parse) == [0, 1, 2]


def test_a_full_disk_is_named_and_leaves_no_torn_line(path):
  whole = path.read_bytes()
  with shards.Shard(path, HEADER, parse) as shard:
    with full_disk(len(whole) + 6):
      shard.append(line(3))  # four bytes of six
      with pytest.raises(OSError, match=r"File too large: '.*rows\.tsv'"):
        shard.append(line(4))
    assert path.read_bytes() == whole + b'3\t9\n'
    shard.append(line(4))
  assert shards.read(path, HEADER, parse) == [0, 1, 2, 3, 4]


def test_a_file_that_was_replaced_before_it_was_locked_is_opened_again(
  path, monkeypatch
):
  lock = locks._lock

  def slow_lock(*arguments, **options):
    monkeypatch.setattr(locks, '_lock', lock)
    other = path.with_name('other')
    other.write_text(f'{HEADER}\n7\t49\n')
    os.replace(other, path)
    return lock(*arguments, **options)

  monkeypatch.setattr(locks, '_lock', slow_lock)
  with shards.Shard(path, HEADER, parse) as shard:
    assert shard.rows == [7]
    shard.append(line(8))
  assert shards.read(path, HEADER, parse) == [7, 8]


def test_a_file_that_was_removed_before_it_was_locked_is_made_again(
  path, monkeypatch
):
  lock = locks._lock

  def slow_lock(*arguments, **options):
    monkeypatch.setattr(locks, '_lock', lock)
    with shards.Shard(path, HEADER, parse) as shard:
      shard.remove()
    return lock(*arguments, **options)

  monkeypatch.setattr(locks, '_lock', slow_lock)
  with shards.Shard(path, HEADER, parse) as shard:
    assert shard.rows == []
  assert shards.read(path, HEADER, parse) == []
