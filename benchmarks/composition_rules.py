"""The three composition rules on the same votes.

  python -m benchmarks.composition_rules runs/digits-full

Every row of a dual run holds its vote counts, so the certificate of any rule
can be derived from it. The table shows certified accuracy under each rule, and
how many rows `agreement` certifies to a smaller radius than `paper`: none, by
docs/theory.md, proposition 1. A rule other than that of the run may only be
compared, not published for the same rows: choosing one after seeing the votes
spends alpha twice.
"""

import argparse

import numpy as np

from dualrs_jax import folders
from dualrs_jax.evaluation import accuracy_table, records, run_plans, run_rows


def under_rule(run, rule):
  """The run, as if it had been certified by another rule."""
  settings = {**run.settings, 'certificate': rule}
  rows = [records.recompute(row, settings) for row in run.rows]
  return run_rows.Run(rule, settings, rows)


def markdown(run, radii):
  # One that falls back takes votes at levels which these do not ask.
  rules = [
    name for name, rule in run_plans.RULES.items() if not rule.falls_back
  ]
  runs = {rule: under_rule(run, rule) for rule in rules}
  radius = {
    rule: np.array([row.radius for row in other.rows])
    for rule, other in runs.items()
  }
  lines = [
    f'| rule, {len(run.rows)} images | '
    + ' | '.join(f'r = {r:g}' for r in radii)
    + ' | rows below `paper` |',
    '|---' * (len(radii) + 2) + '|',
  ]
  for rule in ('paper', 'minimum', 'agreement'):
    shares = accuracy_table.hits(runs[rule], radii).mean(axis=1)
    cells = [f'{100 * share:.1f}' for share in shares]
    below = int((radius[rule] < radius['paper']).sum())
    lines.append(f'| `{rule}` | {" | ".join(cells)} | {below} |')
  larger = (radius['agreement'] > radius['paper']).mean()
  sampled = np.mean([len(row.classifier_estimation) for row in run.rows])
  lines += [
    '',
    f'`agreement` gives the larger radius on {100 * larger:.1f}% of the images.'
    f' It sampled {sampled:.2f} of {len(run.settings["sigmas"])} levels of the'
    ' classifier on average; the others could not have enlarged the radius.',
  ]
  return '\n'.join(lines)


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('workdir', type=folders.expand)
  parser.add_argument('--label', default='dual-agreement-fixed')
  parser.add_argument(
    '--radii', type=float, nargs='+', default=[0.0, 0.25, 0.5, 0.75, 1.0]
  )
  arguments = parser.parse_args()
  run = run_rows.load_runs(arguments.workdir)[arguments.label]
  print(markdown(run, arguments.radii))


if __name__ == '__main__':
  main()
