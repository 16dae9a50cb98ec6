"""The page that compares certifications: those of a run, or of several."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from dualrs_jax.evaluation import accuracy_table
from dualrs_jax.evaluation.run_rows import Run
from dualrs_jax.report import (
  accuracy_chart,
  answers,
  certification,
  curves,
  findings,
  guarantee,
  page,
)
from dualrs_jax.report import subject as subject_lib
from dualrs_jax.runtime import settings as settings_lib

#: Settings that say where and when, not what was certified.
_ASIDE = {
  *('asked', 'images', 'versions', 'git_revision', 'device_count'),
  *('device_kind', 'platform', 'chunk_size'),
}
_NO_COLOR = 'var(--ink)'


def write(
  title: str,
  runs: Mapping[str, Run],
  trainings: Mapping[str, Sequence[Mapping[str, Any]]],
  *,
  radii: Sequence[float] = (),
  links: Mapping[str, str] | None = None,
  written: str = '',
) -> str:
  """The page, as HTML.

  Args:
    title: Of the page.
    runs: Certifications by name.
    trainings: Rows of metrics by the name of the training.
    radii: Where certified accuracy is told; empty for those that were decided,
      or round ones.
    links: Addresses of the pages of some of the certifications.
    written: When, as text.
  """
  specs: dict[str, Any] = {}
  certified = {
    name: run for name, run in runs.items() if run.settings['task'] == 'certify'
  }
  when = (
    f'<p class="quiet">Written {html.escape(written)}</p>' if written else ''
  )
  body = [f'<p class="lead">{len(runs)} certifications</p>{when}']
  body.append(page.section('runs', 'Certifications', _list(runs, links or {})))
  if certified:
    shown = tuple(radii) or tuple(curves.grid([*certified.values()]))
    if len(shown) > 12:
      longest = max(
        certified.values(), key=lambda run: len(subject_lib.round_radii(run))
      )
      shown = subject_lib.round_radii(longest)
    body.append(_accuracy(certified, shown, specs))
  if len(certified) > 1:
    body.append(_pairs(certified, shown))
  if len(runs) > 1:
    body.append(page.section('differences', 'What differs', _differ(runs)))
  sigmas = next(iter(runs.values())).settings['sigmas']
  longest = max(runs.values(), key=lambda run: len(run.settings['sigmas']))
  sigmas = longest.settings['sigmas']
  for name, rows in trainings.items():
    renamed = [
      {**row, 'stage': f'{name}: {row["stage"]}'} if len(trainings) > 1 else row
      for row in rows
    ]
    body.append(certification.training(renamed, sigmas, specs))
  return page.page(title, ''.join(body), specs)


def _list(runs: Mapping[str, Run], links: Mapping[str, str]) -> str:
  """What there is, what it claims, and what it cost."""
  items = []
  for name, run in runs.items():
    subject = subject_lib.make(run)
    heading = html.escape(name)
    if name in links:
      heading = f'<a href="{html.escape(links[name])}">{heading}</a>'
    facts = [
      answers.progress(subject),
      answers.headline(subject),
      answers.certified(subject),
      answers.cost(subject),
      guarantee.of(run.settings).sentence,
    ]
    items.append(
      f'<article class="card"><h3>{heading}</h3>'
      f'{page.paragraphs([fact for fact in facts if fact])}</article>'
    )
  return f'<div class="cards">{"".join(items)}</div>'


def _accuracy(runs: Mapping[str, Run], radii, specs: dict[str, Any]) -> str:
  images = curves.shared([*runs.values()])
  runs = {name: curves.restricted(run, images) for name, run in runs.items()}
  which = f'of the {len(images)} images that all of them have'
  if len(runs) == 1:
    which = f'of all {len(images)} images'
  elif not images:
    which = 'each of other images: there is none that all of them have'
  table = [['right and certified, %', *(f'r = {r:g}' for r in radii)]]
  for name, run in runs.items():
    counts = accuracy_table.hits(run, radii).sum(axis=1).tolist()
    cells = [name if images else f'{name} ({len(run.rows)} images)']
    for hits in counts:
      low, high = findings.interval(hits, len(run.rows))
      share = 100 * hits / len(run.rows)
      cells.append(f'{share:.1f} [{low:.1f}, {high:.1f}]')
    table.append(cells)
  decided = any(run.settings['radii'] for run in runs.values())
  grid = curves.grid([*runs.values()])
  specs['accuracy'] = accuracy_chart.chart(
    [
      curves.of(run, grid, name, color)._replace(
        bold=run.settings['smoothing'] == 'dual'
      )
      for (name, run), color in zip(runs.items(), _colors(runs), strict=True)
    ],
    decided=decided,
  )
  told = (
    f'Certified accuracy over the radius, {which}; brackets and shades are'
    ' 95 % Clopper-Pearson intervals for having few images.'
  )
  return page.section(
    'accuracy',
    'Certified accuracy',
    page.chart_place('accuracy', told)
    + page.table(table, f'Right and certified at each radius, {which}'),
  )


def _colors(runs: Mapping[str, Run]) -> list[str]:
  """Ink for the first dual run, and colours in turn for all others."""
  colors, number = [], 0
  for run in runs.values():
    if run.settings['smoothing'] == 'dual' and _NO_COLOR not in colors:
      colors.append(_NO_COLOR)
    else:
      colors.append(curves.level_color(number))
      number += 1
  return colors


def _pairs(runs: Mapping[str, Run], radii: Sequence[float]) -> str:
  """Each run beside the first, on the images that both have."""
  radius = radii[len(radii) // 2]
  duals = [n for n, run in runs.items() if run.settings['smoothing'] == 'dual']
  first = duals[0] if duals else next(iter(runs))
  table = [
    ['beside', 'images of both', 'both', f'only {first}', 'only the other']
  ]
  for name, run in runs.items():
    if name == first:
      continue
    there = {row.idx for row in runs[first].rows}
    common = [row.idx for row in run.rows if row.idx in there]
    if run.settings['source'] != runs[first].settings['source']:
      table.append([name, 'other images', '', '', ''])
      continue
    if not common:
      table.append([name, '0', '', '', ''])
      continue
    ours = accuracy_table.hits(runs[first], [radius], common)[0]
    theirs = accuracy_table.hits(run, [radius], common)[0]
    counts = (ours & theirs), (ours & ~theirs), (theirs & ~ours)
    cells = [str(int(which.sum())) for which in counts]
    table.append([name, str(len(common)), *cells])
  caption = f'Images that are right and certified at r = {radius:g}'
  return page.section(
    'pairs', f'Image by image, beside {first}', page.table(table, caption)
  )


def _differ(runs: Mapping[str, Run]) -> str:
  """The settings that are not the same in all runs."""
  plain = {
    name: {k: v for k, v in run.settings.items() if k not in _ASIDE}
    for name, run in runs.items()
  }
  first = next(iter(plain.values()))
  names = dict.fromkeys(
    key
    for other in plain.values()
    for key, _ in settings_lib.differences(first, other)
  )
  if not names:
    return '<p>All settings are the same.</p>'
  table = [['setting', *plain]]
  for key in names:
    table.append([key, *(_value(known, key) for known in plain.values())])
  return page.table(table, 'Settings that are not the same in all of them')


def _value(settings: Mapping[str, Any], key: str) -> str:
  value: Any = settings
  for part in key.split('.'):
    if not isinstance(value, Mapping) or part not in value:
      return '–'
    value = value[part]
  return ', '.join(map(str, value)) if isinstance(value, list) else str(value)
