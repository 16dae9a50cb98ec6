"""What Orbax logs of a failure, which is told in one sentence instead.

Its threads and tasks log a traceback each, those that nobody awaits complain
again when they are collected, and reads and writes that end later than the
event loop which began them complain of that.
"""

import contextlib
import dataclasses
import gc
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def reading() -> Iterator[None]:
  """Drops the pages that abandoned read tasks print when one of them fails."""
  _drop_late_ends()
  hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
  level = logging.getLogger('absl').level
  logging.getLogger('absl').setLevel(logging.CRITICAL)
  try:
    yield
    gc.collect()
  finally:
    sys.unraisablehook = hook
    logging.getLogger('absl').setLevel(level)


def saving() -> None:
  """Drops the tracebacks of saves that fail in the background, from now on."""
  _drop_late_ends()
  logging.getLogger('absl').addFilter(_no_traceback_of_orbax)
  logging.getLogger('asyncio').addFilter(_no_abandoned_task)


@dataclasses.dataclass(frozen=True)
class _WithoutLateEnds:
  """A hook for what nobody can catch, except for what ended too late."""

  hook: Callable[[Any], object]

  def __call__(self, unraisable: Any) -> None:
    error = unraisable.exc_value
    if not (
      isinstance(error, RuntimeError) and str(error) == 'Event loop is closed'
    ):
      self.hook(unraisable)


def _drop_late_ends() -> None:
  if not isinstance(sys.unraisablehook, _WithoutLateEnds):
    sys.unraisablehook = _WithoutLateEnds(sys.unraisablehook)


def _no_traceback_of_orbax(record: logging.LogRecord) -> bool:
  return not (record.exc_info and 'orbax' in record.pathname)


def _no_abandoned_task(record: logging.LogRecord) -> bool:
  message, raised = record.getMessage(), ''
  if record.exc_info:
    raised = ''.join(traceback.format_exception(*record.exc_info))
  ours = 'orbax' in message or 'orbax' in raised
  return not ('exception was never retrieved' in message and ours)
