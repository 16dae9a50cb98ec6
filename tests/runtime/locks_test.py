"""One process at a time, whatever becomes of it."""

import errno
import logging
import os
import signal
import threading
import time

import pytest

from dualrs_jax.runtime import locks, preemption
from tests import programs


def test_one_at_a_time_is_between_the_lines_and_none_leaves_a_file(tmp_path):
  path = tmp_path / 'lock'
  inside, most = [], []

  def enter():
    for _ in range(10):
      with locks.exclusively(path, refusal='taken', patience=60.0):
        inside.append(1)
        most.append(len(inside))
        inside.pop()

  threads = [threading.Thread(target=enter) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert most == [1] * 40
  assert not path.exists()


HOLDER = """
import pathlib, sys, time
from dualrs_jax.runtime import locks, preemption
with locks.exclusively(sys.argv[1], refusal='taken', patience=0.0):
  pathlib.Path(sys.argv[1]).with_name('inside').touch()
  time.sleep(100)
"""


@pytest.fixture
def held(tmp_path):
  """A lock that another process has, and that process."""
  path = tmp_path / 'lock'
  holder = programs.Program('-c', HOLDER, path)
  holder.until((tmp_path / 'inside').exists)
  yield path, holder
  holder.kill()


def test_another_process_is_refused_after_its_patience(held, caplog):
  path, _ = held
  begin = time.monotonic()
  with (
    caplog.at_level(logging.INFO),
    pytest.raises(locks.InUse, match='taken by another'),
    locks.exclusively(path, refusal='taken by another', patience=0.3),
  ):
    raise AssertionError('two processes are inside')
  assert time.monotonic() - begin >= 0.3
  assert 'taken by another: waiting 0.3 s for it to end' in caplog.text
  assert path.exists(), 'it is still that of the other process'


def test_a_lock_ends_with_its_process_however_that_ends(held):
  path, holder = held
  holder.send(signal.SIGKILL)
  with locks.exclusively(path, refusal='taken', patience=30.0):
    assert path.exists()
  assert not path.exists()


def test_a_file_system_without_locks_is_warned_of(
  tmp_path, monkeypatch, caplog
):
  def flock(*_):
    raise OSError(errno.ENOTSUP, 'no locks here')

  monkeypatch.setattr(locks.fcntl, 'flock', flock)
  path = tmp_path / 'lock'
  with locks.exclusively(path, refusal='taken', patience=0.0):
    assert f'{path} cannot be locked: [Errno {errno.ENOTSUP}] no' in caplog.text


def test_a_busy_server_is_asked_again(tmp_path, monkeypatch):
  flock, refused = locks.fcntl.flock, iter(range(2))

  def busy(*arguments):
    if next(refused, None) is not None:
      raise OSError(errno.ENOLCK, 'No locks available')
    flock(*arguments)

  monkeypatch.setattr(locks.fcntl, 'flock', busy)
  path = tmp_path / 'lock'
  with locks.exclusively(path, refusal='taken', patience=30.0):
    monkeypatch.undo()
    with (
      pytest.raises(locks.InUse),
      locks.exclusively(path, refusal='taken', patience=0.0),
    ):
      raise AssertionError('it was never locked')


def test_a_server_that_never_gives_a_lock_is_warned_of(
  tmp_path, monkeypatch, caplog
):
  def flock(*_):
    raise OSError(errno.ENOLCK, 'No locks available')

  monkeypatch.setattr(locks.fcntl, 'flock', flock)
  with locks.exclusively(tmp_path / 'lock', refusal='taken', patience=0.2):
    assert 'cannot be locked: [Errno 37] No locks available' in caplog.text


def test_a_signal_ends_the_waiting(held):
  path, _ = held
  with preemption.watch(together=False):
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(preemption.Preempted, match='while waiting for'):
      locks.open_locked(path, refusal='taken', patience=60.0)
