"""What Orbax logs of a failure, which is told in one sentence instead.

Its threads and tasks log a traceback each, and those that nobody awaits
complain again when they are collected.
"""

import contextlib
import gc
import logging
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def reading() -> Iterator[None]:
  """Drops the pages that abandoned read tasks print when one of them fails."""
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
  logging.getLogger('absl').addFilter(_no_traceback_of_orbax)
  logging.getLogger('asyncio').addFilter(_no_abandoned_task)


def _no_traceback_of_orbax(record: logging.LogRecord) -> bool:
  return not (record.exc_info and 'orbax' in record.pathname)


def _no_abandoned_task(record: logging.LogRecord) -> bool:
  message = record.getMessage()
  return not ('exception was never retrieved' in message and 'orbax' in message)
