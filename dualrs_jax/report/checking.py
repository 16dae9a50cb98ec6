"""What a certification guarantees, and how its rows are checked."""

import html
import json

from dualrs_jax.report import guarantee, page
from dualrs_jax.report.subject import Subject
from dualrs_jax.verify import Unverifiable
from dualrs_jax.verify import settings as verify_settings

#: Checks all rows, where they are.
COMMAND = 'python -m dualrs_jax.verify rows.tsv'


def section(subject: Subject) -> str:
  """The part of a page about the guarantee."""
  claim = guarantee.of(subject.settings)
  settings = json.dumps(
    {k: v for k, v in subject.settings.items() if k != 'asked'}, indent=2
  )
  content = (
    page.paragraphs([claim.sentence])
    + page.items(claim.notes)
    + '<h3>How to check a row</h3>'
    + _verification(subject)
    + page.paragraphs(
      [
        'One row alone, by the code that made it: these lines read the file,'
        ' refuse a row that its votes do not make, and derive one again in'
        ' float64.'
      ]
    )
    + f'<pre><code id="check">{html.escape(check_code(subject))}</code></pre>'
    + page.paragraphs(
      [
        'To cast the votes again, run the same command in an empty folder with'
        ' the seed below: the rows have to be the same.'
      ]
    )
    + '<details><summary>Settings</summary>'
    f'<pre><code>{html.escape(settings)}</code></pre></details>'
  )
  return page.section('guarantee', 'What is guaranteed', content)


def check_code(subject: Subject) -> str:
  """Lines of Python that check the first row."""
  return f"""import pathlib
from dualrs_jax.evaluation import records, tsv
from dualrs_jax.runtime import settings

folder = pathlib.Path({subject.folder!r})  # where this page is
known = settings.read(folder / 'settings.json')
rows = {{row.idx: row for row in tsv.read(folder / 'rows.tsv', known)}}
row = rows[{subject.rows[0].idx}]
records.check(row, known)
print(records.recompute(row, known))
"""


def _verification(subject: Subject) -> str:
  """How all rows are verified; or why that is not possible."""
  votes = 'The votes in a row determine everything else in it.'
  try:
    verify_settings.refuse_unknown(subject.settings, 'settings.json')
  except Unverifiable as error:
    return page.paragraphs(
      [f'{votes} {COMMAND} cannot check this run: {error}.']
    )
  told = (
    f'{votes} This command, in the folder with rows.tsv and settings.json,'
    ' computes every row again from its votes, by code of its own; it needs the'
    ' package dualrs_jax, and neither the networks nor the images.'
  )
  return (
    page.paragraphs([told])
    + f'<pre><code id="verify">{html.escape(COMMAND)}</code></pre>'
  )
