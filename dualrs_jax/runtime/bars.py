"""Progress bars that also read well in the log of a job."""

import sys

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
