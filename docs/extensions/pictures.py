"""Pictures in two tones, as GitHub has them.

A block of HTML

    <picture>
      <source media="(prefers-color-scheme: dark)" srcset="NAME-dark.svg">
      <img alt="..." src="NAME.svg">
    </picture>

becomes two pictures of the site, of which it shows the one for its tone. Of raw
HTML Sphinx would neither copy the files nor move the paths.
"""

import xml.etree.ElementTree as ET

from docutils import nodes
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)


class Pictures(SphinxTransform):
  """Makes images of blocks of HTML that are pictures."""

  default_priority = 200  # before images are collected

  def apply(self, **_):
    for raw in list(self.document.findall(nodes.raw)):
      if raw.astext().lstrip().startswith('<picture>'):
        try:
          raw.replace_self(images(raw.astext()))
        except (ET.ParseError, KeyError, AttributeError) as error:
          logger.warning('picture %r: %r', raw.astext(), error, location=raw)


def images(text: str) -> list[nodes.Node]:
  """The light and the dark image of a picture.

  Raises:
    ET.ParseError: It is no HTML of this form.
    KeyError, AttributeError: It lacks a tone or its text.
  """
  # HTML closes neither of them, XML has to.
  closed = text.replace('">\n', '"/>\n').replace('"></', '"/></')
  picture = ET.fromstring(closed)
  light, dark = picture.find('img'), picture.find('source')
  assert light is not None
  found: list[nodes.Node] = []
  for source, tone in (
    (light.attrib['src'], 'only-light'),
    (dark.attrib['srcset'], 'only-dark'),  # pyright: ignore
  ):
    image = nodes.image(uri=source, alt=light.attrib['alt'], classes=[tone])
    found.append(nodes.paragraph('', '', image, classes=['picture', tone]))
  return found


def setup(app):
  app.add_transform(Pictures)
  return {'parallel_read_safe': True, 'parallel_write_safe': True}
