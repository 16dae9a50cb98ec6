"""Progress bars that also read well in the log of a job."""

import contextlib
import sys
from collections.abc import Iterator

import tqdm

#: Between two states of a bar, in seconds: on a terminal, and elsewhere.
_TERMINAL, _FILE = 0.1, 10.0


def bar(description: str, *, unit: str, shown: bool, **options) -> tqdm.tqdm:
  """A bar on standard error.

  Args:
    description: What is under way.
    unit: What is counted.
    shown: Whether to draw it; of several processes the first one does.
    **options: Others of `tqdm.tqdm`, such as `total` and `initial`.
  """
  seconds = _TERMINAL if sys.stderr.isatty() else _FILE
  return tqdm.tqdm(
    desc=description,
    unit=unit,
    disable=not shown,
    mininterval=seconds,
    maxinterval=max(10.0, seconds),
    **options,
  )


@contextlib.contextmanager
def compiling(bar: tqdm.tqdm) -> Iterator[None]:
  """Says so on a bar while a first step compiles, and does not count the time.

  By the time of that step the others would seem to take hours.
  """
  bar.set_postfix_str('compiling')
  yield
  bar.set_postfix_str('', refresh=False)
  bar.unpause()
