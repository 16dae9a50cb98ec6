"""Cascades whose largest level has a quorum, forecast from few votes.

  python -m benchmarks.quorums runs/cifar10-small \
    --config configs/cifar10.py:small --quorums .5 .55 .6 .65 .7 .8

Casts votes of the classifier on validation images, at each level, and keeps
them in the working directory. The table has what a cascade is likely to have of
the best single level at each radius, where its largest level answers only with
more than a share of the votes: see `compared_quorum`. It is no certificate, and
a quorum is to be chosen by it before a test image is touched.
"""

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from benchmarks import compare_certificates, compared_quorum, machine
from dualrs_jax import smoothing
from dualrs_jax.base import Counts
from dualrs_jax.evaluation import forecast, forecast_votes, run_inputs

_QUORUMS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.8)


def cast(
  config: Any, workdir: pathlib.Path, images: int, votes: int
) -> forecast.Votes:
  """Casts the votes, or reads them."""
  path = workdir / f'quorum_votes-{images}-{votes}.npz'
  if path.exists():
    found = np.load(path)
    return forecast.Votes(found['labels'], votes, None, found['classifier'])
  with config.unlocked():
    config.certify.split = 'validation'
  source = forecast_votes.spread(run_inputs.load_source(config), images)
  networks: Any = run_inputs.load_networks(config, workdir, source)
  counts = [
    forecast_votes.count(networks[1], source, sigma, votes, chunk_size=votes)
    for sigma in config.sigmas
  ]
  labels, stacked = np.asarray(source.labels), np.stack(counts, 1)
  np.savez(path, labels=labels, classifier=stacked)
  return forecast.Votes(labels, votes, None, stacked)


def shares(
  config: Any, votes: forecast.Votes, quorums: Sequence[float]
) -> tuple[
  Float[np.ndarray, 'levels radii'], Float[np.ndarray, 'quorums radii']
]:
  """Shares that single levels, and cascades under quorums, may certify."""
  options, sigmas = config.certify, tuple(config.sigmas)
  statistics = {'n': options.n, 'alpha': options.alpha}
  rng = np.random.default_rng(0)
  each = [
    forecast.draw(
      votes.classifier[:, k], votes.cast, n0=options.n0, n=options.n, rng=rng
    )
    for k in range(len(sigmas))
  ]
  together = Counts(*(np.stack(part, -2) for part in zip(*each, strict=True)))

  def share(predict, radius):
    right = np.where(predict == votes.labels, radius, 0.0)
    return forecast.reached(right, options.radii).mean(0)

  singles = [
    smoothing.certificate_of_counts(counts, sigma, **statistics)
    for counts, sigma in zip(each, sigmas, strict=True)
  ]
  cascades = [
    compared_quorum.certify(
      together, sigmas, {max(sigmas): quorum}, n0=options.n0, **statistics
    )
    for quorum in quorums
  ]
  return (
    np.stack([share(one.prediction, one.radius) for one in singles]),
    np.stack([share(one.predict, one.radius) for one in cascades]),
  )


def markdown(
  config: Any, votes: forecast.Votes, quorums: Sequence[float]
) -> str:
  """The table."""
  radii = config.certify.radii
  levels, cascades = shares(config, votes, quorums)
  envelope = levels.max(0)
  if not envelope.all():
    none = radii[int(np.argmin(envelope))]
    return f'No level certifies an image at r = {none:g}: there are no ratios.'
  head = ' | '.join(f'r = {radius:g}' for radius in radii)
  lines = [
    f'| ratio to the best level | {head} | mean |',
    '|---' * (len(radii) + 2) + '|',
  ]
  names = [f'level {sigma:g}' for sigma in config.sigmas]
  names += [f'cascade, quorum {quorum:g}' for quorum in quorums]
  for name, row in zip(names, [*levels, *cascades], strict=True):
    ratio = row / envelope
    cells = ' | '.join(f'{value:.3f}' for value in ratio)
    lines.append(f'| {name} | {cells} | {ratio.mean():.3f} |')
  best = ', '.join(f'{100 * share:.1f}' for share in envelope)
  return '\n'.join(
    [
      *lines,
      '',
      f'The best level certifies {best}%. {len(votes.labels)} validation'
      f' images, {votes.cast} votes at each level.',
    ]
  )


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('workdir', type=pathlib.Path)
  parser.add_argument('--config', default='configs/cifar10.py:small')
  parser.add_argument('--quorums', type=float, nargs='+', default=_QUORUMS)
  parser.add_argument('--images', type=int, default=500)
  parser.add_argument('--votes', type=int, default=200)
  options = parser.parse_args()
  config = compare_certificates.load_config(options.config)
  votes = cast(config, options.workdir, options.images, options.votes)
  print(markdown(config, votes, options.quorums))
  print(f'\nMachine: {machine.in_short()}')


if __name__ == '__main__':
  main()
