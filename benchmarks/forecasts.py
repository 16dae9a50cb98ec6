"""Forecasts from a few recorded votes, beside what all of them certify.

  python -m benchmarks.forecasts runs/digits --config configs/digits.py \
    --images 100 --votes 200 1000

The votes are those that `compare_certificates` recorded. Of the estimation
votes of each image some are taken, and what `dualrs_jax.forecast` says from
them is compared with what all of them certify: on the same images, so that no
difference comes of these. Several parts of the votes are averaged.
"""

import argparse
import pathlib

import numpy as np

from benchmarks import (
  compare_certificates,
  compared_ratios,
  compared_rules,
  compared_votes,
  machine,
)
from dualrs_jax.evaluation import forecast

_PARTS = 8


def few(found, first, votes):
  """Votes of each image, from one on."""

  def counts(row, width):
    cast = row[found.n0 + first : found.n0 + first + votes]
    return np.bincount(cast, minlength=width + 1)[:width]

  levels = len(found.sigmas)
  return forecast.Votes(
    np.array([image.label for image in found.images]),
    votes,
    np.array([counts(image.votes[0], levels) for image in found.images]),
    np.array(
      [
        [counts(row, found.classes) for row in image.votes[1 : 1 + levels]]
        for image in found.images
      ]
    ),
  )


def forecasts(found, votes, alpha, radii):
  """Shares by name, in percent, averaged over parts of the votes."""
  parts = [
    forecast.forecasts(
      few(found, part * (found.n // _PARTS), votes),
      found.sigmas,
      found.estimator_sigma,
      n0=found.n0,
      n=found.n,
      alpha=alpha,
    )
    for part in range(_PARTS)
  ]
  return {
    of[0].name: 100
    * np.mean([forecast.reached(one.radius, radii).mean(0) for one in of], 0)
    for of in zip(*parts, strict=True)
  }


def certified(found, alpha, radii):
  """Shares by the names of forecasts, in percent."""
  labels = [image.label for image in found.images]
  names = {
    f'level {sigma:g}': f'single-{sigma:g}' for sigma in found.sigmas
  } | {
    f'dual, `{rule}`': f'dual-{rule}'
    for rule in ('paper', 'minimum', 'agreement')
  }
  names['cascade'] = 'cascade'
  return {
    names[method.name]: 100
    * compared_ratios.reached(
      [
        method.answer(found, image, alpha, tuple(radii))
        for image in found.images
      ],
      labels,
      radii,
    ).mean(1)
    for method in compared_rules.methods(found)
    if method.name in names
  }


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('workdir', type=pathlib.Path)
  parser.add_argument('--config', default='configs/digits.py')
  parser.add_argument('--images', type=int, default=None)
  parser.add_argument('--split', help="in place of the configuration's")
  parser.add_argument('--votes', type=int, nargs='+', default=(200, 1000))
  parser.add_argument(
    '--radii', type=float, nargs='+', default=compare_certificates.RADII
  )
  options = parser.parse_args()
  config = compare_certificates.load_config(options.config)
  if options.split:
    with config.unlocked():
      config.certify.split = options.split
  found = compared_votes.record(config, options.workdir, options.images, 10_000)
  alpha, radii = config.certify.alpha, options.radii
  true = certified(found, alpha, radii)
  print(
    '| %, certified, and forecast less that | votes | '
    + ' | '.join(f'r = {radius:g}' for radius in radii)
    + ' |'
  )
  print('|---' * (len(radii) + 2) + '|')
  expected = {
    votes: forecasts(found, votes, alpha, radii) for votes in options.votes
  }
  for name, shares in true.items():
    cells = ' | '.join(f'{share:.1f}' for share in shares)
    print(f'| {name} | {found.n:,} | {cells} |')
    for votes, of in expected.items():
      cells = ' | '.join(f'{value:+.1f}' for value in of[name] - shares)
      print(f'| | {votes:,} | {cells} |')
  print(f'\n{len(found.images)} images. Machine: {machine.in_short()}')


if __name__ == '__main__':
  main()
