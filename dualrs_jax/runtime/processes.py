"""What the processes of a run do together, on JAX's own runtime.

The runtime is JAX's multi-controller one: each process runs the same program
on its own devices; `cluster` starts it. Here is how processes agree and wait,
which of them is speaking, and how one leaves without keeping the others
waiting.
"""

import contextlib
import itertools
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from dualrs_jax.runtime import preemption

logger = logging.getLogger(__name__)

Read = TypeVar('Read')

#: How long processes wait for each other. One that died is noticed long before.
_BARRIER_DAYS = 20
#: How long the first process waits, after an error, for others to find the same
#: one. The runtime lives in it, and ends them once it is gone.
FAILED_SECONDS = 20.0
#: From the last word of such a process to its end, on a busy machine.
_LAST_WORD_SECONDS = 1.0
#: After so long a network file system shows what another host has written.
SHOWN_SECONDS = 90.0
_POLL_SECONDS = 0.5

#: Status of a program that Ctrl-C has ended; nobody is waited for then.
_INTERRUPTED = 130

_barriers = itertools.count()


class Place(NamedTuple):
  """Which one of how many processes this is; the first one speaks for all.

  Attributes:
    index: Its number, from 0.
    count: How many there are.
  """

  index: int = 0
  count: int = 1

  @property
  def first(self) -> bool:
    """Whether this process logs, draws progress and writes what all share."""
    return self.index == 0

  @property
  def label(self) -> str:
    """What each line of its log begins with; nothing for the only process."""
    return f'[{self.index}/{self.count}] ' if self.count > 1 else ''


def here() -> Place:
  """The place of this process in the run that it has joined, if any.

  A process that sees devices of others, as on a slice of TPUs, and has not
  joined them is by itself.
  """
  if not jax.distributed.is_initialized():
    return Place()
  return Place(jax.process_index(), jax.process_count())


def agreed(values: np.ndarray) -> np.ndarray:
  """What the first process says, in all: they might see different things."""
  if here().count == 1:
    return values
  barrier('the first process')  # it may read, or wait, for longer than a device
  return np.asarray(multihost_utils.broadcast_one_to_all(values))


def agreed_text(text: str) -> str:
  """The same of a text, of whatever length."""
  content = np.frombuffer(text.encode(), np.uint8)
  size = int(agreed(np.array(len(content), np.int32)))
  return bytes(agreed(np.resize(content, size))).decode()


def barrier(name: str) -> None:
  """Waits until all processes of the run are there, however long that takes.

  No device takes part: an hour between the first one and the last does no harm.
  A process that dies on its way ends those that wait.
  """
  if here().count == 1:
    return
  from orbax.checkpoint import multihost  # takes a second, for runs of several

  wait = multihost.get_barrier_sync_fn()
  milliseconds = _BARRIER_DAYS * 24 * 3600 * 1000
  wait(key=f'{name}/{next(_barriers)}', timeout_ms=milliseconds)


def await_shown(read: Callable[[], Read | None], what: object) -> Read | None:
  """Reads what another process has written; None if it does not appear.

  Network file systems show a host what another one wrote some seconds late. In
  a run of one process it is tried once.

  Args:
    read: returns it, or None while it is not there.
    what: for the log.
  """
  deadline = time.monotonic() + SHOWN_SECONDS
  waiting = False
  while True:
    found = read()
    if found is not None or here().count == 1 or time.monotonic() > deadline:
      return found
    if not waiting:
      logger.warning(
        'another process has written %s, which is not seen here: waiting up to'
        ' %g s for the file system',
        what,
        SHOWN_SECONDS,
      )
    waiting = True
    preemption.raise_if_noted(f'waiting for {what}')
    time.sleep(_POLL_SECONDS)


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
    handler.setFormatter(_Labelled(inner, place.label))
  if not place.first:
    logging.getLogger('dualrs_jax').setLevel(logging.WARNING)


@contextlib.contextmanager
def in_step(place: Place) -> Iterator[None]:
  """Leaves a run of several processes with all of them, or at once.

  A process that is done waits for the others, and so does one that is
  preempted, since all of them are. One that fails ends with the exit status of
  its error, without the barrier of an ordinary exit, at which it would wait for
  processes that wait for it; the runtime then ends the others. The first one
  gives them `FAILED_SECONDS` before, to end with an error of their own: a
  mistake that all make alike, each of them says.

  Args:
    place: of this process. One process is left as it is.
  """
  try:
    yield
  except BaseException as error:
    status = error.code if isinstance(error, SystemExit) else 1
    if place.count == 1:
      raise
    if status == preemption.EXIT_STATUS:
      barrier('the end of the run')
      raise
    try:
      if not isinstance(error, SystemExit):
        logger.exception('ended by an error')
      sys.stdout.flush()
      sys.stderr.flush()
      if status != _INTERRUPTED:
        _fail_together(place)
    finally:  # even where the disk of the log is full
      os._exit(status if isinstance(status, int) else 1)
  barrier('the end of the run')


def _fail_together(place: Place) -> None:
  """Says that this process ends by an error; the first waits for the others."""
  # There is no public name for it.
  from jax._src.distributed import global_state

  client = global_state.client
  if client is None:
    return
  try:
    if not place.first:
      client.key_value_set(f'failed/{place.index}', '')
      return
    deadline = time.monotonic() + FAILED_SECONDS
    for index in range(1, place.count):
      left = max(deadline - time.monotonic(), 0)
      client.blocking_key_value_get(f'failed/{index}', int(1000 * left))
  except jax.errors.JaxRuntimeError:  # they go on, or the runtime has ended
    return
  time.sleep(_LAST_WORD_SECONDS)


def leave(arguments: Sequence[str]) -> NoReturn:
  """Leaves a run with all of its processes, to go on by itself as a new one.

  Within a run GPUs of one process, and CPU devices, find each other through it
  even for sums among themselves, so that no process could go on otherwise.

  Args:
    arguments: of the Python interpreter, which takes the place of this process.

  Raises:
    preemption.Preempted: one of the processes was asked to end.
  """
  barrier('the last call')
  if preemption.ask_last():
    raise preemption.Preempted('preempted with the work of the run done')
  barrier('the end of the run')
  jax.distributed.shutdown()
  sys.stdout.flush()
  sys.stderr.flush()
  for name in os.listdir('/dev/fd'):
    with contextlib.suppress(OSError):  # that of the listing
      if int(name) > sys.stderr.fileno():
        os.set_inheritable(int(name), False)  # devices, and locks of them
  os.execv(sys.executable, [sys.executable, *arguments])


class _Labelled(logging.Formatter):
  """Another formatter, with a label before what it says."""

  def __init__(self, inner: logging.Formatter, label: str):
    super().__init__()
    self._inner = inner
    self._label = label

  def format(self, record: logging.LogRecord) -> str:
    return self._label + self._inner.format(record)
