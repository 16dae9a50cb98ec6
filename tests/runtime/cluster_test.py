"""Which process this is, and how a run of several starts."""

import socket

import pytest

from dualrs_jax.runtime import cluster
from dualrs_jax.runtime.processes import Place
from tests import programs


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
    cluster.start(**{'distributed': '', **arguments})
  assert '\n' not in str(error.value)


def test_a_run_that_computes_together_needs_a_coordinator():
  with pytest.raises(ValueError, match='without coordinator_address'):
    cluster.start('', num_processes=2, process_id=1)


def test_without_arguments_nothing_starts():
  assert cluster.start('') == Place(0, 1)
  assert cluster.locate('') == Place(0, 1)


def test_a_place_that_is_given_takes_no_coordinator():
  assert cluster.locate('', num_processes=3, process_id=2) == Place(2, 3)
  found = cluster.locate(
    '', coordinator_address='nowhere:1', num_processes=3, process_id=2
  )
  assert found == Place(2, 3)
  with pytest.raises(ValueError, match=r'process_id must be in \[0, 3\)'):
    cluster.locate('', num_processes=3, process_id=3)
  with pytest.raises(ValueError, match='num_processes must be at least 1'):
    cluster.locate('', num_processes=0, process_id=0)
  message = '^num_processes given without process_id$'
  with pytest.raises(ValueError, match=message):
    cluster.locate('', num_processes=3)


@pytest.fixture
def updated(monkeypatch):
  """What is set in JAX's configuration, without setting it."""
  seen = {}
  monkeypatch.setattr(cluster.jax.config, 'update', seen.__setitem__)
  return seen


SLURM = {
  'SLURM_JOB_ID': '7',
  'SLURM_STEP_NODELIST': 'node[3-4]',
  'SLURM_NTASKS': '16',
  'SLURM_PROCID': '11',
  'SLURM_LOCALID': '3',
}


@pytest.mark.parametrize(
  ('given', 'visible'), [({}, '3'), ({'JAX_LOCAL_DEVICE_IDS': '0,5'}, '0,5')]
)
def test_slurm_tells_the_place_and_the_gpu_and_nothing_starts(
  monkeypatch, updated, given, visible
):
  for name, value in (SLURM | given).items():
    monkeypatch.setenv(name, value)
  assert cluster.locate('auto') == Place(11, 16)
  assert not cluster.jax.distributed.is_initialized()
  assert updated == {
    'jax_cuda_visible_devices': visible,
    'jax_rocm_visible_devices': visible,
  }


def test_no_cluster_tells_a_place(updated):
  with pytest.raises(ValueError, match="'auto', but JAX recognises no cluster"):
    cluster.locate('auto')
  assert not updated


def test_a_cluster_is_joined_with_a_heartbeat_of_30_s(monkeypatch, updated):
  for name, value in SLURM.items():
    monkeypatch.setenv(name, value)
  called = []
  # JAX itself would refuse, since other tests have used its devices.
  monkeypatch.setattr(
    cluster.jax.distributed,
    'initialize',
    lambda *arguments, **options: called.append((arguments, options)),
  )
  cluster.start('auto')
  [(arguments, options)] = called
  assert arguments == (None, None, None)
  assert options['heartbeat_timeout_seconds'] == 30


def test_a_cluster_that_is_none():
  with pytest.raises(ValueError, match="'auto', but JAX recognises no cluster"):
    cluster.start('auto')


def test_in_place_of_a_cluster_that_is_none():
  with pytest.raises(
    ValueError, match=', or give num_processes and process_id'
  ):
    cluster.locate('auto')
  given = {'num_processes': 2, 'process_id': 1}
  with pytest.raises(ValueError, match="'auto' and takes no num_processes"):
    cluster.locate('auto', **given)
  assert cluster.locate('', **given) == Place(1, 2)


def test_nobody_listens():
  address = programs.free_address()
  with pytest.raises(
    ConnectionError, match=f'no coordinator at {address} after waiting 1 s'
  ):
    cluster.start(
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
      cluster.start(
        '',
        coordinator_address=f'127.0.0.1:{port}',
        num_processes=2,
        process_id=0,
      )
