"""The certificates of a run in one table, and their ratios to the best level.

  python -m benchmarks.certified_ratios runs/cifar10-small dual-fallback

Of the certifications in the folder of a run that have the same images, numbers
of votes and radii: what is right and certified at each radius, and ratios to
the best single level, with paired bootstrap intervals. That best level is taken
twice: of the levels of the certificate's own classifier, as the source paper
does, and of all plain smoothing there, of the classifier before it was
fine-tuned and of those that were trained at one level, too. What has not all
images yet is left out, and named.

Adaptive certification decides the radii that were asked for alone: these are
the columns.
"""

import argparse
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks import compared_ratios, machine
from dualrs_jax.evaluation import accuracy_table, run_rows
from dualrs_jax.evaluation.run_rows import Run


class Certified(NamedTuple):
  """What is compared.

  Attributes:
    run: A certification.
    singles: Plain smoothing, of its classifier at its levels and of others.
    others: Further certificates of its classifier.
    lacking: Labels of those that lack images of it, and are left out.
  """

  run: Run
  singles: list[Run]
  others: list[Run]
  lacking: list[str]


def load(workdir: pathlib.Path, label: str) -> Certified:
  """Reads a certification, and what it can be compared with.

  Args:
    workdir: The folder of a run.
    label: The certification by its name.

  Raises:
    SystemExit: It is not there, or is compared with nothing.
  """
  runs = run_rows.load_runs(workdir, [label])
  if label not in runs:
    raise SystemExit(f'{label} is none of {", ".join(runs)} in {workdir}')
  run = runs.pop(label)
  images = {row.idx for row in run.rows}
  lacking = [
    other.label
    for other in runs.values()
    if (accuracy_table.comparable(run, other) or _is_alike(run, other))
    and images - {row.idx for row in other.rows}
  ]
  there = [other for other in runs.values() if other.label not in lacking]
  singles = [other for other in there if accuracy_table.comparable(run, other)]
  if not any(accuracy_table.is_part(run, single) for single in singles):
    raise SystemExit(
      f'{workdir} holds no plain smoothing of all images of {label}, of its'
      ' classifier and levels'
    )
  others = [other for other in there if _is_alike(run, other)]
  return Certified(run, singles, others, lacking)


def _is_alike(run: Run, other: Run) -> bool:
  """Whether another certificate is of the same classifier and kind of votes."""
  names = ('data', 'split', 'n0', 'n', 'alpha', 'goal', 'noise', 'task')
  return (
    other.settings['smoothing'] != 'single'
    and all(
      run.settings.get(name) == other.settings.get(name)
      for name in (*names, 'num_classes', 'radii')
    )
    and run.settings['weights']['classifier']
    == other.settings['weights']['classifier']
  )


def markdown(certified: Certified, radii: Sequence[float]) -> str:
  """The tables, in Markdown."""
  run, singles, others, lacking = certified
  images = [row.idx for row in run.rows]
  hits = {
    one.label: accuracy_table.hits(one, radii, images)
    for one in (*singles, *others, run)
  }
  own = [s.label for s in singles if accuracy_table.is_part(run, s)]
  levels = np.stack([hits[label] for label in own])
  every = np.stack([hits[single.label] for single in singles])
  lines = [
    f'{len(images)} images, n0 = {run.settings["n0"]},'
    f' n = {run.settings["n"]:,}, alpha = {run.settings["alpha"]:g}.',
    '',
    *compared_ratios.head('right and certified, %', radii),
  ]
  lines += [
    compared_ratios.percent(name, shares)
    for name, shares in {
      **{label: of.mean(-1) for label, of in hits.items()},
      'best level at each radius': levels.mean(-1).max(0),
      'the same, of all networks': every.mean(-1).max(0),
      'best level of each image': levels.any(0).mean(-1),
    }.items()
  ]
  compared = {one.label: hits[one.label] for one in (run, *others)}
  compared |= {label: hits[label] for label in own}
  compared['best level of each image'] = np.any(levels, axis=0)
  for name, of in (
    ('ratio to the best level', levels),
    ('ratio to the best of all networks', every),
  ):
    covered = of.any(-1).any(0)
    lines += ['']
    if covered.all():
      lines += compared_ratios.rows(name, compared, of, radii)
    else:
      none = radii[int(np.argmin(covered))]
      lines += [f'{name}: nothing certifies an image at r = {none:g}.']
  if lacking:
    lines += ['', f'Left out, for want of images: {", ".join(lacking)}.']
  return '\n'.join(lines)


def asked(run: Run, radii: Sequence[float]) -> Sequence[float]:
  """The radii of the table: those that were decided, by default.

  Raises:
    SystemExit: No radius, or one that was not decided.
  """
  decided = run.settings['radii']
  if radii and decided and not {*radii} <= {*decided}:
    raise SystemExit(f'{run.label} decided r = {decided}, and no other')
  if not radii and not decided:
    raise SystemExit(f'name --radii: {run.label} has all of them')
  return radii or decided


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('workdir', type=pathlib.Path)
  parser.add_argument('label', help='of the certification, such as dual-paper')
  parser.add_argument('--radii', type=float, nargs='+', default=())
  parser.add_argument('--output', type=pathlib.Path)
  options = parser.parse_args()
  found = load(options.workdir, options.label)
  text = markdown(found, asked(found.run, options.radii))
  text += f'\n\nMachine: {machine.in_short()}'
  print(text)
  if options.output:
    options.output.write_text(text + '\n')


if __name__ == '__main__':
  main()
