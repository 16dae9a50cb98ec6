"""Preemption: SIGTERM ends a long run at its next step instead of within one.

Cluster schedulers send SIGTERM some time before they take a machine away. A
run that watches for it saves what it has and ends with `EXIT_STATUS`, by which
a scheduler tells it from a failure, and submits it again.
"""

import contextlib
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

#: The runtime looks once a second whether it has caught a signal.
_NOTICE_SECONDS = 1.5

# A process has one handler of a signal, and so one note that it came.
_notes: list[threading.Event] = []


class Preempted(Exception):
  """The run was asked to end, and has saved what it had."""


@contextlib.contextmanager
def watch(*, together: bool) -> Iterator[Callable[[], bool]]:
  """Watches for SIGTERM, around the whole of a program or a part of it.

  Within another watch of a single process, a part is told of signals that came
  before it began.

  Args:
    together: in a run of several processes, whether all of them end at the
      same call. A signal to any one of them then ends all. Work that needs
      collectives must end like that; every process has to ask equally often.
      Otherwise each process ends by its own signal, at its own next call;
      schedulers send one to each.

  Yields:
    A function that says whether to save and end now; it is asked once a step.
    In one process a second SIGTERM, which comes after the first one was
    noticed, kills at once.
  """
  if together and jax.distributed.is_initialized():
    yield _ask
  elif threading.current_thread() is not threading.main_thread():
    yield lambda: False  # Python handles signals in the main thread alone
  else:
    with _handler() as note:
      yield note.is_set


def raise_if_noted(doing: str) -> None:
  """Raises Preempted if a watch around the caller has noted a signal.

  For what a process does by itself and cannot end otherwise, such as to wait.
  """
  if _notes and _notes[-1].is_set():
    raise Preempted(f'preempted while {doing}')


def ask_last() -> bool:
  """Whether the runtime has caught a signal that no watch was told of.

  All processes of a run ask this, at about the same time, before they leave it.
  """
  time.sleep(_NOTICE_SECONDS)
  # At the first call they may only agree on which one they end.
  first = _ask()
  return _ask() or first


def _ask() -> bool:
  return multihost_utils.reached_preemption_sync_point(next(_calls))


@contextlib.contextmanager
def _handler() -> Iterator[threading.Event]:
  """Notes the first SIGTERM; the second one is not caught."""
  note = _notes[-1] if _notes else threading.Event()
  _notes.append(note)

  def on_signal(number, frame):
    del frame
    note.set()
    signal.signal(number, signal.SIG_DFL)

  # None stands for a handler of another language, such as that of JAX.
  before = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
  if not note.is_set():
    signal.signal(signal.SIGTERM, on_signal)
  try:
    yield note
  finally:
    _notes.pop()
    signal.signal(
      signal.SIGTERM, signal.SIG_DFL if _notes and note.is_set() else before
    )
