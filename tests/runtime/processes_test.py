"""Several processes: they find each other, speak with one voice, and leave."""

import logging
import pathlib
import signal
import socket
import sys
import time

import pytest

from dualrs_jax.runtime import processes

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import launch

sys.path.pop(0)


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


def test_one_that_is_done_waits_for_the_other(tmp_path):
  members = launch.launch('lingers', tmp_path)
  assert [member.status for member in members] == [0, 0]


@pytest.mark.slow
def test_one_that_is_killed_takes_an_idle_one_along(tmp_path):
  first, last = launch.launch('dies', tmp_path, timeout=120)
  ended = time.time()
  assert last.status == -signal.SIGKILL
  assert first.status == -signal.SIGABRT
  killed = float((tmp_path / '1.time').read_text())
  assert ended - killed < 60


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'distributed': 'yes'}, r"distributed must be '' or 'auto', not 'yes'"),
    ({'process_id': 0}, 'process_id given without coordinator_address and num'),
    (
      {'coordinator_address': 'a:1', 'process_id': 0},
      'coordinator_address and process_id given without num_processes',
    ),
    (
      {'distributed': 'auto', 'num_processes': 2},
      "distributed is 'auto' and takes no num_processes",
    ),
    (
      {'coordinator_address': 'a:1', 'num_processes': 2, 'process_id': 2},
      r'process_id must be in \[0, 2\), the num_processes, not 2',
    ),
    (
      {'coordinator_address': 'here', 'num_processes': 2, 'process_id': 1},
      "coordinator_address must be host:port, not 'here'",
    ),
  ],
)
def test_arguments_that_do_not_fit(arguments, message):
  with pytest.raises(ValueError, match=message) as error:
    processes.start(**{'distributed': '', **arguments})
  assert '\n' not in str(error.value)


def test_without_arguments_nothing_starts():
  assert processes.start('') == processes.Place(0, 1)


def test_a_cluster_that_is_none(monkeypatch):
  def initialize(*_, **options):
    assert options['heartbeat_timeout_seconds'] == 30
    raise ValueError('coordinator_address should be defined.')

  # JAX itself would refuse earlier, since other tests have used its devices.
  monkeypatch.setattr(processes.jax.distributed, 'initialize', initialize)
  with pytest.raises(ValueError, match="'auto', but JAX recognises no cluster"):
    processes.start('auto')


def test_nobody_listens():
  address = f'127.0.0.1:{launch.free_port()}'
  with pytest.raises(
    ConnectionError, match=f'no coordinator at {address} after waiting 1 s'
  ):
    processes.start(
      '',
      coordinator_address=address,
      num_processes=2,
      process_id=1,
      timeout=1,
    )


def test_the_port_is_taken():
  with socket.socket() as listener:
    listener.bind(('127.0.0.1', 0))
    listener.listen()
    port = listener.getsockname()[1]
    with pytest.raises(ConnectionError, match=f'cannot listen on port {port}'):
      processes.start(
        '',
        coordinator_address=f'127.0.0.1:{port}',
        num_processes=2,
        process_id=0,
      )


def test_one_process_is_left_as_it_is():
  handler = logging.StreamHandler()
  processes.label_log(processes.Place(), [handler])
  assert handler.formatter is None
  with (
    pytest.raises(OSError, match='full'),
    processes.in_step(processes.Place()),
  ):
    raise OSError('full')
