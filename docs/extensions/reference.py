"""The reference: pages of the library's docstrings, made when they are read.

A page in `docs/reference` says which names or modules it has:

    ```{library}           names of `import dualrs_jax`, a line each
    ```{modules}           modules, or packages with all of their modules

Each stands for the text that `docstrings` makes of them. A public name on no
page or without documentation fails a strict build; one on two pages does too,
as Sphinx knows of both.
"""

import re

import griffe
from sphinx import addnodes
from sphinx.util import logging

from docs.extensions import docstrings, public

logger = logging.getLogger(__name__)

FENCE = re.compile(r'^```\{(library|modules)\}\n(.*?)^```$', re.M | re.S)
FOLDER = 'docs/reference/'


def expanded(text: str) -> str:
  """The text of a page, with the documentation that its fences stand for."""

  def put(found: re.Match) -> str:
    lines = found[2].split()
    if found[1] == 'library':
      return '\n'.join(map(docstrings.of_the_library, lines))
    return '\n'.join(
      docstrings.of_module(module)
      for name in lines
      for module in public.modules(name)
    )

  return FENCE.sub(put, text)


def undocumented() -> list[str]:
  """The public names, and the fields of classes, of which nothing is said."""
  missing = [m.path for m in public.modules() if not m.docstring]
  for module in public.modules():
    for found in public.members(module):
      if not public.text(found):
        missing.append(found.path)
      if isinstance(found, griffe.Class):
        told = docstrings.attributes(found)
        missing += [f'{found.path}.{f}' for f in public.fields(found) - told]
        missing += [
          member.path
          for member in public.members(found)
          if member.is_function and not member.docstring
        ]
  return missing


def _read(app, page: str, content: list[str]):
  if page.startswith(FOLDER):
    content[0] = expanded(content[0])


def _changed(app, env, *_) -> list[str]:
  """The pages that are made anew: they follow the source of the library."""
  return [page for page in env.found_docs if page.startswith(FOLDER)]


def _check(app, env):
  shown = set(env.get_domain('py').objects)
  for name in sorted(public.every() - shown):
    logger.warning('%s is on no page of %s', name, FOLDER)
  for name in undocumented():
    logger.warning('%s is public and has no documentation', name)


def _without_quotes(app, doctree):
  """Shows words in a signature as words; they were quoted to be parsed."""
  for node in doctree.findall(addnodes.desc_sig_literal_string):
    text = node.astext().strip('\'"')
    if text.startswith(docstrings.PLAIN):
      words = text.removeprefix(docstrings.PLAIN)
      node.replace_self(addnodes.desc_sig_name('', words))


def setup(app):
  app.connect('doctree-read', _without_quotes)
  app.connect('source-read', _read)
  app.connect('env-get-outdated', _changed)
  app.connect('env-check-consistency', _check)
  return {'parallel_read_safe': True, 'parallel_write_safe': True}
