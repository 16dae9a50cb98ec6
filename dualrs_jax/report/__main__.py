"""Writes report.html for a run, or a page that compares several.

  python -m dualrs_jax.report runs/digits
  python -m dualrs_jax.report runs/digits runs/other/certify/dual-agreement

A run is a working directory, or the folder of one certification in it. Of one
working directory every certification gets its page, and the run as well; the
pages that certify.py writes have pictures too, for which it takes the data.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from dualrs_jax.evaluation import certify_source
from dualrs_jax.report import writing
from dualrs_jax.report.page import MissingLibrary
from dualrs_jax.runtime import files


def main(arguments: Sequence[str] | None = None) -> int:
  """Writes what the command line asks for; returns the exit status."""
  options = _parser().parse_args(arguments)
  [first, *others] = options.runs
  try:
    if others or not (first / certify_source.FOLDER).is_dir():
      text = writing.compare(options.runs, options.radii)
      files.write_atomic(options.output, text)
      print(options.output)
    else:
      for path in writing.write(first, radii=options.radii):
        print(path)
  except (ValueError, OSError, MissingLibrary) as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  return 0


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='python -m dualrs_jax.report',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('runs', nargs='+', metavar='RUN', type=pathlib.Path)
  parser.add_argument(
    '--output',
    type=pathlib.Path,
    default=pathlib.Path('comparison.html'),
    help='where a comparison is written',
  )
  parser.add_argument(
    '--radii',
    type=float,
    nargs='*',
    default=(),
    help='radii of the tables, where not only some were decided',
  )
  return parser


if __name__ == '__main__':
  sys.exit(main())
