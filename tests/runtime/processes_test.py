"""Several processes: they find each other, speak with one voice, and leave."""

import logging
import signal
import time

import pytest

from dualrs_jax.runtime import processes
from tests.runtime import launch


def test_processes_join_compute_together_and_one_speaks(tmp_path):
  members = launch.launch('joins', tmp_path)
  assert [member.status for member in members] == [0, 0]
  assert members[0].seen == {'place': [0, 2], 'total': 3.0}
  assert members[1].seen == {'place': [1, 2], 'total': 3.0}
  assert '[0/2] log: quiet\n[0/2] log: loud' in members[0].log
  assert '[1/2] log: loud' in members[1].log
  assert 'quiet' not in members[1].log


def test_one_that_fails_keeps_its_status_and_the_other_leaves(tmp_path):
  begin = time.monotonic()
  first, last = launch.launch('fails', tmp_path)
  assert last.status == 1
  assert 'OSError: disk full' in last.log
  assert 'Shutdown' not in last.log, 'it waited for the other process'
  assert first.status != 0
  assert time.monotonic() - begin < 60


def test_what_all_find_is_said_by_all(tmp_path):
  members = launch.launch('fails_alike', tmp_path)
  assert [member.status for member in members] == [2, 2]
  for index, member in enumerate(members):
    assert f'error of {index}' in member.log


def test_one_that_is_done_waits_for_the_other(tmp_path):
  members = launch.launch('lingers', tmp_path)
  assert [member.status for member in members] == [0, 0]


@pytest.mark.slow
def test_processes_that_left_a_run_do_not_need_each_other(tmp_path):
  first, last = launch.launch('leaves', tmp_path)
  assert (first.status, last.status) == (0, -signal.SIGKILL)
  assert (tmp_path / '0.pid').read_text() == '3'


@pytest.mark.slow
def test_the_first_one_is_killed_and_takes_an_idle_one_along(tmp_path):
  begin = time.monotonic()
  first, last = launch.launch('first_dies', tmp_path, timeout=120)
  assert first.status == -signal.SIGKILL
  assert last.status == -signal.SIGABRT
  assert time.monotonic() - begin < 60


@pytest.mark.slow
def test_the_last_one_is_killed_and_takes_an_idle_one_along(tmp_path):
  first, last = launch.launch('last_dies', tmp_path, timeout=120)
  ended = time.time()
  assert last.status == -signal.SIGKILL
  assert first.status == -signal.SIGABRT
  killed = float((tmp_path / '1.time').read_text())
  assert ended - killed < 60


def test_one_process_is_left_as_it_is():
  handler = logging.StreamHandler()
  processes.label_log(processes.Place(), [handler])
  assert handler.formatter is None
  with (
    pytest.raises(OSError, match='full'),
    processes.in_step(processes.Place()),
  ):
    raise OSError('full')
