"""Says which certificate to ask for, before a test image has been touched.

    python -m dualrs_jax.forecast --config configs/digits.py
    --images=200 --votes=1000                fewer images, more votes
    --config.certify.smoothing=cascade       where no estimator was trained

Casts a few votes on validation images with the networks that `train.py` left,
and prints what certificates of `n` votes would be expected to be: at every
single level, of every cascade of levels, of the dual under every rule. No
number that it prints is a certificate.
"""

import pathlib
import textwrap
from typing import Any

import numpy as np
from absl import flags

from dualrs_jax.evaluation import (
  forecast,
  forecast_votes,
  run_inputs,
  smoothed_networks,
  summary,
)
from dualrs_jax.evaluation.forecast import Forecast, Votes
from dualrs_jax.programs import command_line
from dualrs_jax.runtime import bars, cluster, output, processes

#: Of a line; options of a program are shorter, and stay in one.
_WIDTH = 86

_IMAGES = flags.DEFINE_integer('images', 500, 'Validation images.')
_VOTES = flags.DEFINE_integer('votes', 200, 'Votes on each, at each level.')


def run() -> None:
  """Runs the program with the arguments of the command line."""
  own = [_IMAGES.name, _VOTES.name]
  command_line.run(main, find_place, doc=__doc__, own=own)


def find_place(config: Any, workdir: pathlib.Path):
  """One process does it."""
  del config, workdir
  return cluster.locate


def main(config: Any, workdir: pathlib.Path, place: processes.Place) -> None:
  """Casts the votes, prints the table."""
  if place.count > 1:
    raise ValueError('a forecast takes one process')
  for name, value in (('images', _IMAGES.value), ('votes', _VOTES.value)):
    if value < 2:
      raise ValueError(f'--{name} must be at least 2, not {value}')
  if not config.certify.radii:
    raise ValueError('certify.radii must name the radii to compare at')
  votes = cast(config, workdir, _IMAGES.value, _VOTES.value)
  output.say(text(config, votes))


def cast(config: Any, workdir: pathlib.Path, images: int, votes: int) -> Votes:
  """Casts votes on validation images at equal distances."""
  config = config.copy_and_resolve_references()
  config.certify.split = 'validation'
  source = forecast_votes.spread(run_inputs.load_source(config), images)
  networks: Any = run_inputs.load_networks(config, workdir, source)
  estimator, classifier = networks
  experts = smoothed_networks.experts(classifier)
  stages = [
    (experts[level % len(experts)], sigma)
    for level, sigma in enumerate(config.sigmas)
  ]
  if estimator is not None:
    stages.append((estimator, config.estimator_sigma))
  total = len(stages) * len(source)
  with bars.bar('forecast', unit='image', shown=True, total=total) as bar:
    counts = [
      forecast_votes.count(
        network,
        source,
        sigma,
        votes,
        chunk_size=config.certify.chunk_size or votes,
        done=bar.update,
      )
      for network, sigma in stages
    ]
  levels = len(config.sigmas)
  return Votes(
    np.asarray(source.labels),
    None if estimator is None else counts[levels],
    np.stack(counts[:levels], 1),
  )


def text(config: Any, votes: Votes) -> str:
  """What the votes let expect, for a terminal."""
  options, radii = config.certify, config.certify.radii
  found = forecast.forecasts(
    votes,
    config.sigmas,
    config.estimator_sigma,
    n=options.n,
    alpha=options.alpha,
  )
  levels = forecast.singles(found)
  best = Forecast('best level per image', {}, levels.max(0))
  table = [['expected, %', *(f'r = {r:g}' for r in radii), 'mean ratio']]
  for row in [*found, best]:
    shares = forecast.reached(row.radius, radii).mean(0)
    ratio = forecast.mean_ratio(row, levels, radii)
    cells = [f'{100 * share:.1f}' for share in shares]
    table.append([row.name, *cells, f'{ratio:.3f}'])
  images, cast_votes = len(votes.labels), votes.classifier[0, 0].sum()
  facts = [
    f'{images} validation images, {cast_votes} votes on each at each level:'
    f' what n = {options.n:,} votes would be expected to certify, and no'
    ' certificate',
    *_selected(config, votes, found, levels),
    *_advice(config, found, levels, radii),
  ]
  notes = [
    'The mean ratio is to the best single level at each radius, over the radii'
    f' that one reaches; a share of {images} images has a standard error of up'
    f' to {50 / np.sqrt(images):.1f} points. The best level per image is chosen'
    ' by the label: no classifier does that.',
    'One certificate may be published for test images. Choose it here.',
  ]
  wrapped = [line for fact in facts for line in textwrap.wrap(fact, _WIDTH)]
  return summary.to_text(
    summary.Summary(f'{config.name}: forecast', wrapped, table, notes)
  )


def _selected(config, votes, found, levels):
  """What the estimator does, and what its dual loses."""
  if votes.estimator is None:
    return
  level = votes.estimator.argmax(-1)
  shares = np.bincount(level, minlength=len(config.sigmas)) / len(level)
  yield 'noise level selected: ' + ', '.join(
    f'{sigma:g} for {share:.0%}'
    for sigma, share in zip(config.sigmas, shares, strict=True)
  )
  [dual] = [f for f in found if f.name == 'dual-agreement']
  radii = config.certify.radii
  certain = levels[level, np.arange(len(level))]
  best, selected, ours = (
    forecast.reached(radius, radii)
    for radius in (levels.max(0), certain, dual.radius)
  )
  yield (
    'of what the best level per image would certify, dual-agreement loses'
    f' {100 * (best & ~selected).mean():.1f} points to the level that is'
    f' selected, and {100 * (selected & ~ours).mean():.1f} to certainty about'
    ' it, on average over the radii'
  )


def _advice(config, found, levels, radii):
  """The forecast with the largest mean ratio, and how to ask for it."""
  best = max(found, key=lambda f: forecast.mean_ratio(f, levels, radii))
  by, error = forecast.ahead(best, levels, radii)
  if np.isnan(by):
    yield 'no level certifies an image at these radii'
    return
  usual = {'smoothing': 'dual', 'certificate': 'agreement', 'levels': ()}
  asked = ' '.join(
    f"--config.certify.{name}='{value}'"
    for name, value in best.options.items()
    if value != usual[name]
  )
  yield (
    f'largest mean ratio: {best.name}, ahead of the best single level by'
    f' {by:.3f} (standard error {error:.3f}); certify.py does it'
    f' {"with" if asked else "as it is configured"}'
  )
  if asked:
    yield asked
