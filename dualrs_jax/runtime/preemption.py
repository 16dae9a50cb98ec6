"""Preemption: SIGTERM ends a long run at its next step instead of within one.

Cluster schedulers send SIGTERM some time before they take a machine away. A
run that watches for it saves what it has and ends with `EXIT_STATUS`, by which
a scheduler tells it from a failure, and submits it again.
"""

import contextlib
import functools
import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator

import jax
from jax.experimental import multihost_utils

#: EX_TEMPFAIL of sysexits.h: try again later. A process that dies of SIGTERM
#: itself, with nothing saved, has another one (143 in a shell).
EXIT_STATUS = 75

# JAX names the call after the furthest one of any process. It takes the number
# literally, for the life of a process: a lower one would never be reached.
_calls = itertools.count()

#: JAX looks once a second whether it has caught a signal.
_NOTICE_SECONDS = 1.5


class Preempted(Exception):
  """The run was asked to end, and has saved what it had."""


@contextlib.contextmanager
def watch(*, together: bool) -> Iterator[Callable[[], bool]]:
  """Watches for SIGTERM, around the whole run or one part after the other.

  Args:
    together: in a run of several processes, whether all of them end at the
      same call. A signal to any one of them then ends all. Work that needs
      collectives must end like that; every process has to ask equally often.
      Otherwise each process ends by its own signal, at its own next call;
      schedulers send one to each. All processes of a run begin such a watch
      at the same place: a signal that came before is asked about then.

  Yields:
    A function that says whether to save and end now; it is asked once a step.
    In one process a second SIGTERM, which comes after the first one was
    noticed, kills at once.
  """
  if together and jax.distributed.is_initialized():
    yield lambda: multihost_utils.reached_preemption_sync_point(next(_calls))
  elif threading.current_thread() is not threading.main_thread():
    yield lambda: False  # Python handles signals in the main thread alone
  else:
    with _own_handler() as received:
      if jax.distributed.is_initialized() and _was_noticed():
        received.set()
      yield received.is_set


@functools.cache
def _was_noticed() -> bool:
  """Whether JAX has caught a signal about which nobody has asked yet.

  It catches them from the start of a run until the first handler of our own.
  """
  time.sleep(_NOTICE_SECONDS)
  # At the first call processes may only agree on which one they end.
  first = multihost_utils.reached_preemption_sync_point(next(_calls))
  return multihost_utils.reached_preemption_sync_point(next(_calls)) or first


@contextlib.contextmanager
def _own_handler() -> Iterator[threading.Event]:
  """Sets the event at the first SIGTERM; the second one is not caught."""
  received = threading.Event()

  def on_signal(number, frame):
    del frame
    received.set()
    signal.signal(number, before)

  # None stands for a handler of another language, such as that of JAX.
  before = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
  signal.signal(signal.SIGTERM, on_signal)
  try:
    yield received
  finally:
    signal.signal(signal.SIGTERM, before)
