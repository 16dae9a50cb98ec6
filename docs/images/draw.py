"""Draws the picture of the README from the rows of a run.

python docs/images/draw.py runs/digits-full
"""

import argparse
import pathlib

from dualrs_jax.evaluation import figures, run_rows, style

PICTURE = pathlib.Path(__file__).with_name('certified_accuracy.png')


def draw(
  workdir: pathlib.Path, label: str, picture: pathlib.Path
) -> pathlib.Path:
  """Draws a dual run beside plain smoothing of the same classifier."""
  runs = run_rows.load_runs(workdir)
  run = runs[label]
  singles = [
    runs[f'single-{sigma:g}-fixed'] for sigma in run.settings['sigmas']
  ]
  return style.save(figures.certified_accuracy(run, singles), picture)


if __name__ == '__main__':
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('workdir', type=pathlib.Path)
  parser.add_argument('--label', default='dual-agreement-fixed')
  arguments = parser.parse_args()
  print(draw(arguments.workdir, arguments.label, PICTURE))
