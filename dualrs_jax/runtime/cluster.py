"""Which process this is, by flags or by the cluster; starting JAX's runtime.

A run whose processes compute together, such as a training, is started: JAX's
multi-controller runtime connects them, and the death of one ends all. Processes
that share work and need not talk, such as those of a certification, are only
told their places.
"""

import logging
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

import jax

from dualrs_jax.runtime.processes import Place

logger = logging.getLogger(__name__)

#: After so long without a sign of life a process counts as dead, and the
#: runtime ends the others.
HEARTBEAT_SECONDS = 30
#: How long a process that ends in step with the others waits for them.
SHUTDOWN_SECONDS = 30
#: How long processes wait for each other at the start.
START_SECONDS = 300


def start(
  distributed: str,
  *,
  coordinator_address: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
  timeout: int = START_SECONDS,
) -> Place:
  """Joins the processes of a run, before JAX is used for anything else.

  When a process dies, those that are left are aborted by the runtime, at the
  latest after about `HEARTBEAT_SECONDS`. A process alone starts nothing.

  Args:
    distributed: 'auto' takes address, number and index from the cluster: Cloud
      TPU, SLURM, Open MPI or Kubernetes. '' starts nothing, unless the other
      arguments are given.
    coordinator_address: host:port on which the first process listens.
    num_processes: how many processes the run has.
    process_id: the index of this one.
    timeout: seconds to wait for the others. A first process whose others do
      not come is aborted by the runtime, after up to twice as long.

  Returns:
    The place of this process.

  Raises:
    ValueError: arguments that do not fit together, or no cluster was found.
    ConnectionError: the port is taken, or nobody listens on it.
  """
  flags = {
    'coordinator_address': coordinator_address,
    'num_processes': num_processes,
    'process_id': process_id,
  }
  _check(distributed, flags)
  place = locate(
    distributed, num_processes=num_processes, process_id=process_id
  )
  if place.count == 1:
    return place
  if coordinator_address is not None:
    host, port = _host_and_port(coordinator_address)
    if process_id == 0:
      _check_free(port)
    else:
      _await_coordinator(host, port, timeout)
  if place.first:
    logger.info(
      '%swaiting up to %d s for all %d processes of the run; without them the'
      ' runtime aborts this one',
      place.label,  # that of the log comes later
      timeout,
      place.count,
    )
  jax.distributed.initialize(
    coordinator_address,
    num_processes,
    process_id,
    initialization_timeout=timeout,
    heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
    shutdown_timeout_seconds=SHUTDOWN_SECONDS,
  )
  return Place(jax.process_index(), jax.process_count())


def locate(
  distributed: str,
  *,
  coordinator_address: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
) -> Place:
  """Finds out which process this is, and connects it to none.

  The others may be on their way, done, or dead. As `start` does, a process of
  a cluster that counts tasks on a node (SLURM, Open MPI) takes the GPU of its
  number there, or those of JAX_LOCAL_DEVICE_IDS.

  Args:
    distributed: see `start`.
    coordinator_address: is not used, nor needed.
    num_processes: how many processes share the work.
    process_id: the index of this one.

  Returns:
    The place of this process.

  Raises:
    ValueError: arguments that do not fit together, or no cluster was found.
  """
  flags: dict[str, Any] = {
    'num_processes': num_processes,
    'process_id': process_id,
  }
  if coordinator_address is not None:
    flags['coordinator_address'] = coordinator_address
  _check(distributed, flags)
  if num_processes is not None and process_id is not None:
    return Place(process_id, num_processes)
  return _detected() if distributed else Place()


def _detected() -> Place:
  """The place that JAX's own detection of clusters finds."""
  # What jax.distributed.initialize calls; there is no public name for it.
  from jax._src import clusters

  given = os.environ.get('JAX_LOCAL_DEVICE_IDS')
  devices = [int(number) for number in given.split(',')] if given else None
  _, count, index, devices = (
    clusters.ClusterEnv.auto_detect_unset_distributed_params(
      coordinator_address='none',
      num_processes=None,
      process_id=None,
      local_device_ids=devices,
      cluster_detection_method=None,
      initialization_timeout=START_SECONDS,
    )
  )
  if count is None or index is None:
    raise ValueError(
      f'{_NO_CLUSTER}: leave it out, or give num_processes and process_id in'
      ' its place, and coordinator_address where processes compute together'
    )
  if devices:
    visible = ','.join(map(str, devices))
    jax.config.update('jax_cuda_visible_devices', visible)
    jax.config.update('jax_rocm_visible_devices', visible)
  return Place(index, count)


_NO_CLUSTER = (
  "distributed is 'auto', but JAX recognises no cluster here (Cloud TPU, SLURM,"
  ' Open MPI, Kubernetes)'
)


def _check(distributed: str, flags: Mapping[str, Any]) -> None:
  """Raises ValueError for arguments that do not fit together."""
  if distributed not in ('', 'auto'):
    raise ValueError(f"distributed must be '' or 'auto', not {distributed!r}")
  given = [name for name, value in flags.items() if value is not None]
  missing = [name for name in flags if name not in given]
  if given and distributed:
    raise ValueError(
      f"distributed is 'auto' and takes no {' or '.join(given)}: leave out one"
      ' or the other'
    )
  if given and missing:
    raise ValueError(
      f'{" and ".join(given)} given without {" and ".join(missing)}'
    )
  if not given:
    return
  count, index = flags['num_processes'], flags['process_id']
  if count < 1:
    raise ValueError(f'num_processes must be at least 1, not {count}')
  if not 0 <= index < count:
    raise ValueError(
      f'process_id must be in [0, {count}), the num_processes, not {index}'
    )


def _host_and_port(address: str) -> tuple[str, int]:
  host, _, port = address.rpartition(':')
  if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
    raise ValueError(f'coordinator_address must be host:port, not {address!r}')
  return host.strip('[]'), int(port)


def _check_free(port: int) -> None:
  """Raises where the runtime would die without a word."""
  with socket.socket() as probe:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
      probe.bind(('', port))
    except OSError as error:
      raise ConnectionError(
        f'the coordinator cannot listen on port {port}: {error.strerror};'
        ' choose another one in coordinator_address, the same for all processes'
      ) from None


def _await_coordinator(host: str, port: int, timeout: int) -> None:
  """Waits until somebody listens; the runtime would abort with a stack dump."""
  begin = time.monotonic()
  while True:
    try:
      socket.create_connection((host, port), timeout=5).close()
      return
    except OSError as error:
      waited = time.monotonic() - begin
      if waited >= timeout:
        raise ConnectionError(
          f'no coordinator at {host}:{port} after waiting {waited:.0f} s'
          f' ({error}): is the process with process_id 0 running there?'
        ) from None
    time.sleep(0.2)
