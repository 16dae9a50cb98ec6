"""What a certification found, in words and in a table."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from dualrs_jax.evaluation import accuracy_table, facts
from dualrs_jax.evaluation.run_rows import Run

_WIDTH = 88


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
      statistics; see
      `accuracy_table.comparable`.
    radii: Radii to report, l2 in pixel units.

  Returns:
    Certified accuracy over all attempted rows, each with its interval, and
    the rest of what one wants to know.
  """
  if run.settings['task'] == 'predict':
    return Summary(run.label, facts.of_run(run), [], [])
  table = [
    ['certified, %', *(f'r = {radius:g}' for radius in radii)],
    accuracy_table.of_run(run, radii),
  ]
  notes = [
    'Certified accuracy at r: the share of all attempted images whose'
    ' prediction is right and certified to an l2 radius of at least r, in units'
    ' in which pixels lie in [0, 1]; an abstention is a failure. In brackets'
    f' the {accuracy_table.INTERVAL:.0%} Clopper-Pearson interval for having'
    ' few images.',
    'The average certified radius is no way to rank methods: the number of'
    ' votes caps it, and it rewards easy images.',
  ]
  table += accuracy_table.by_class(run, radii)
  if baselines:
    comparison, note = accuracy_table.compare(run, baselines, radii)
    table += comparison
    notes.insert(1, note)
  sentences = [*facts.of_run(run), facts.average_radius(run)]
  return Summary(run.label, sentences, table, notes)


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
