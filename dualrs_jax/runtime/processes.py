"""Starting and leaving a run of several processes, on JAX's own runtime.

The runtime is JAX's multi-controller one: each process runs the same program
on its own devices. Here is what it does not say clearly: what is wrong when it
does not start, which process is speaking, and how to leave without keeping
the others waiting.
"""

import contextlib
import logging
import os
import socket
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from dualrs_jax.runtime import preemption

logger = logging.getLogger(__name__)

#: After so long without a sign of life a process counts as dead, and the
#: runtime ends the others.
HEARTBEAT_SECONDS = 30
#: How long a process that ends in step with the others waits for them.
SHUTDOWN_SECONDS = 30
#: How long processes wait for each other at the start.
START_SECONDS = 300


class Place(NamedTuple):
  """Which one of how many processes this is; the first one speaks for all."""

  index: int = 0
  count: int = 1

  @property
  def first(self) -> bool:
    """Whether this process logs, draws progress and writes what all share."""
    return self.index == 0


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
  latest after about `HEARTBEAT_SECONDS`.

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
  _check(distributed, coordinator_address, num_processes, process_id)
  if not distributed and coordinator_address is None:
    return Place()
  if coordinator_address is not None:
    host, port = _host_and_port(coordinator_address)
    if process_id == 0:
      _check_free(port)
    else:
      _await_coordinator(host, port, timeout)
  logger.info(
    'waiting up to %d s for all processes of the run, at %s',
    timeout,
    coordinator_address or 'the address that the cluster gives',
  )
  try:
    jax.distributed.initialize(
      coordinator_address,
      num_processes,
      process_id,
      initialization_timeout=timeout,
      heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
      shutdown_timeout_seconds=SHUTDOWN_SECONDS,
    )
  except ValueError as error:
    if not distributed:
      raise
    raise ValueError(
      "distributed is 'auto', but JAX recognises no cluster here (Cloud TPU,"
      f' SLURM, Open MPI, Kubernetes): {error}'
    ) from None
  return Place(jax.process_index(), jax.process_count())


def independent(num_processes: int, process_id: int) -> Place:
  """The place of a process that shares work with others it does not talk to.

  Raises:
    ValueError: there is no such place.
  """
  _check_index(num_processes, process_id)
  return Place(process_id, num_processes)


def here() -> Place:
  """The place of this process in the run that it has joined, if any."""
  return Place(jax.process_index(), jax.process_count())


def agreed(values: np.ndarray) -> np.ndarray:
  """What the first process says, in all: they might see different things."""
  if jax.process_count() == 1:
    return values
  return np.asarray(multihost_utils.broadcast_one_to_all(values))


def barrier(name: str) -> None:
  """Waits until all processes are there."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def label_log(place: Place, handlers: Iterable[logging.Handler]) -> None:
  """Puts [index/count] before each line of the log, and quiets all but one.

  Args:
    place: of this process. The library logs warnings only unless it is first.
      Where there is only one process, nothing changes.
    handlers: those that write the log.
  """
  if place.count == 1:
    return
  for handler in handlers:
    inner = handler.formatter or logging.Formatter()
    handler.setFormatter(_Labelled(inner, f'[{place.index}/{place.count}] '))
  if not place.first:
    logging.getLogger('dualrs_jax').setLevel(logging.WARNING)


@contextlib.contextmanager
def in_step(place: Place) -> Iterator[None]:
  """Leaves a run of several processes with all of them, or at once.

  A process that is done waits for the others for as long as JAX's
  collectives do. One that
  fails ends with the exit status of its error, without the barrier of an
  ordinary exit, at which it would wait for processes that wait for it; the
  runtime then ends the others. One that is preempted leaves as usual, since all
  of them are; where one alone is, the others end `SHUTDOWN_SECONDS` later.

  Args:
    place: of this process. One process is left as it is.
  """
  try:
    yield
  except BaseException as error:
    status = error.code if isinstance(error, SystemExit) else 1
    if place.count == 1 or status == preemption.EXIT_STATUS:
      raise
    if not isinstance(error, SystemExit):
      traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)
  if place.count > 1:
    multihost_utils.sync_global_devices('the end of the run')


class _Labelled(logging.Formatter):
  """Another formatter, with a label before what it says."""

  def __init__(self, inner: logging.Formatter, label: str):
    super().__init__()
    self._inner = inner
    self._label = label

  def format(self, record: logging.LogRecord) -> str:
    return self._label + self._inner.format(record)


def _check(
  distributed: str,
  coordinator_address: str | None,
  num_processes: int | None,
  process_id: int | None,
) -> None:
  """Raises ValueError for arguments that do not fit together."""
  if distributed not in ('', 'auto'):
    raise ValueError(f"distributed must be '' or 'auto', not {distributed!r}")
  flags = {
    'coordinator_address': coordinator_address,
    'num_processes': num_processes,
    'process_id': process_id,
  }
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
  if num_processes is not None and process_id is not None:
    _check_index(num_processes, process_id)


def _check_index(num_processes: int, process_id: int) -> None:
  if not 0 <= process_id < num_processes:
    raise ValueError(
      f'process_id must be in [0, {num_processes}), the num_processes, not'
      f' {process_id}'
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
        f'the coordinator cannot listen on port {port}: {error.strerror}'
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
