"""Says which certificate to ask for, before a test image has been touched.

    python -m dualrs_jax.forecast --config configs/digits.py
    --images=200 --votes=1000                fewer images, more votes
    --config.certify.smoothing=cascade       where no estimator was trained

Casts a few votes on validation images with the networks that `train.py` left,
and prints what certificates are likely to be: at every single level, of
cascades of levels, of the dual under every rule. They are forecast for a fixed
number of votes under gaussian noise. No number that it prints is a certificate.
"""

import pathlib
import textwrap
from typing import Any

import numpy as np
from absl import flags

from dualrs_jax.evaluation import (
  certify_dataset,
  forecast,
  forecast_votes,
  refused,
  run_inputs,
  run_plans,
  smoothed_networks,
  summary,
)
from dualrs_jax.evaluation.forecast import Forecast, Votes
from dualrs_jax.programs import command_line
from dualrs_jax.runtime import bars, cluster, output, processes

#: Of a line; options of a program are shorter, and stay in one.
_WIDTH = 86

_IMAGES = flags.DEFINE_integer('images', 500, 'Validation images.')
_VOTES = flags.DEFINE_integer('votes', 500, 'Votes on each, at each level.')


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
  refused.check(config, place)
  prepared = certify_dataset.prepare(_asked(config), place)
  votes = cast(config, workdir, prepared, _IMAGES.value, _VOTES.value)
  output.say(text(config, prepared.runs[0], votes))


def _asked(config: Any) -> Any:
  """The certification whose statistics and networks are those of all."""
  asked = config.copy_and_resolve_references()
  options = asked.certify
  options.update(
    task='certify',
    smoothing='dual' if options.smoothing == 'dual' else 'cascade',
    protocol='paper' if options.protocol == 'paper' else 'fixed',
    noise='gaussian',
    levels=(),
    split='validation',
    start=0,
    stride=1,
    count=0,
    spread='images',
  )
  return asked


def cast(
  config: Any,
  workdir: pathlib.Path,
  prepared: certify_dataset.Prepared,
  images: int,
  votes: int,
) -> Votes:
  """Casts votes on validation images at equal distances.

  Args:
    config: The configuration.
    workdir: Where its training left the networks.
    prepared: What `_asked` comes to.
    images: How many images at most.
    votes: Of each network, at each level.
  """
  source = forecast_votes.spread(prepared.source, images)
  networks: Any = run_inputs.load_networks(_asked(config), workdir, source)
  estimator, classifier = networks
  experts = smoothed_networks.experts(classifier)
  stages = [
    (experts[level % len(experts)], sigma)
    for level, sigma in enumerate(config.sigmas)
  ]
  if estimator is not None:
    stages.append((estimator, config.estimator_sigma))
  chunk_size = config.certify.chunk_size or forecast_votes.choose_chunk_size(
    estimator, classifier, source, prepared.runs[0], votes
  )
  total = len(stages) * len(source)
  with bars.bar('forecast', unit='image', shown=True, total=total) as bar:
    counts = [
      forecast_votes.count(
        network, source, sigma, votes, chunk_size=chunk_size, done=bar.update
      )
      for network, sigma in stages
    ]
  levels = len(config.sigmas)
  return Votes(
    np.asarray(source.labels),
    votes,
    None if estimator is None else counts[levels],
    np.stack(counts[:levels], 1),
  )


def text(config: Any, settings: dict[str, Any], votes: Votes) -> str:
  """What the votes let expect, for a terminal.

  Args:
    config: The configuration.
    settings: Those of the certification whose statistics are forecast.
    votes: The votes.
  """
  radii = config.certify.radii
  adaptive = config.certify.protocol in ('adaptive', 'open')
  found = forecast.forecasts(
    votes,
    config.sigmas,
    config.estimator_sigma,
    n0=settings['n0'],
    n=settings['n'],
    alpha=run_plans.statistical_alpha(settings),
    runner_up=adaptive,
  )
  best = Forecast('best level per image', {}, forecast.singles(found).max(0))
  rows = [*found, best]
  ratios = forecast.mean_ratios(rows, radii)
  table = [['forecast, %', *(f'r = {r:g}' for r in radii), 'mean ratio']]
  for row, ratio in zip(rows, ratios, strict=True):
    shares = forecast.reached(row.radius, radii).mean(0)
    table.append(
      [row.name, *(f'{100 * s:.1f}' for s in shares), f'{ratio:.3f}']
    )
  images = len(votes.labels)
  facts = [
    f'{images} validation images, {votes.cast:,} votes on each at each level;'
    f' forecast of n0 = {settings["n0"]}, n = {settings["n"]:,}, alpha ='
    f' {settings["alpha"]:g}, '
    + ('adaptive' if adaptive else 'a fixed number of votes'),
    *_selected(config, votes, found),
    *_advice(config, found, ratios),
  ]
  notes = [
    'No number above is a certificate. The mean ratio is to the best single'
    ' level at each radius, over the radii that one reaches; a share of'
    f' {images} images has a standard error of up to'
    f' {50 / np.sqrt(images):.1f} points. At the largest radii of a level few'
    ' votes cannot tell, and the forecast is rather low. The best level per'
    ' image is chosen by the label: no classifier does that.',
    'One certificate may be published for test images. Choose it here.',
  ]
  wrapped = [line for fact in facts for line in textwrap.wrap(fact, _WIDTH)]
  return summary.to_text(
    summary.Summary(f'{config.name}: forecast', wrapped, table, notes)
  )


def _selected(config, votes, found):
  """What the estimator does, and what its dual loses."""
  if votes.estimator is None:
    return
  level = votes.estimator.argmax(-1)
  shares = np.bincount(level, minlength=len(config.sigmas)) / len(level)
  yield 'noise level selected: ' + ', '.join(
    f'{sigma:g} for {share:.0%}'
    for sigma, share in zip(config.sigmas, shares, strict=True)
  )
  [dual] = [one for one in found if one.name == 'dual-agreement']
  levels = forecast.singles(found)
  certain = np.take_along_axis(levels, level[None, None], 0)[0]
  best, selected, ours = (
    100 * forecast.reached(radius, config.certify.radii).mean()
    for radius in (levels.max(0), certain, dual.radius)
  )
  yield (
    'of what the best level per image would certify, dual-agreement loses'
    f' {best - selected:.1f} points to the level that is selected, and'
    f' {selected - ours:.1f} to certainty about it, on average over the radii'
  )


def _advice(config, found, ratios):
  """The forecast with the largest mean ratio, and how to ask for it."""
  if np.isnan(ratios).any():
    yield 'no level certifies an image at these radii'
    return
  lead = forecast.lead(found, config.certify.radii)
  best = found[lead.best]
  said = f'largest mean ratio: {best.name}'
  if best.options['smoothing'] != 'single':
    said += (
      f', ahead of the best single level by {lead.ahead:.3f} (standard error'
      f' {lead.error:.3f})'
    )
  asked = ' '.join(
    f"--config.certify.{name}='{value}'"
    for name, value in best.options.items()
    if value != config.certify[name]
  )
  if not asked:
    yield f'{said}; certify.py does it as it is configured here'
    return
  yield f'{said}; certify.py does it with the options given here and with'
  yield asked
