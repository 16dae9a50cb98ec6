"""Certified accuracy over the radius, of a run and of those beside it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from dualrs_jax.evaluation import accuracy_table
from dualrs_jax.evaluation.run_rows import Run
from dualrs_jax.report import findings

_POINTS = 160


class Curve(NamedTuple):
  """Certified accuracy at some radii.

  Attributes:
    name: What it is of.
    color: How it is drawn: a colour, or a variable of the page's style.
    bold: Whether it is what the chart is about.
    radii: The radii, increasing.
    share: In percent.
    low: The lower end of the 95% Clopper-Pearson interval, in percent.
    high: The upper end.
    images: Of how many images.
  """

  name: str
  color: str
  bold: bool
  radii: Float[np.ndarray, ' radii']
  share: Float[np.ndarray, ' radii']
  low: Float[np.ndarray, ' radii']
  high: Float[np.ndarray, ' radii']
  images: int


def level_color(level: int) -> str:
  """The colour of a noise level, as the style of the page names it."""
  return f'var(--level-{level % 6})'


def grid(runs: Sequence[Run]) -> Float[np.ndarray, ' radii']:
  """Radii for a chart: those that were decided, or evenly spaced ones."""
  decided = [
    set(run.settings['radii']) for run in runs if run.settings['radii']
  ]
  if decided:
    return np.array(sorted(set.union(*decided)))
  largest = max((row.radius for run in runs for row in run.rows), default=0.0)
  return np.linspace(0, 1.03 * max(largest, 0.01), _POINTS).round(4)


def of(
  run: Run,
  radii: Sequence[float] | Float[np.ndarray, ' radii'],
  name: str,
  color: str,
) -> Curve:
  """The curve of all rows of a run."""
  share = accuracy_table.hits(run, radii).mean(axis=1)
  counts = np.rint(share * len(run.rows)).astype(int)
  ends = [findings.interval(int(hits), len(run.rows)) for hits in counts]
  low, high = np.array(ends).T
  return Curve(
    name,
    color,
    False,
    np.asarray(radii, float),
    100 * share,
    low,
    high,
    len(run.rows),
  )


def shared(runs: Sequence[Run]) -> set[int]:
  """The dataset indices of the images that all runs have.

  Returns:
    None of runs whose images come from different data sets.
  """
  if len({run.settings['source'] for run in runs}) > 1:
    return set()
  return set.intersection(*({row.idx for row in run.rows} for run in runs))


def restricted(run: Run, images: set[int]) -> Run:
  """A run with the rows of some images alone; of all, if there are none."""
  kept = [row for row in run.rows if row.idx in images or not images]
  return run._replace(rows=kept)


def beside(run: Run, singles: Sequence[Run]) -> list[Curve]:
  """The curves of a certification: plain smoothing, their envelope, itself.

  The envelope is the best of the single levels at each radius, chosen after
  the fact: no one classifier attains it. It is of the images that all of
  them have, and so are all of these curves.

  Args:
    run: The certification.
    singles: Plain smoothing of the same classifier; may be empty.
  """
  common = shared([run, *singles])
  same = [restricted(each, common) for each in (run, *singles)]
  if not common:
    same = [run]
  radii = grid(same)
  sigmas = list(run.settings['sigmas'])
  found = [
    of(
      single,
      radii,
      f'σ = {single.settings["sigmas"][0]:g}',
      level_color(sigmas.index(single.settings['sigmas'][0])),
    )
    for single in same[1:]
    if single.settings['sigmas'][0] in sigmas
  ]
  if len(found) > 1:
    best = np.argmax([curve.share for curve in found], axis=0)
    at = best, np.arange(len(radii))
    share, low, high = (
      np.stack([getattr(curve, name) for curve in found])[at]
      for name in ('share', 'low', 'high')
    )
    envelope = Curve(
      'best single σ',
      'var(--quiet)',
      False,
      radii,
      share,
      low,
      high,
      len(common),
    )
    found.insert(0, envelope)  # below the others
  main = of(same[0], radii, method(run), 'var(--ink)')
  return [*found, main._replace(bold=True)]


def method(run: Run) -> str:
  """The method of a run, as a chart names it."""
  if run.settings['smoothing'] == 'dual':
    return f'dual ({run.settings["certificate"]})'
  if run.settings['smoothing'] in ('cascade', 'distance'):
    return run.settings['smoothing']
  return f'σ = {run.settings["sigmas"][0]:g}'
