"""What a program prints, where standard output may be closed, gone or full."""

import contextlib
import os
import sys


def open_closed() -> None:
  """Gives a program the standard files that it was started without.

  Otherwise the next file that it opens, of rows perhaps, would have the number
  of standard output, and whatever is printed would be written into it.
  """
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:
      os.open(os.devnull, os.O_RDWR)  # takes the first number that is free
  for number, name in enumerate(('stdin', 'stdout', 'stderr')):
    if getattr(sys, name) is None:
      stream = open(os.devnull, 'w' if number else 'r')  # noqa: SIM115
      setattr(sys, name, stream)


def say(text: str) -> None:
  """Prints a text to standard output, now.

  Where nobody reads it any more, as behind `| head -1`, the rest is dropped and
  the program goes on: what it computes is on the disk.

  Args:
    text: what to print, without its line end.

  Raises:
    OSError: it cannot be written; the error names standard output.
  """
  try:
    print(text, flush=True)
  except BrokenPipeError:
    _drop()
  except OSError as error:
    _drop()
    raise OSError(error.errno, error.strerror, 'standard output') from error


def _drop() -> None:
  """Sends what is left of standard output nowhere, also at the very end."""
  with contextlib.suppress(OSError):
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
