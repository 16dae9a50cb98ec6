"""Draws certified accuracy over the radius: of the README and the results.

python docs/images/curves.py

The radii are those of tables with one line an image and one column a method,
-1 where it is not right, in benchmarks/results. That of the README is made of
the rows of a run:

python docs/images/curves.py runs/digits-full
"""

import csv
import pathlib
import sys
from typing import NamedTuple

import numpy as np
from tones import LIGHT as LIGHT
from tones import Tone, save

IMAGES = pathlib.Path(__file__).parent
TABLES = IMAGES.parents[1] / 'benchmarks' / 'results'
DIGITS = TABLES / 'certified-digits.csv'


class Curve(NamedTuple):
  """A method in a picture.

  Attributes:
    column: Its column in the table.
    name: How it is called in the picture; the column by default, '' for not.
    color: The number of a colour among those of the levels; ink by default.
    line: Its style.
    back: Whether it stands back, thin and grey.
  """

  column: str
  name: str | None = None
  color: int | None = None
  line: str = '-'
  back: bool = False


class Picture(NamedTuple):
  """A picture: a table, and what is shown of it.

  Attributes:
    table: The file.
    curves: Those above all others come last.
    radius: The largest radius.
  """

  table: pathlib.Path
  curves: tuple[Curve, ...]
  radius: float


PICTURES = {
  'certified_accuracy': Picture(
    DIGITS,
    (
      Curve('single-0.25', 'σ = 0.25', 0),
      Curve('single-0.5', 'σ = 0.5', 1),
      Curve('single-1', 'σ = 1', 2),
      Curve('dual', 'dual, agreement'),
    ),
    1.5,
  ),
  'comparison': Picture(
    TABLES / 'comparison-digits.csv',
    (
      Curve('level 0.25', 'level 0.25, 0.5, 1', back=True),
      Curve('level 0.5', '', back=True),
      Curve('level 1', '', back=True),
      Curve('best level per image', back=True, line=':'),
      Curve('level by distance', color=2, line='--'),
      Curve('cascade as published', color=1, line='--'),
      Curve('cascade', color=1),
      Curve('dual `paper`', 'dual, paper', 0, '--'),
      Curve('dual `agreement`', 'dual, agreement', 0),
    ),
    1.6,
  ),
  'cifar10': Picture(
    TABLES / 'comparison-cifar10-small.csv',
    (
      Curve('level 0.25', 'σ = 0.25', 0, '--'),
      Curve('level 0.5', 'σ = 0.5', 1, '--'),
      Curve('best level per image', back=True, line=':'),
      Curve('dual `fallback`', 'dual, fallback'),
    ),
    1.7,
  ),
  'cifar10_three': Picture(
    TABLES / 'comparison-cifar10-fallback.csv',
    (
      Curve('level 0.25', 'level 0.25, 0.5, 1', back=True),
      Curve('level 0.5', '', back=True),
      Curve('level 1', '', back=True),
      Curve('best level per image', back=True, line=':'),
      Curve('cascade of 0.25 0.5', 'cascade of 0.25 and 0.5', 2),
      Curve(
        'cascade with 0.7 of the votes at 1', 'cascade, quorum 0.7 at 1', 0
      ),
      Curve('dual `fallback`', 'dual, fallback', 1),
    ),
    2.5,
  ),
}


def read(table: pathlib.Path) -> dict[str, np.ndarray]:
  """The columns of a table of radii."""
  with table.open(newline='') as opened:
    names, *rows = csv.reader(opened)
  return dict(zip(names, np.array(rows, float).T, strict=True))


def draw(tone: Tone, picture: Picture):
  """Draws a curve for each method."""
  from matplotlib.figure import Figure

  radii = read(picture.table)
  figure = Figure(figsize=(7.2, 4.2), layout='constrained')
  axes = figure.subplots()
  grid = np.linspace(0, picture.radius, 601)
  for curve in picture.curves:
    color = tone.ink if curve.color is None else tone.levels[curve.color]
    share = (radii[curve.column] >= grid[:, None]).mean(1)
    axes.plot(
      grid[share > 0],
      100 * share[share > 0],
      curve.line,
      color=tone.quiet if curve.back else color,
      alpha=0.6 if curve.back else 1,
      linewidth=1.0 if curve.back else 2.0,
      label=curve.column if curve.name is None else curve.name or '_',
    )
  axes.set_xlim(0, picture.radius)
  axes.set_ylim(bottom=0)
  axes.set_xlabel('certified l2 radius r', color=tone.ink)
  axes.set_ylabel('right and certified at r, %', color=tone.ink)
  axes.tick_params(colors=tone.quiet)
  axes.grid(color=tone.quiet, alpha=0.25, linewidth=0.6)
  for side, spine in axes.spines.items():
    spine.set_visible(side in ('left', 'bottom'))
    spine.set_color(tone.quiet)
  axes.legend(frameon=False, labelcolor=tone.ink, fontsize=9, handlelength=2.4)
  return figure


def tabulate(workdir: pathlib.Path, table: pathlib.Path) -> None:
  """Writes the table of the README from the rows of a run."""
  from dualrs_jax.evaluation import run_rows

  runs = run_rows.load_runs(workdir)
  dual = runs['dual-agreement-fixed']
  shown = {'dual': dual} | {
    f'single-{sigma:g}': runs[f'single-{sigma:g}-fixed']
    for sigma in dual.settings['sigmas']
  }
  of = {
    name: {row.idx: row.radius if row.correct else -1 for row in run.rows}
    for name, run in shown.items()
  }
  lines = [','.join(of)]
  lines += [','.join(f'{c[idx]:g}' for c in of.values()) for idx in of['dual']]
  table.write_text('\n'.join(lines) + '\n')


if __name__ == '__main__':
  for folder in sys.argv[1:]:
    tabulate(pathlib.Path(folder), DIGITS)
  for stem, shown in PICTURES.items():
    path = IMAGES / f'{stem}.svg'
    print(*save(lambda tone, of=shown: draw(tone, of), path), sep='\n')
