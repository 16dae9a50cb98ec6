"""The charts of a certification, as Vega-Lite: plain data.

Colours are variables of the page's style, so that light, dark and paper need
no other chart. A bar that can be clicked has the parameter `picked`, whose
fields are columns of the table.
"""

import collections
import math
from collections.abc import Sequence
from typing import Any

from dualrs_jax.report import findings, listing, outcome_bars, terms
from dualrs_jax.report.curves import level_color
from dualrs_jax.report.subject import Subject

_BINS = 24
#: Ends of the groups of p_A; each is right for its own group.
_SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)


def levels(subject: Subject) -> dict[str, Any]:
  """How often each noise level is chosen, and what comes of it."""
  counts = collections.Counter(
    (row.sigma_index, listing.outcome(row)) for row in subject.rows
  )
  names = [f'{sigma:g}' for sigma in subject.settings['sigmas']]
  values = [
    {'level': name, 'outcome': outcome, 'images': counts[k, outcome]}
    for k, name in enumerate(names)
    for outcome in outcome_bars.OUTCOMES
  ]
  return outcome_bars.lying(
    values, 'level', 'level σ', sort=names, height=34 * len(names) + 20
  )


def limits(subject: Subject) -> dict[str, Any]:
  """Whose term of the radius is the smallest, and what comes of it."""
  counts = collections.Counter(
    (term.limit, listing.outcome(row))
    for row, term in zip(subject.rows, subject.terms, strict=True)
    if term is not None and term.limit
  )
  present = {limit for limit, _ in counts}
  names = [name for name in terms.LIMITS if name in present]
  values = [
    {'limit': name, 'outcome': outcome, 'images': counts[name, outcome]}
    for name in names
    for outcome in outcome_bars.OUTCOMES
  ]
  return outcome_bars.lying(
    values, 'limit', None, sort=names, height=34 * len(names) + 20
  )


def radii(subject: Subject) -> dict[str, Any]:
  """How far images are certified."""
  decided = subject.settings['radii']
  reached = [row.radius for row in subject.rows if row.predict >= 0]
  edges = list(decided)
  if not decided:
    step = max(reached, default=0.0) / _BINS or 1.0
    edges = [step * at for at in range(_BINS + 1)]
  counts = collections.Counter()
  for row in subject.rows:
    if row.predict >= 0:
      at = max(k for k, edge in enumerate(edges) if edge <= row.radius or not k)
      counts[at, listing.outcome(row)] += 1
  values = [
    {
      'from': edges[at],
      'to': edges[at + 1] if at + 1 < len(edges) else edges[at] * 1.04,
      'outcome': outcome,
      'images': counts[at, outcome],
    }
    for at in range(len(edges))
    for outcome in outcome_bars.OUTCOMES[:2]
  ]
  title = 'certified ℓ₂ radius'
  if decided:
    x = {'field': 'from', 'type': 'ordinal', 'axis': {'labelAngle': 0}}
    return outcome_bars.standing(values, {**x, 'title': title})
  values = [value for value in values if value['images'] or not value['from']]
  x = {'field': 'from', 'type': 'quantitative', 'bin': {'binned': True}}
  return outcome_bars.standing(
    values, {**x, 'title': title}, x2={'field': 'to'}
  )


def votes(subject: Subject) -> dict[str, Any]:
  """How many votes images take, beside a fixed number."""
  spent = [
    sum(row.estimator_cast) + findings.classifier_votes(row)
    for row in subject.rows
  ]
  counts = collections.Counter(
    (math.floor(4 * math.log2(max(total, 1))), listing.outcome(row))
    for row, total in zip(subject.rows, spent, strict=True)
  )
  values = [
    {
      'from': round(2 ** (at / 4), 3),
      'to': round(2 ** ((at + 1) / 4), 3),
      'outcome': outcome,
      'images': images,
    }
    for (at, outcome), images in sorted(counts.items())
  ]
  scale = {'type': 'log', 'base': 10}
  x = {'field': 'from', 'type': 'quantitative', 'scale': scale}
  x |= {'title': 'votes of both stages on an image', 'bin': {'binned': True}}
  chart = outcome_bars.standing(values, x, x2={'field': 'to'})
  fixed = findings.cost(subject).fixed
  here = {'data': {'values': [{'fixed': fixed}]}}
  line = {
    **here,
    'mark': {'type': 'rule', 'color': 'var(--ink)', 'strokeDash': [5, 4]},
    'encoding': {
      'x': {'field': 'fixed', 'type': 'quantitative', 'scale': scale},
      'tooltip': {'value': f'a fixed n: {fixed:,} votes'},
    },
  }
  shown = ('data', 'transform', 'mark', 'encoding')
  bars = {name: chart[name] for name in shown}
  return {'height': chart['height'], 'layer': [bars, line]}


def answer_shares(subject: Subject) -> dict[str, Any]:
  """How sure the votes are of the label, per noise level.

  Of plain smoothing of the same images where there is some, and else of the
  images for which the level was chosen.
  """
  values, names = [], []
  for level, sigma in enumerate(subject.settings['sigmas']):
    shares = _label_shares(subject, level)
    if not shares:
      continue
    names.append(f'{sigma:g}')
    groups = collections.Counter(
      sum(share >= edge for edge in _SHARES) for share in shares
    )
    for at in range(len(_SHARES) + 1):
      values.append(
        {
          'level': f'{sigma:g}',
          'share': _share_names()[at],
          'percent': round(100 * groups[at] / len(shares), 1),
          'images': groups[at],
        }
      )
  return {
    'data': {'values': values},
    'height': 220,
    'mark': {'type': 'bar', 'cornerRadiusEnd': 2},
    'encoding': {
      'x': {
        'field': 'share',
        'type': 'ordinal',
        'sort': _share_names(),
        'title': 'p_A: share of votes for the label',
        'axis': {'labelAngle': -35},
      },
      'xOffset': {'field': 'level', 'sort': names},
      'y': {
        'field': 'percent',
        'type': 'quantitative',
        'title': '% of the level’s images',
      },
      'color': {
        'field': 'level',
        'type': 'nominal',
        'sort': names,
        'scale': {'domain': names, 'range': _level_colors(subject, names)},
        'legend': {'title': 'level σ'},
      },
      'tooltip': [
        {'field': 'level', 'title': 'level σ'},
        {'field': 'share', 'title': 'p_A'},
        {'field': 'images'},
        {'field': 'percent', 'title': '%'},
      ],
    },
  }


def everywhere(subject: Subject) -> bool:
  """Whether `answer_shares` is of all images at every level."""
  return len(subject.singles) == len(subject.settings['sigmas'])


def _label_shares(subject: Subject, level: int) -> list[float]:
  rows = [row for row in subject.rows if row.sigma_index == level]
  if everywhere(subject):
    sigma = subject.settings['sigmas'][level]
    [single] = [
      single
      for single in subject.singles
      if single.settings['sigmas'][0] == sigma
    ]
    rows = single.rows
  found = [terms.share(row, row.label) for row in rows]
  return [votes / cast for votes, cast in filter(None, found) if cast]


def _share_names() -> list[str]:
  inner = [
    f'{low:g} – {high:g}'
    for low, high in zip(_SHARES, _SHARES[1:], strict=False)
  ]
  return [f'below {_SHARES[0]:g}', *inner, f'{_SHARES[-1]:g} and more']


def _level_colors(subject: Subject, names: Sequence[str]) -> list[str]:
  all_names = [f'{sigma:g}' for sigma in subject.settings['sigmas']]
  return [level_color(all_names.index(name)) for name in names]
