"""Bars of images by what came of them, as Vega-Lite."""

import collections
from typing import Any

#: What comes of an image.
OUTCOMES = ['right', 'wrong', 'given up']
_OUTCOME_COLORS = ['var(--right)', 'var(--wrong)', 'var(--given-up)']
#: Numbers of images up to which an axis has each; of more it has round ones.
_COUNTED = 10
#: Right next to the axis.
_ORDER = {
  'calculate': f'indexof({OUTCOMES}, datum.outcome)',
  'as': 'order',
}


def _outcome_color() -> dict[str, Any]:
  return {
    'field': 'outcome',
    'type': 'nominal',
    'sort': OUTCOMES,
    'scale': {'domain': OUTCOMES, 'range': _OUTCOME_COLORS},
    'legend': {'title': None},
  }


def _images(values, field: str) -> dict[str, Any]:
  """An axis of images that are stacked at each value of a field."""
  totals = collections.Counter()
  for value in values:
    totals[value[field]] += value['images']
  most = max(totals.values(), default=0)
  axis: dict[str, Any] = {'format': ',d', 'tickMinStep': 1}
  if most <= _COUNTED:  # few ticks would be at halves
    axis['values'] = list(range(most + 1))
  return {
    'field': 'images',
    'type': 'quantitative',
    'title': 'images',
    'axis': axis,
  }


def lying(values, field: str, title, *, sort, height: int) -> dict[str, Any]:
  """Lying bars of images by outcome; a click picks a bar."""
  return {
    'data': {'values': values},
    'height': height,
    'params': [
      {
        'name': 'picked',
        'select': {'type': 'point', 'fields': [field, 'outcome']},
      }
    ],
    'transform': [_ORDER],
    'mark': {'type': 'bar', 'cursor': 'pointer'},
    'encoding': {
      'y': {
        'field': field,
        'type': 'nominal',
        'sort': sort,
        'title': title,
        'axis': {'labelLimit': 260},
      },
      'x': _images(values, field),
      'color': _outcome_color(),
      'order': {'field': 'order', 'type': 'quantitative'},
      'tooltip': [
        {'field': field, 'title': title or ''},
        {'field': 'outcome'},
        {'field': 'images'},
      ],
    },
  }


def standing(values, x, x2=None) -> dict[str, Any]:
  """Standing bars of images by outcome."""
  tooltip = [{'field': 'from', 'title': x['title'], 'format': '.3~f'}]
  tooltip += [{'field': 'outcome'}, {'field': 'images'}]
  if x2 is not None:
    tooltip.insert(1, {'field': 'to', 'title': 'up to', 'format': '.3~f'})
  return {
    'data': {'values': values},
    'height': 220,
    'transform': [_ORDER],
    'mark': {'type': 'bar'},
    'encoding': {
      'x': x,
      **({'x2': x2} if x2 else {}),
      'y': _images(values, 'from'),
      'color': _outcome_color(),
      'order': {'field': 'order', 'type': 'quantitative'},
      'tooltip': tooltip,
    },
  }
