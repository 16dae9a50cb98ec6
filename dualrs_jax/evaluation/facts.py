"""What a certification found, in sentences."""

import collections
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualrs_jax import metrics
from dualrs_jax.base import Counts
from dualrs_jax.evaluation import accuracy_table, methods
from dualrs_jax.evaluation.run_rows import Run

#: Why rows abstain, in words.
_CAUSES = {
  'estimator': 'estimator undecided',
  'earlier': 'an earlier level undecided',
  'classifier': 'classifier undecided',
  'both': 'both undecided',
  'hopeless': 'hopeless at the first radius',
}


def of_run(run: Run) -> list[str]:
  """Sentences about a run: its images, statistics, accuracy and cost."""
  settings, rows = run.settings, run.rows
  facts = []
  if len(rows) < settings['images']:
    facts.append(
      f'PARTIAL: {len(rows)} of the {settings["images"]} images asked for;'
      ' the same command goes on'
    )
  selection = f'n0 = {settings["n0"]:,}, ' if settings['n0'] else ''
  facts.append(
    f'{len(rows)} images of {settings["data"]["name"]} ({settings["split"]}),'
    f' {selection}{_votes(settings)}, alpha = {settings["alpha"]:g},'
    f' {settings["noise"]} noise, seed {settings["seed"]}'
  )
  if 'provenance' in settings:
    facts.append(f'this split is {settings["provenance"]}')
  facts.append(_accuracy(run))
  causes = collections.Counter(row.status for row in rows if row.predict < 0)
  undecided = ', '.join(
    f'{_CAUSES[name]} {causes[name]}' for name in methods.CAUSES if causes[name]
  )
  facts.append(
    f'abstentions: {causes.total()} of {len(rows)}'
    + (f' ({undecided})' if undecided else '')
  )
  if len(settings['sigmas']) > 1:
    chosen = collections.Counter(row.sigma_index for row in rows)
    facts.append(
      'noise level used: '
      + ', '.join(
        f'{sigma:g} on {chosen[level]}'
        for level, sigma in enumerate(settings['sigmas'])
      )
    )
  if settings['goal'] is None:
    seconds = np.median([row.time for row in rows])
    facts.append(f'median time per image: {seconds:.3g} s')
  else:
    facts.append(_cost(run))
    seconds = np.mean([row.time for row in rows])
    facts.append(f'mean time per image: {seconds:.3g} s')
  return facts


def _votes(settings: Mapping[str, Any]) -> str:
  """How many estimation votes a stage casts, in words."""
  n = f'n = {settings["n"]:,} votes'
  if settings['goal'] is None:
    return n
  radii = ', '.join(f'{radius:g}' for radius in settings['radii'])
  if settings['task'] == 'predict':
    return f'up to {n} to decide the class'
  aims = {
    'full': f'up to {n} for the full radius',
    'grid': f'up to {n} to decide r = {radii}',
    'radius': f'up to {n} to decide r = {radii}',
  }
  return aims[settings['goal']]


def _cost(run: Run) -> str:
  """What the votes were, beside those of standard smoothing."""
  standard = run.settings['n0'] + run.settings['n']
  classifier = np.mean(
    [
      sum(sum(cast) for cast in row.classifier_cast.values())
      for row in run.rows
    ]
  )
  text = (
    f'mean votes per image: {classifier:,.0f} of the classifier,'
    f' {classifier / standard:.2f} of the {standard:,} of standard smoothing'
  )
  if run.settings['smoothing'] != 'dual':
    return text
  estimator = np.mean([sum(row.estimator_cast) for row in run.rows])
  return (
    f'{text}; {estimator:,.0f} of the estimator, {estimator / standard:.2f} as'
    ' many'
  )


def _accuracy(run: Run) -> str:
  accuracy = metrics.clean_accuracy(
    np.array([row.predict for row in run.rows]),
    np.array([row.label for row in run.rows]),
  )
  first = (run.settings['radii'] or [0.0])[0]
  name = 'clean accuracy' if first == 0 else f'accuracy certified at {first:g}'
  percent = accuracy_table.percent(accuracy, len(run.rows))
  return f'{name}: {percent} % (abstentions are failures)'


def average_radius(run: Run) -> str:
  """A sentence on the average certified radius, and what limits it."""
  average = metrics.average_certified_radius(
    np.array([row.predict for row in run.rows]),
    np.array([row.label for row in run.rows]),
    np.array([row.radius for row in run.rows]),
  )
  limits = 'these radii' if run.settings['radii'] else 'these votes'
  if run.settings['smoothing'] == 'distance':  # a level for each image
    return f'average certified radius: {average:.3f}'
  return (
    f'average certified radius: {average:.3f} (no more than'
    f' {largest_radius(run):.3f} is possible with {limits})'
  )


def largest_radius(run: Run) -> float:
  """The radius that unanimous votes at the best noise level would give."""
  settings = run.settings
  levels, classes = len(settings['sigmas']), settings['num_classes']
  n0, n = settings['n0'], settings['n']
  one_class = np.zeros((levels, classes), np.int64)
  one_class[:, 0] = 1
  return max(
    methods.result(
      methods.fixed_votes(
        Counts(n0 * level, n * level),
        Counts(n0 * one_class, n * one_class),
        settings,
      ),
      settings,
    ).radius
    for level in np.eye(levels, dtype=np.int64)
  )
