"""A page in one file: text, tables, charts, scripts and style."""

import functools
import html
import importlib.resources
import json
import string
from collections.abc import Mapping, Sequence
from typing import Any

from dualrs_jax.evaluation import style

_STATIC = importlib.resources.files('dualrs_jax.report') / 'static'
_SCRIPTS = ('charts.js', 'table.js', 'image.js', 'start.js')
#: Characters from which on a text of a table is broken into lines.
_LONG = 40
#: Of charts; colours are variables of the style.
CONFIG = {
  'background': 'transparent',
  'view': {'stroke': None},
  'font': 'system-ui, sans-serif',
  'axis': {
    'labelColor': 'var(--quiet)',
    'titleColor': 'var(--ink)',
    'titleFontWeight': 'normal',
    'labelFontSize': 12,
    'titleFontSize': 12,
    'gridColor': 'var(--line)',
    'domainColor': 'var(--quiet)',
    'tickColor': 'var(--quiet)',
  },
  'legend': {
    'labelColor': 'var(--ink)',
    'titleColor': 'var(--quiet)',
    'titleFontWeight': 'normal',
    'labelFontSize': 12,
    'orient': 'top',
  },
}


class MissingLibrary(ImportError):
  """The package that has the scripts of the charts is not installed."""


def page(
  title: str,
  body: str,
  charts: Mapping[str, Any],
  data: Mapping[str, Any] | None = None,
) -> str:
  """The HTML of a page.

  Args:
    title: Of the page, as text.
    body: HTML below the title.
    charts: Vega-Lite charts, by the `data-chart` of their places in the body.
    data: For the table, see `listing`; None without one.

  Raises:
    MissingLibrary: If `vl-convert-python` is not installed.
  """
  template = string.Template(_read('page.html'))
  return template.substitute(
    title=html.escape(title),
    style=_level_style() + _read('page.css'),
    body=body,
    config=_json(CONFIG),
    charts=_json(charts),
    data=_json(data),
    library=library(),
    script='\n'.join(map(_read, _SCRIPTS)),
  )


@functools.cache
def library() -> str:
  """The scripts that draw Vega-Lite charts."""
  try:
    import vl_convert
  except ImportError as error:
    raise MissingLibrary(
      'report.html is not written: its charts need the package'
      ' vl-convert-python, which pip installs'
    ) from error
  script = vl_convert.javascript_bundle()  # pyright: ignore[reportCallIssue]
  return script.replace('</script', '<\\/script')


def table(rows: Sequence[Sequence[str]], caption: str) -> str:
  """An HTML table of texts, the first row and column being headings."""
  head = ''.join(f'<th scope="col">{html.escape(t)}</th>' for t in rows[0])
  lines = []
  for first, *others in rows[1:]:
    cells = ''.join(map(_cell, others))
    lines.append(f'<tr><th scope="row">{html.escape(first)}</th>{cells}</tr>')
  return (
    f'<div class="wide" tabindex="0" role="region"'
    f' aria-label="{html.escape(caption)}"><table>'
    f'<caption>{html.escape(caption)}</caption>'
    f'<thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
  )


def _cell(text: str) -> str:
  kind = ' class="long"' if len(text) > _LONG else ''
  return f'<td{kind}>{html.escape(text)}</td>'


def section(name: str, title: str, content: str) -> str:
  """A part of a page, which a link can name."""
  return (
    f'<section id="{name}" aria-labelledby="{name}-title">'
    f'<h2 id="{name}-title">{html.escape(title)}</h2>{content}</section>'
  )


def paragraphs(sentences: Sequence[str]) -> str:
  """Texts as paragraphs."""
  return ''.join(f'<p>{html.escape(text)}</p>' for text in sentences)


def items(sentences: Sequence[str]) -> str:
  """Texts as a list."""
  texts = ''.join(f'<li>{html.escape(text)}</li>' for text in sentences)
  return f'<ul>{texts}</ul>'


def chart_place(name: str, told: str) -> str:
  """Where a chart will be, and what it shows, for those who do not see it."""
  return (
    f'<figure><div class="chart" data-chart="{html.escape(name)}" role="img"'
    f' aria-label="{html.escape(told)}"></div>'
    f'<figcaption>{html.escape(told)}</figcaption></figure>'
  )


def _level_style() -> str:
  """The colours of levels, by day and brighter by night."""
  colors = [style.level_color(level) for level in range(6)]
  light = ''.join(f'--level-{k}:{c};' for k, c in enumerate(colors))
  dark = ''.join(
    f'--level-{k}:{style.faded(c, 0.72)};' for k, c in enumerate(colors)
  )
  return (
    f':root{{{light}}}\n@media screen and (prefers-color-scheme: dark)'
    f'{{:root{{{dark}}}}}\n'
  )


def _read(name: str) -> str:
  return (_STATIC / name).read_text(encoding='utf-8')


def _json(value: Any) -> str:
  """JSON that can stand in a script of a page."""
  text = json.dumps(
    value, ensure_ascii=False, separators=(',', ':'), allow_nan=False
  )
  return text.replace('<', '\\u003c')
