"""Charts of the metrics of a training, stage by stage."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from dualrs_jax.report.curves import level_color

_MOST_POINTS = 200

#: What metrics say that their names do not.
MEANINGS = {
  'soft_radius': (
    'a smooth stand-in for the certified radius, in pixel units, on average'
    ' over the levels as the estimator weighs them and over the images that'
    ' some level can certify; no guarantee'
  ),
  'best_level_rate': (
    'how often the estimator answers to a noisy copy of an image with the'
    ' level of its largest radius target'
  ),
  'selected': (
    'the share of validation images for which the estimator chooses each level'
  ),
}


def charts(
  rows: Sequence[Mapping[str, Any]], sigmas: Sequence[float]
) -> dict[str, dict[str, dict[str, Any]]]:
  """A chart for each metric of each stage.

  Metrics of one family, such as `validation_accuracy/0.25` and those at the
  other levels, share a chart. Of many steps every second is shown, or every
  third ...

  Args:
    rows: As in metrics.jsonl.
    sigmas: The noise levels, which have their colours.

  Returns:
    Charts by stage and family, in the order of the training.
  """
  stages = collections.defaultdict(lambda: collections.defaultdict(list))
  for row in rows:
    for name, value in row.items():
      if name not in ('stage', 'step'):
        family, _, member = name.partition('/')
        point = {'step': row['step'], 'member': member, 'value': value}
        stages[row['stage']][family].append(point)
  return {
    stage: {
      family: _chart(family, points, sigmas)
      for family, points in families.items()
    }
    for stage, families in stages.items()
  }


def _chart(family: str, points, sigmas: Sequence[float]) -> dict[str, Any]:
  steps = sorted({point['step'] for point in points})
  kept = {*steps[:: -(-len(steps) // _MOST_POINTS)], steps[-1]}
  members = list(dict.fromkeys(point['member'] for point in points))
  names = [f'{sigma:g}' for sigma in sigmas]
  colors = [
    level_color(names.index(member)) if member in names else 'var(--accent)'
    for member in members
  ]
  several = members != ['']
  value = {'field': 'value', 'title': family.replace('_', ' ')}
  tooltip = [{'field': 'step'}, {**value, 'format': '.4~g'}]
  if several:
    tooltip.insert(1, {'field': 'member', 'title': 'level σ'})
  return {
    'data': {'values': [point for point in points if point['step'] in kept]},
    'height': 130,
    'mark': {'type': 'line', 'point': {'size': 14}},
    'encoding': {
      'x': {
        'field': 'step',
        'type': 'quantitative',
        'axis': {'tickCount': 4},
        'title': 'step',
      },
      'y': {
        **value,
        'type': 'quantitative',
        'scale': {'zero': False},
        'axis': {'tickCount': 4},
      },
      'color': {
        'field': 'member',
        'type': 'nominal',
        'sort': members,
        'scale': {'domain': members, 'range': colors},
        'legend': {'title': 'level σ', 'orient': 'bottom'} if several else None,
      },
      'tooltip': tooltip,
    },
  }
