"""Clocks that somebody puts."""

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def hours_pass_while_saving() -> Iterator[None]:
  """The clock is put on at each look that the thread of a save takes at it."""
  real, hours = time.time, itertools.count(step=40_000)

  def look():
    saving = threading.current_thread().name == 'async_save'
    return real() + (next(hours) if saving else 0)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(time, 'time', look)
    yield
