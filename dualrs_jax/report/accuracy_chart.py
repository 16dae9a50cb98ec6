"""The chart of certified accuracy: hover for numbers, click for images."""

from collections.abc import Sequence
from typing import Any

from dualrs_jax.report.curves import Curve

_X_TITLE = 'certified ℓ₂ radius r (pixels lie in [0, 1])'
_Y_TITLE = 'right and certified at r, %'


def chart(curves: Sequence[Curve], *, decided: bool) -> dict[str, Any]:
  """A Vega-Lite chart of certified accuracy over the radius.

  Its parameter `picked` is the radius that was clicked.

  Args:
    curves: At the same radii.
    decided: Whether only these radii were decided: then there are points, and
      dotted lines that lead the eye alone.
  """
  points, rulers = [], []
  for at, radius in enumerate(curves[0].radii.tolist()):
    ruler = {'radius': radius}
    for curve in curves:
      share, low, high = (
        round(float(values[at]), 2)
        for values in (curve.share, curve.low, curve.high)
      )
      point = {'radius': radius, 'name': curve.name, 'share': share}
      points.append({**point, 'low': low, 'high': high})
      ruler[curve.name] = f'{share:.1f} % [{low:.1f}, {high:.1f}]'
    rulers.append(ruler)
  color = {
    'field': 'name',
    'type': 'nominal',
    'sort': [curve.name for curve in curves],
    'scale': {
      'domain': [curve.name for curve in curves],
      'range': [curve.color for curve in curves],
    },
    'legend': {
      'title': None,
      'columns': 3,
      'symbolType': 'circle',
      'symbolOpacity': 1,
      'symbolStrokeWidth': 3,
    },
  }
  x: dict[str, Any] = {
    'field': 'radius',
    'type': 'quantitative',
    'title': _X_TITLE,
  }
  x['axis'] = {'format': '.3~f'}
  if decided:
    x['axis']['values'] = curves[0].radii.tolist()
  y = {
    'field': 'share',
    'type': 'quantitative',
    'title': _Y_TITLE,
    'scale': {'domain': [0, 100]},
  }
  main = [curve.name for curve in curves if curve.bold]
  return {
    'data': {'values': points},
    'height': 320,
    'encoding': {'x': x},
    'layer': [
      _intervals(main, y, color, decided=decided),
      _lines(y, color, curves, decided=decided),
      _ruler(rulers, curves),
    ],
  }


def _intervals(main, y, color, *, decided: bool) -> dict[str, Any]:
  mark = (
    {'type': 'rule', 'strokeWidth': 9, 'opacity': 0.18}
    if decided
    else {'type': 'area', 'opacity': 0.13, 'interpolate': 'step-before'}
  )
  return {
    'transform': [{'filter': {'field': 'name', 'oneOf': main}}],
    'mark': mark,
    'encoding': {
      'y': {**y, 'field': 'low'},
      'y2': {'field': 'high'},
      'color': color,
    },
  }


def _lines(y, color, curves: Sequence[Curve], *, decided: bool):
  """Lines; that of the envelope is dashed, the one that matters is bold."""
  bold = {'field': 'name', 'oneOf': [c.name for c in curves if c.bold]}
  aside = [curve.name for curve in curves if curve.color == 'var(--quiet)']
  dashed: dict[str, Any] = {
    'condition': {'test': {'field': 'name', 'oneOf': aside}, 'value': [5, 4]},
    'value': [1, 0],
  }
  line: dict[str, Any] = {'type': 'line', 'interpolate': 'step-before'}
  if decided:
    dashed = {'value': [1, 3]}
    line = {'type': 'line', 'point': {'size': 70, 'filled': True, 'opacity': 1}}
  return {
    'mark': line,
    'encoding': {
      'y': y,
      'color': color,
      'strokeDash': dashed,
      'strokeWidth': {'condition': {'test': bold, 'value': 3}, 'value': 1.7},
    },
  }


def _ruler(rulers, curves: Sequence[Curve]) -> dict[str, Any]:
  """An upright line at the nearest radius, with all numbers there."""
  tooltip = [{'field': 'radius', 'title': 'radius'}]
  for curve in reversed(curves):
    field = curve.name.replace('.', '\\.').replace('[', '\\[')
    tooltip.append({'field': field, 'title': curve.name})
  point = {'type': 'point', 'nearest': True, 'encodings': ['x']}
  return {
    'data': {'values': rulers},
    'params': [
      {
        'name': 'near',
        'select': {**point, 'on': 'pointerover', 'clear': 'pointerout'},
      },
      {'name': 'picked', 'select': {**point, 'on': 'click', 'clear': False}},
    ],
    'mark': {'type': 'rule', 'color': 'var(--ink)', 'cursor': 'pointer'},
    'encoding': {
      'opacity': {
        'condition': [
          {'param': 'picked', 'empty': False, 'value': 0.7},
          {'param': 'near', 'empty': False, 'value': 0.35},
        ],
        'value': 0,
      },
      'tooltip': tooltip,
    },
  }
