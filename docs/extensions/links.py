"""Links that the pages do not spell out.

A name of the library in code, such as `certify` or `models.create`, leads to
its place in the reference. A link to a folder of the repository is its text:
the site has no page of it. One to a Python file downloads it, unless it is a
notebook, which is a page.
"""

import pathlib

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

from docs.extensions import public

_NO_LINK = (nodes.reference, nodes.title, addnodes.pending_xref)


class Names(SphinxPostTransform):
  """Makes references of the names of the library."""

  default_priority = 5
  formats = ('html',)

  def run(self, **_):
    known = dict(self.env.get_domain('py').objects)  # pyright: ignore
    for name, home in public.door().items():
      known[home] = known.get(name)
    for literal in list(self.document.findall(nodes.literal)):
      text = literal.astext().removeprefix('drs.').removesuffix('()')
      path = f'{public.PACKAGE}.{text.removeprefix(f"{public.PACKAGE}.")}'
      found = known.get(path)
      if found is None or found.objtype == 'module' or _is_linked(literal):
        continue
      link = make_refnode(
        self.app.builder,
        self.env.docname,
        found.docname,
        found.node_id,
        literal.deepcopy(),
        path,
      )
      literal.replace_self(link)


def _is_linked(node: nodes.Node | None) -> bool:
  while node is not None:
    if isinstance(node, _NO_LINK):
      return True
    node = node.parent
  return False


class Folders(SphinxPostTransform):
  """Leaves the text of a link to a folder."""

  default_priority = 5

  def run(self, **_):
    here = pathlib.Path(self.app.srcdir, self.env.docname).parent
    for link in list(self.document.findall(addnodes.pending_xref)):
      target = link.get('reftarget', '')
      if link.get('reftype') == 'myst' and (here / target).is_dir():
        link.replace_self(link.children)


class Programs(SphinxTransform):
  """Downloads Python files; as notebooks are some, all are taken for pages."""

  default_priority = 200  # before files to download are collected

  def apply(self, **_):
    for link in list(self.document.findall(addnodes.pending_xref)):
      target = f'{link.get("reftarget")}.py'
      if (
        link.get('refdomain') == 'doc'
        and link['reftarget'] not in self.env.found_docs
        and pathlib.Path(self.app.srcdir, target).is_file()
      ):
        file = addnodes.download_reference(
          '', '', *link.children, reftarget=f'/{target}', refdoc=link['refdoc']
        )
        link.replace_self(file)


def setup(app):
  app.add_transform(Programs)
  app.add_post_transform(Names)
  app.add_post_transform(Folders)
  return {'parallel_read_safe': True, 'parallel_write_safe': True}
