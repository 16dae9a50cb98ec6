"""The certificates of a run in one table, and their ratios to the best level.

  python -m benchmarks.certified_ratios runs/cifar10-small dual-fallback \
    --radii 0 .25 .5 .75 1 1.25 1.5

Of every certification in the folder of a run, on the images that all of them
hold: what is right and certified at each radius, and ratios to the best single
level, with paired bootstrap intervals. That best level is taken twice, of the
levels of the certificate's own classifier, as the source paper does, and of all
plain smoothing there, of the classifier before it was fine-tuned and of those
that were trained at one level, too.

Adaptive certification decides the radii that were asked for alone: name these.
"""

import argparse
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from benchmarks import compared_ratios, machine
from dualrs_jax.evaluation import accuracy_table, run_rows
from dualrs_jax.evaluation.run_rows import Run


def load(
  workdir: pathlib.Path, label: str
) -> tuple[Run, list[Run], list[Run], list[int]]:
  """A certification, plain smoothing it can be compared with, and the rest.

  Args:
    workdir: The folder of a run.
    label: The certification by its name.

  Returns:
    It; plain smoothing; other certificates of the same votes; and the images
    that all of these hold, by their place in the data set.

  Raises:
    SystemExit: It is not there, or is compared with nothing.
  """
  runs = run_rows.load_runs(workdir, [label])
  if label not in runs:
    raise SystemExit(f'{label} is none of {", ".join(runs)} in {workdir}')
  run = runs.pop(label)
  singles = [r for r in runs.values() if accuracy_table.comparable(run, r)]
  if not any(accuracy_table.is_part(run, single) for single in singles):
    raise SystemExit(f'{workdir} holds no plain smoothing to compare with')
  others = [r for r in runs.values() if _is_alike(run, r)]
  images = set.intersection(
    *({row.idx for row in one.rows} for one in (run, *singles, *others))
  )
  return run, singles, others, sorted(images)


def _is_alike(run: Run, other: Run) -> bool:
  """Whether another certificate is of the same images and numbers of votes."""
  names = ('data', 'split', 'n0', 'n', 'alpha', 'goal', 'noise', 'task')
  return other.settings['smoothing'] != 'single' and all(
    run.settings.get(name) == other.settings.get(name) for name in names
  )


def markdown(
  run: Run,
  singles: Sequence[Run],
  others: Sequence[Run],
  images: Sequence[int],
  radii: Sequence[float],
) -> str:
  """The tables, in Markdown.

  Args:
    run: What the ratios are of.
    singles: Plain smoothing, of which some is of its classifier.
    others: Further certificates.
    images: Their place in the data set.
    radii: The columns.
  """
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
    _head('right and certified, %', radii, []),
    *(_shares(label, of.mean(-1)) for label, of in hits.items()),
    _shares('best level at each radius', levels.mean(-1).max(0)),
    _shares('the same, of all networks', every.mean(-1).max(0)),
    _shares('best level of each image', levels.any(0).mean(-1)),
  ]
  compared = {run.label: hits[run.label]}
  compared |= {other.label: hits[other.label] for other in others}
  compared |= {label: hits[label] for label in own}
  compared['best level of each image'] = levels.any(0)
  for name, envelope in (
    ('ratio to the best level', levels),
    ('ratio to the best of all networks', every),
  ):
    lines += ['', *_ratios(name, compared, envelope, radii)]
  return '\n'.join(lines)


def _ratios(
  name: str,
  compared: Mapping[str, Bool[np.ndarray, 'radii images']],
  levels: Bool[np.ndarray, 'levels radii images'],
  radii: Sequence[float],
) -> list[str]:
  covered = levels.any(-1).any(0)
  if not covered.all():
    none = radii[int(np.argmin(covered))]
    return [f'{name}: nothing certifies an image at r = {none:g}.']
  found = compared_ratios.ratios(np.stack([*compared.values()]), levels)
  lines = [_head(name, radii, ['mean', 'less the best constant'])]
  for label, of in zip(compared, found, strict=True):
    cells = [compared_ratios.cell(one) for one in [*of.at, of.mean]]
    cells.append(compared_ratios.cell(of.ahead, digits=3, sign='+'))
    lines.append(f'| {label} | {" | ".join(cells)} |')
  return lines


def _head(name: str, radii: Sequence[float], more: list[str]) -> str:
  cells = [name, *(f'r = {radius:g}' for radius in radii), *more]
  return f'| {" | ".join(cells)} |\n|{"---|" * len(cells)}'


def _shares(name: str, shares: Float[np.ndarray, ' radii']) -> str:
  return f'| {name} | ' + ' | '.join(f'{100 * s:.1f}' for s in shares) + ' |'


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('workdir', type=pathlib.Path)
  parser.add_argument('label', help='of the certification, such as dual-paper')
  parser.add_argument('--radii', type=float, nargs='+', required=True)
  parser.add_argument('--output', type=pathlib.Path)
  options = parser.parse_args()
  found = load(options.workdir, options.label)
  text = markdown(*found, options.radii)
  text += f'\n\nMachine: {machine.in_short()}'
  print(text)
  if options.output:
    options.output.write_text(text + '\n')


if __name__ == '__main__':
  main()
