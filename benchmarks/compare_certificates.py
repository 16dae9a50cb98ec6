"""Every input-dependent certificate on the same votes.

  python -m benchmarks.compare_certificates runs/digits-full \
    --config configs/digits.py:full --output benchmarks/results/comparison

Casts n0 + n votes of the estimator, of the classifier at each level, and at a
level by distance, on each image, once; they are kept in the working directory,
and an interrupted recording goes on. Then derives what each method would have
certified, and what it would have cost: with a fixed number of votes, and where
the radii of the table are decided adaptively. Writes a table, ratios to the
best level at each radius with what a dual certificate loses and where, the same
of what is decided adaptively, the radius of every image (.csv), and a figure.

One method may be published for the images of a run; the others are shown
beside it. docs/comparison.md says what each of them assumes and guarantees.
"""

import argparse
import pathlib
import runpy
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks import (
  compared_quorum,
  compared_ratios,
  compared_rules,
  compared_votes,
  machine,
)

RADII = (0.0, 0.25, 0.5, 0.75, 1.0)
#: Radii of the curves.
CURVE = np.linspace(0, 2, 201)


def load_config(text: str) -> Any:
  """The configuration of a file, with its argument behind a colon."""
  path, _, argument = text.partition(':')
  return runpy.run_path(path)['get_config'](argument)


def answers(found, alpha, radii, cascades=(), quorums=None):
  """Of each method, its answers to all images."""
  methods = compared_rules.methods(found, cascades)
  if quorums:
    methods.append(compared_quorum.method(quorums))
  return {
    method: [
      method.answer(found, recorded, alpha, tuple(radii))
      for recorded in found.images
    ]
    for method in methods
  }


def shares(found, answered, radii):
  """Certified accuracy at each radius; a radius of 0 counts as it is."""
  labels = [recorded.label for recorded in found.images]
  return compared_ratios.reached(answered, labels, radii).mean(axis=1)


def markdown(found, results, radii, alpha):
  """The table, and who is larger how often."""
  weight = found.seconds[0] / found.seconds[1]
  standard = found.n0 + found.n
  lines = [
    f'{len(found.images)} images, n0 = {found.n0}, n = {found.n:,}, alpha ='
    f' {alpha:g}. Costs in units of {standard:,} votes of the classifier; one'
    f' of the estimator counts {weight:.2f}.',
    '',
    '| method | kind | '
    + ' | '.join(f'r = {radius:g}' for radius in radii)
    + ' | mean radius | cost, fixed | cost, adaptive |',
    '|---' * (len(radii) + 5) + '|',
  ]

  def line(name, kind, accuracy, mean, fixed, adaptive):
    cells = [name, kind, *(f'{100 * share:.1f}' for share in accuracy)]
    return f'| {" | ".join([*cells, mean, fixed, adaptive])} |'

  envelope = np.zeros(len(radii))
  for method, answered in results.items():
    accuracy = shares(found, answered, radii)
    if method.name.startswith('level ') and method.name != 'level by distance':
      envelope = np.maximum(envelope, accuracy)
    right = [
      a.radius
      for a, recorded in zip(answered, found.images, strict=True)
      if a.predict == recorded.label
    ]
    fixed = np.mean([a.classifier + weight * a.estimator for a in answered])
    adaptive = [a.adaptive for a in answered]
    lines.append(
      line(
        method.name,
        method.kind,
        accuracy,
        f'{sum(right) / len(answered):.3f}',
        f'{fixed / standard:.2f}',
        '-'
        if adaptive[0] is None
        else f'{_cost(adaptive, weight) / standard:.3f}',
      )
    )
  levels = len(found.sigmas)
  lines.insert(
    4 + levels,
    line('envelope of levels', 'hindsight', envelope, '-', f'{levels}.00', '-'),
  )
  lines.append('')
  if found.level:
    at = [found.level.at(recorded.distance) for recorded in found.images]
    lines += [
      f'The level by distance is between {min(at):.3f} and {max(at):.3f}, at a'
      f' rate of {found.level.rate:g}.',
      '',
    ]
  return '\n'.join([*lines, *_row_by_row(results)])


def _cost(adaptive, weight):
  """Mean votes, those of the estimator weighted."""
  return np.mean([a.classifier + weight * a.estimator for a in adaptive])


def _row_by_row(results):
  """Agreement and cascade: who is larger how often, and what limits it."""
  one, other = (
    next(answers for m, answers in results.items() if m.name == name)
    for name in ('dual, `agreement`', 'cascade')
  )
  larger, smaller = [], []
  limits = [0, 0]  # the earlier levels, the estimator
  for ours, theirs in zip(one, other, strict=True):
    gain = ours.radius - theirs.radius
    if gain > 0:
      larger.append(gain)
      limits[0] += theirs.radius < theirs.last
    elif gain < 0:
      smaller.append(-gain)
      limits[1] += ours.radius < ours.last
  yield (
    'Of `agreement` and the cascade, the first has the larger radius on'
    f' {len(larger)} of {len(one)} images, by {np.mean(larger or [0]):.3f} on'
    f' average; on {limits[0]} of these the earlier levels limit the cascade.'
    f' The other has it on {len(smaller)}, by {np.mean(smaller or [0]):.3f};'
    f' on {limits[1]} of these the estimator limits `agreement`. On the rest'
    ' they are equal, or both abstain.'
  )


def draw(found, results, path):
  """Certified accuracy over the radius, one curve a method."""
  figure = Figure(figsize=(7.5, 4.5), layout='constrained')
  axes = figure.subplots()
  for method, answered in results.items():
    style = {'certificate': '-', 'hindsight': ':'}.get(method.kind, '--')
    single = method.name[-1].isdigit() and method.name.startswith('level')
    axes.plot(
      CURVE,
      100 * shares(found, answered, CURVE),
      style,
      label=method.name.replace('`', ''),
      color='0.7' if single else None,
      linewidth=1.0 if single else 1.6,
    )
  axes.set_xlabel('l2 radius')
  axes.set_ylabel('certified accuracy, %')
  axes.set_xlim(0, 2)
  axes.set_ylim(bottom=0)
  axes.legend(fontsize=8, ncols=2)
  figure.savefig(path, dpi=150)


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('workdir', type=pathlib.Path)
  parser.add_argument('--config', default='configs/digits.py')
  parser.add_argument('--images', type=int, default=None)
  parser.add_argument('--stride', type=int, default=1, help='of the images')
  parser.add_argument(
    '--without-distance',
    action='store_true',
    help='leaves out the level by distance, a stage of votes',
  )
  parser.add_argument(
    '--cascade',
    type=float,
    nargs='+',
    action='append',
    default=[],
    help='levels of one more cascade; may be given again',
  )
  parser.add_argument(
    '--quorum',
    type=float,
    nargs=2,
    action='append',
    default=[],
    metavar=('SIGMA', 'SHARE'),
    help='adds a cascade whose level answers with more than that share of the'
    ' votes; may be given again, for another level',
  )
  parser.add_argument('--split', help="in place of the configuration's")
  parser.add_argument('--n', type=int, default=10_000)
  parser.add_argument('--radii', type=float, nargs='+', default=RADII)
  parser.add_argument('--output', type=pathlib.Path)
  options = parser.parse_args()
  config = load_config(options.config)
  if options.split:
    with config.unlocked():
      config.certify.split = options.split
  for sigma in sum(options.cascade, []):
    if sigma not in config.sigmas:
      parser.error(f'--cascade: {sigma:g} is none of {tuple(config.sigmas)}')
  for sigma, share in options.quorum:
    if sigma not in config.sigmas or not 0.5 <= share < 1:
      parser.error(
        f'--quorum: {sigma:g} is to be one of {tuple(config.sigmas)}, and'
        f' {share:g} at least 0.5 and below 1'
      )
  found = compared_votes.record(
    config,
    options.workdir,
    options.images,
    options.n,
    stride=options.stride,
    by_distance=not options.without_distance,
  )
  alpha = config.certify.alpha
  results = answers(
    found, alpha, options.radii, options.cascade, dict(options.quorum)
  )
  table = markdown(found, results, options.radii, alpha)
  table += '\n\n' + compared_ratios.markdown(
    found, results, options.radii, alpha
  )
  table += '\n\n' + compared_ratios.adaptively(found, results, options.radii)
  table += f'\n\nMachine: {machine.in_short()}'
  print(table)
  if options.output:
    options.output.with_suffix('.md').write_text(table + '\n')
    options.output.with_suffix('.csv').write_text(
      compared_ratios.table_of_radii(found, results)
    )
    draw(found, results, options.output.with_suffix('.png'))


if __name__ == '__main__':
  main()
