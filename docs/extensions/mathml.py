"""Typesets the mathematics of the pages when they are built.

A browser shows MathML without a script or a font of the page. What is not
understood is a warning, and so fails a strict build.
"""

import math_core
from docutils import nodes
from sphinx.util import logging

logger = logging.getLogger(__name__)

_CONVERTER = math_core.LatexToMathML(fancy_error=False)


def markup(formula: str, *, block: bool) -> str:
  """The MathML of a formula.

  Raises:
    math_core.LatexError: If something in it is not known.
  """
  if r'\tag' in formula:
    formula = rf'\begin{{equation}}{formula}\end{{equation}}'
  return _CONVERTER.convert_with_local_state(formula, displaystyle=block)


def _write(self, node, *, block: bool):
  try:
    text = markup(node.astext(), block=block)
  except math_core.LatexError as error:
    logger.warning('formula %r: %s', node.astext(), error, location=node)
    text = ''
  self.body.append(f'<div class="formula">{text}</div>' if block else text)
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
