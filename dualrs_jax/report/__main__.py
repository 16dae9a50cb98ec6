"""Writes report.html for a run, or a page that compares several.

  python -m dualrs_jax.report runs/digits
  python -m dualrs_jax.report runs/digits runs/other/certify/dual-agreement

A run is a working directory, or the folder of one certification in it. Of one
working directory every certification gets its page, and the run as well. A page
whose pictures would be lost is left as it is; --data_dir says where images are.
"""

import argparse
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from dualrs_jax import data, folders
from dualrs_jax.evaluation import certify_source
from dualrs_jax.evaluation.run_rows import load_runs
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
      pages, kept = _write(first, options.radii, options.data_dir)
      for path in pages:
        output.say(str(path))
      return 2 if kept else 0
  except (ValueError, OSError, MissingLibrary) as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  return 0


def _write(
  workdir: pathlib.Path, radii: Sequence[float], data_dir: str | None
) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
  """Writes all pages of a working directory, with pictures where it can.

  Returns:
    The pages that were written, and those that were left as they are, as they
    have pictures, which cannot be drawn again.
  """
  pages, kept = [], []
  for label, run in load_runs(workdir).items():
    source, labels = None, [label]
    try:
      source = _images(run.settings, data_dir)
    except (TypeError, ValueError, OSError) as error:
      page = writing.place(workdir, label)
      told = f'{label}: no pictures'
      if writing.has_pictures(page):
        told = f'error: {page} is left as it is, or it would lose its pictures'
        kept.append(page)
        labels = []  # of the run alone
      print(f'{told}: {_for_this_program(error)}', file=sys.stderr)
    pages += writing.write(workdir, labels, radii=radii, source=source)
  return list(dict.fromkeys(pages)) or writing.write(workdir), kept


def _images(settings: Mapping[str, Any], data_dir: str | None) -> data.Source:
  """The images of a run."""
  options = {**settings['data']}
  if data_dir is not None:
    options['data_dir'] = data_dir
  source = data.load(split=settings['split'], **options)
  if source.fingerprint() != settings['source']:
    raise ValueError(
      f'these are other images of {options["name"]} than those of the run,'
      ' which are in another folder, that data_dir names, or were changed'
    )
  return source


def _for_this_program(error: Exception) -> str:
  """What is wrong with the images, with the flag of this program."""
  field = r'(?<![-\w/])(data\.)?data_dir(?![\w/])'
  return re.sub(field, '--data_dir', str(error))


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
