"""Typesets the mathematics of the pages when they are built.

A browser shows MathML without a script. What is not understood is a
warning, and so fails a strict build.
"""

import math_core
from docutils import nodes
from sphinx.util import logging

logger = logging.getLogger(__name__)

#: Lines under and over letters: browsers put the combining ones beside them.
_LINES = {
  '\u0332</mo></munder>': '_</mo></munder>',
  '\u0332</mo></mover>': '\u00af</mo></mover>',
}
_CONVERTER = math_core.LatexToMathML(fancy_error=False)


def markup(formula: str, *, block: bool) -> str:
  """The MathML of a formula.

  Raises:
    math_core.LatexError: If something in it is not known.
  """
  if r'\tag' in formula:
    formula = rf'\begin{{equation}}{formula}\end{{equation}}'
  text = _CONVERTER.convert_with_local_state(formula, displaystyle=block)
  for combining, plain in _LINES.items():
    text = text.replace(combining, plain)
  return text


def _write(self, node, *, block: bool):
  try:
    text = markup(node.astext(), block=block)
  except math_core.LatexError as error:
    logger.warning('formula %r: %s', node.astext(), error, location=node)
    text = ''
  # The word joiner keeps a full stop from a line of its own.
  text = f'<div class="formula">{text}</div>' if block else f'{text}&#8288;'
  self.body.append(text)
  raise nodes.SkipNode


def _inline(self, node):
  _write(self, node, block=False)


def _block(self, node):
  _write(self, node, block=True)


def setup(app):
  app.add_html_math_renderer(
    'mathml',
    inline_renderers=(_inline, None),
    block_renderers=(_block, None),
  )
  return {'parallel_read_safe': True, 'parallel_write_safe': True}
