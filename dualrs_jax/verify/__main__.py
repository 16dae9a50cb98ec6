"""Computes a result again, and writes the record of one that is right.

    python -m dualrs_jax.verify runs/digits/certify/dual-agreement/rows.tsv

ends with status 0 if every row follows from its votes, with 1 if one does not,
and with 2 if that cannot be said. docs/verifying.md says what is checked.
"""

import argparse
import json
import math
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from dualrs_jax import folders
from dualrs_jax.runtime import files, output
from dualrs_jax.verify import cohen
from dualrs_jax.verify.errors import Unverifiable
from dualrs_jax.verify.result import Report, verify

#: Lines that do not follow are many in a file of something else.
_SHOWN = 20

FALSE, UNVERIFIABLE = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  output.open_closed()
  options = _parser().parse_args(arguments)
  try:
    path = folders.expand(options.rows)
    record = folders.expand(options.record or path.with_suffix('.record.json'))
    found = verify(
      path,
      settings_path=options.settings,
      radii=options.radii,
      votes=_votes(options),
    )
    lines = _lines(path, found)
    if found.record is None:
      output.say('\n'.join([*lines, 'no record is written']))
      return FALSE
    files.write_atomic(record, _page(found.record))
    output.say('\n'.join([*lines, f'record in {record}']))
  except (Unverifiable, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    return UNVERIFIABLE
  return 0


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='python -m dualrs_jax.verify',
    description=(__doc__ or '').split('\n\n')[0],
  )
  parser.add_argument('rows', help='the file of rows')
  parser.add_argument(
    '--settings', help='of their run; settings.json beside them by default'
  )
  parser.add_argument(
    '--record', help='where to; rows.record.json beside the rows by default'
  )
  parser.add_argument(
    '--radii',
    type=_radii,
    help='of the record, separated by commas; those of the run by default',
  )
  apart = parser.add_argument_group('rows without vote counts')
  apart.add_argument('--sigma', type=float, help='the noise level')
  apart.add_argument('--n', type=int, help='how many votes bound a radius')
  apart.add_argument('--alpha', type=float, help='failure probability')
  return parser


def _radii(text: str) -> list[float]:
  found = [float(part) for part in text.split(',')]
  if not all(0 <= radius < math.inf for radius in found):
    raise argparse.ArgumentTypeError(f'{text} are no radii')
  return found


def _votes(options: Any) -> cohen.Votes | None:
  given = options.sigma, options.n, options.alpha
  if given == (None, None, None):
    return None
  if None in given:
    raise Unverifiable('--sigma, --n and --alpha are given together')
  votes = cohen.Votes(*given)
  possible = 0 < votes.sigma < math.inf and votes.n >= 1 and 0 < votes.alpha < 1
  if not possible:
    raise Unverifiable(
      f'--sigma and --n are positive and --alpha is in (0, 1), unlike {given}'
    )
  return votes


def _lines(path: pathlib.Path, found: Report) -> list[str]:
  lines = [f'{path}: {found.rows} rows', *(f'  {note}' for note in found.notes)]
  wrong = len({problem.line for problem in found.problems})
  lines += [str(problem) for problem in found.problems[:_SHOWN]]
  if len(found.problems) > _SHOWN:
    lines.append(f'and {len(found.problems) - _SHOWN} more')
  if wrong:
    return [*lines, f'{wrong} of {found.rows} rows do not follow']
  for entry in (found.record or {}).get('certified_accuracy', ()):
    low, high = entry['interval_95']
    lines.append(
      f'  certified accuracy at {entry["radius"]:g}: {100 * entry["share"]:.1f}'
      f' % [{math.floor(100 * low)}, {math.ceil(100 * high)}]'
    )
  return [*lines, 'every row follows']


def _page(record: Mapping[str, Any]) -> str:
  """JSON with the innermost lists and objects on a line each."""
  text = json.dumps(record, indent=2)
  innermost = re.compile(r'[\[{][^\[\]{}]*[\]}]')
  return innermost.sub(lambda part: ' '.join(part[0].split()), text) + '\n'


if __name__ == '__main__':
  sys.exit(main())
