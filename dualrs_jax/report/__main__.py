"""Writes report.html for a run, or a page that compares several.

  python -m dualrs_jax.report runs/digits
  python -m dualrs_jax.report runs/digits runs/other/certify/dual-agreement

A run is a working directory, or the folder of one certification in it. Of one
working directory every certification gets its page, and the run as well.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from dualrs_jax import data, folders
from dualrs_jax.evaluation import certify_source
from dualrs_jax.evaluation.report import load_runs
from dualrs_jax.report import writing
from dualrs_jax.report.page import MissingLibrary
from dualrs_jax.runtime import files, output


def main(arguments: Sequence[str] | None = None) -> int:
  """Writes what the command line asks for; returns the exit status."""
  output.open_closed()
  options = _parser().parse_args(arguments)
  try:
    [first, *others] = map(folders.expand, options.runs)
    if others or not (first / certify_source.FOLDER).is_dir():
      text = writing.compare([first, *others], options.radii)
      path = folders.expand(options.output or 'comparison.html')
      files.write_atomic(path, text)
      output.say(str(path))
    elif options.output:
      raise ValueError(
        f'--output is where a comparison is written, and {first} is one run:'
        ' its pages are written into it'
      )
    else:
      for path in _write(first, options.radii, options.data_dir):
        output.say(str(path))
  except (ValueError, OSError, MissingLibrary) as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  return 0


def _write(
  workdir: pathlib.Path, radii: Sequence[float], data_dir: str | None
) -> list[pathlib.Path]:
  """Writes all pages of a working directory, with pictures where it can."""
  pages = []
  for label, run in load_runs(workdir).items():
    options = {**run.settings['data']}
    if data_dir is not None:
      options['data_dir'] = data_dir
    try:
      source = data.load(split=run.settings['split'], **options)
    except (TypeError, ValueError, OSError) as error:
      print(f'{label}: no pictures: {error}', file=sys.stderr)
      source = None
    pages += writing.write(workdir, [label], radii=radii, source=source)
  return list(dict.fromkeys(pages)) or writing.write(workdir)


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
    help='where a comparison is written; comparison.html by default',
  )
  parser.add_argument(
    '--data_dir', help='where the data set is, for pictures of its images'
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
