"""What a certification found, in words and in a table."""

import collections
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from dualrs_jax import metrics
from dualrs_jax.base import Counts
from dualrs_jax.evaluation import methods
from dualrs_jax.evaluation.records import Record

#: Why rows abstain, in words.
_CAUSES = {
  'estimator': 'estimator undecided',
  'earlier': 'an earlier level undecided',
  'classifier': 'classifier undecided',
  'both': 'both undecided',
  'hopeless': 'hopeless at the first radius',
}
_INTERVAL = 0.95
_BOOTSTRAP_SEED = 0
_WIDTH = 88

#: Classes up to which each has a row of the table, if it has a name.
_MOST_CLASSES = 10


class Run(NamedTuple):
  """The rows of one certification.

  Attributes:
    label: Its name.
    settings: What its settings file records.
    rows: Its rows, in the order of the dataset index.
  """

  label: str
  settings: Mapping[str, Any]
  rows: Sequence[Record]


class Summary(NamedTuple):
  """A summary before it is typeset.

  Attributes:
    title: The name of the run.
    facts: Sentences about the run as a whole.
    table: Rows of cells, the first one the header; may be empty.
    notes: Sentences on how to read the table.
  """

  title: str
  facts: list[str]
  table: list[list[str]]
  notes: list[str]


def summarize(
  run: Run, baselines: Sequence[Run], radii: Sequence[float]
) -> Summary:
  """Summarizes a run, beside plain smoothing of the same images.

  Args:
    run: What to summarize.
    baselines: Plain smoothing at single noise levels, under the same
      statistics; see `comparable`.
    radii: Radii to report, l2 in pixel units.

  Returns:
    Certified accuracy over all attempted rows, each with its interval, and
    the rest of what one wants to know.
  """
  if run.settings['task'] == 'predict':
    return Summary(run.label, _facts(run), [], [])
  table = [
    ['certified, %', *(f'r = {radius:g}' for radius in radii)],
    _accuracy_cells(run, radii),
  ]
  notes = [
    'Certified accuracy at r: the share of all attempted images whose'
    ' prediction is right and certified to an l2 radius of at least r, in units'
    ' in which pixels lie in [0, 1]; an abstention is a failure. In brackets'
    f' the {_INTERVAL:.0%} Clopper-Pearson interval for having few images.',
    'The average certified radius is no way to rank methods: the number of'
    ' votes caps it, and it rewards easy images.',
  ]
  table += _by_class(run, radii)
  if baselines:
    comparison, note = _compare(run, baselines, radii)
    table += comparison
    notes.insert(1, note)
  facts = [*_facts(run), _average_radius(run)]
  return Summary(run.label, facts, table, notes)


def comparable(run: Run, other: Run) -> bool:
  """Whether `other` is plain smoothing that `run` can be compared with."""
  names = (
    'data',
    'split',
    'n0',
    'n',
    'alpha',
    'num_classes',
    'goal',
    'noise',
    'radii',
  )
  return (
    other.label != run.label
    and run.settings['task'] == other.settings['task'] == 'certify'
    and run.settings['smoothing'] in ('dual', 'cascade')
    and other.settings['smoothing'] == 'single'
    and all(run.settings[name] == other.settings[name] for name in names)
    and bool({row.idx for row in run.rows} & {row.idx for row in other.rows})
  )


def hits(
  run: Run,
  radii: Sequence[float] | Float[np.ndarray, ' radii'],
  indices: Sequence[int] | None = None,
) -> Bool[np.ndarray, 'radii images']:
  """Whether each image counts as right and certified, at each radius."""
  rows = run.rows
  if indices is not None:
    by_index = {row.idx: row for row in run.rows}
    rows = [by_index[idx] for idx in indices]
  correct = np.array([row.correct for row in rows], bool)
  reached = np.array([row.radius for row in rows]) >= np.array(radii)[:, None]
  return correct & reached


def to_text(summary: Summary) -> str:
  """The summary for a terminal."""
  lines = [summary.title, *(f'  {fact}' for fact in summary.facts), '']
  if summary.table:
    widths = [
      max(len(row[column]) for row in summary.table)
      for column in range(len(summary.table[0]))
    ]
    for row in summary.table:
      first, *others = row
      cells = [first.ljust(widths[0])]
      cells += [c.rjust(w) for c, w in zip(others, widths[1:], strict=True)]
      lines.append('  ' + '   '.join(cells))
    lines.append('')
  for note in summary.notes:
    lines += textwrap.wrap(
      note, _WIDTH, initial_indent='  ', subsequent_indent='  '
    )
  return '\n'.join(lines).rstrip() + '\n'


def to_markdown(summary: Summary) -> str:
  """The summary as Markdown."""
  lines = [f'### {summary.title}', '']
  lines += [f'- {fact}' for fact in summary.facts]
  if summary.table:
    lines.append('')
    rules = [':--', *('--:' for _ in summary.table[0][1:])]
    for row in [summary.table[0], rules, *summary.table[1:]]:
      lines.append(f'| {" | ".join(row)} |')
  for note in summary.notes:
    lines += ['', note]
  return '\n'.join(lines) + '\n'


def _facts(run: Run) -> list[str]:
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
  return (
    f'{name}: {_percent(accuracy, len(run.rows))} % (abstentions are failures)'
  )


def _accuracy_cells(run: Run, radii: Sequence[float]) -> list[str]:
  shares = hits(run, radii).mean(axis=1)
  return [run.label, *(_percent(share, len(run.rows)) for share in shares)]


def _by_class(run: Run, radii: Sequence[float]) -> list[list[str]]:
  """A table row for each class, where classes have names and are few."""
  names = run.settings.get('class_names') or ()
  if not 0 < len(names) <= _MOST_CLASSES:
    return []
  table = []
  for label, name in enumerate(names):
    rows = [row for row in run.rows if row.label == label]
    if rows:
      cells = _accuracy_cells(run._replace(rows=rows), radii)
      table.append([f'- {name} ({len(rows)})', *cells[1:]])
  return table


def _percent(share: float, rows: int) -> str:
  low, high = metrics.accuracy_interval(share, rows, alpha=1 - _INTERVAL)
  outward = np.floor(100 * low), np.ceil(100 * high)
  return f'{100 * share:.1f} [{outward[0]:.0f}, {outward[1]:.0f}]'


def _compare(
  run: Run, baselines: Sequence[Run], radii: Sequence[float]
) -> tuple[list[list[str]], str]:
  """Table rows of the baselines and of the ratio to the best; a note."""
  common = sorted(
    set.intersection(
      *({row.idx for row in other.rows} for other in (run, *baselines))
    )
  )
  table = []
  for other in baselines:
    shares = hits(other, radii, common).mean(axis=1)
    cells = [_percent(share, len(common)) for share in shares]
    table.append([other.label, *cells])
  ours = hits(run, radii, common)
  theirs = np.stack([hits(other, radii, common) for other in baselines])
  ratios = ['ratio to the best']
  for at in range(len(radii)):
    if theirs[:, at].any():
      ratio, low, high = metrics.paired_bootstrap_ratio(
        ours[at],
        theirs[:, at],
        seed=_BOOTSTRAP_SEED,
        alpha=1 - _INTERVAL,
      )
      ratios.append(f'{ratio:.2f} [{low:.2f}, {high:.2f}]')
    else:
      ratios.append('-')
  where = (
    ''
    if len(common) == len(run.rows)
    else f' on the {len(common)} images that all of these runs hold'
  )
  note = (
    f'The other rows are plain smoothing at one noise level{where}. The best of'
    ' them is chosen at each radius by itself, after the fact; the interval of'
    f' the ratio is a paired bootstrap over images ({_INTERVAL:.0%}).'
  )
  return [*table, ratios], note


def _average_radius(run: Run) -> str:
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
