"""The two tones of a picture: on a light page, and on a dark one.

A page shows the one that fits by

    <picture>
      <source media="(prefers-color-scheme: dark)" srcset="NAME-dark.svg">
      <img alt="..." src="NAME.svg">
    </picture>

on GitHub, and on the site (docs/extensions/pictures.py).
"""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import matplotlib as mpl

from dualrs_jax.evaluation import style


class Tone(NamedTuple):
  """The colours of a picture.

  Attributes:
    ink: Of what is read.
    quiet: Of what stands back.
    page: Of the page behind, for halos; the picture itself is transparent.
    levels: Of the noise levels.
    bad: Of what is answered otherwise.
  """

  ink: str
  quiet: str
  page: str
  levels: tuple[str, ...]
  bad: str


#: Amber of the house has too little contrast for text on white.
LIGHT = Tone(
  style.INK,
  style.QUIET,
  '#FFFFFF',
  ('#0072B2', '#B06A00', '#00795A'),
  '#B3261E',
)
DARK = Tone(
  '#ECEFF4', '#A9B1BD', '#0D1117', ('#62B5F0', '#F0B040', '#3CCB9E'), '#FF8A80'
)


def save(draw: Callable[[Tone], Any], path: pathlib.Path) -> list[pathlib.Path]:
  """Writes a picture in both tones: NAME.svg and NAME-dark.svg."""
  written = []
  for tone, name in ((LIGHT, path.stem), (DARK, f'{path.stem}-dark')):
    target = path.with_name(f'{name}.svg')
    # The same bytes whenever the same is drawn.
    with mpl.rc_context({'svg.hashsalt': name}):
      draw(tone).savefig(target, transparent=True, metadata={'Date': None})
    written.append(target)
  return written
