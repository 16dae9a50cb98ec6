"""SIGTERM: noticed at the next step, by all processes at the same one."""

import os
import signal
import threading

import pytest

from dualrs_jax.runtime import preemption
from tests import programs
from tests.runtime import launch


def test_all_processes_end_at_one_step(tmp_path):
  members = launch.launch('ends_together', tmp_path)
  assert [member.status for member in members] == [preemption.EXIT_STATUS] * 2
  assert members[0].seen['step'] == members[1].seen['step'] > 20


def test_each_process_ends_at_the_step_after_its_own_signal(tmp_path):
  members = launch.launch('ends_alone', tmp_path)
  assert [member.status for member in members] == [preemption.EXIT_STATUS] * 2
  assert [member.seen['step'] for member in members] == [21, 51]


@pytest.mark.parametrize(
  'what',
  ['ends_at_the_last_call', pytest.param('ends_late', marks=pytest.mark.slow)],
)
def test_all_processes_end_by_a_signal_to_one(tmp_path, what):
  members = launch.launch(what, tmp_path)
  assert [member.status for member in members] == [preemption.EXIT_STATUS] * 2


def test_a_signal_between_two_watches_is_not_lost():
  code = """
import os, signal
from dualrs_jax.runtime import preemption
with preemption.watch(together=False):
  with preemption.watch(together=False) as preempted:
    print(preempted())
  os.kill(os.getpid(), signal.SIGTERM)
  with preemption.watch(together=False) as preempted:
    print(preempted())
  print('between', flush=True)
  os.kill(os.getpid(), signal.SIGTERM)
"""
  ended = programs.Program('-c', code).end()
  assert ended.printed == 'False\nTrue\nbetween\n', ended.log
  assert ended.status == -signal.SIGTERM, 'the second one kills'


def test_one_process_notices_and_the_handler_goes():
  before = signal.getsignal(signal.SIGTERM)
  with preemption.watch(together=True) as preempted:
    assert not preempted()
    os.kill(os.getpid(), signal.SIGTERM)
    assert preempted()
    assert preempted()
    assert signal.getsignal(signal.SIGTERM) == before, 'the second one kills'
  with preemption.watch(together=False) as preempted:
    assert not preempted()
  assert signal.getsignal(signal.SIGTERM) == before


def test_a_second_signal_kills():
  code = """
import os, signal
from dualrs_jax.runtime import preemption
with preemption.watch(together=False):
  os.kill(os.getpid(), signal.SIGTERM)
  print('once', flush=True)
  os.kill(os.getpid(), signal.SIGTERM)
  print('twice', flush=True)
"""
  ended = programs.Program('-c', code).end()
  assert (ended.status, ended.printed) == (-signal.SIGTERM, 'once\n')


def test_another_thread_has_no_signals():
  seen = []

  def run():
    with preemption.watch(together=False) as preempted:
      seen.append(preempted())

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  assert seen == [False]
