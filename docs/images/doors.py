"""Draws the picture of docs/doors.md.

python docs/images/doors.py
"""

import pathlib

from tones import Tone, save

PICTURE = pathlib.Path(__file__).with_name('doors.svg')

#: What one has, the door, and what comes out of it.
DOORS = (
  (
    'a network and one image',
    'certify\ncertify_dual',
    'a class and\nits radius',
  ),
  (
    'a model of any\nframework, an array',
    'certify_array\ncertify_images',
    'a radius for\neach image',
  ),
  (
    'a folder and a\nPyTorch model',
    'dualrs_jax.train\n--config mine.py',
    'an estimator,\nrows, a table',
  ),
  (
    'images, and\nnothing trained',
    'dualrs_jax.train\n--config digits',
    'both networks,\nrows, a table',
  ),
  (
    'many images,\nmany machines',
    'dualrs_jax.certify\non each of them',
    'the same rows,\nsooner',
  ),
  ("somebody's rows", 'dualrs_jax.verify', 'a record, or\nwhat is wrong'),
)
#: The left edges and widths of the three columns, in inches.
COLUMNS = ((0.12, 1.9), (2.6, 2.2), (5.4, 1.7))
ROW, HIGH, TOP = 0.68, 0.54, 0.4


def draw(tone: Tone):
  """Draws a row for each door: what one has, the way in, what one gets."""
  from matplotlib.colors import to_rgba
  from matplotlib.figure import Figure
  from matplotlib.patches import FancyBboxPatch

  width, height = 7.3, TOP + ROW * len(DOORS)
  figure = Figure(figsize=(width, height))
  axes = figure.add_axes((0, 0, 1, 1))
  axes.set(xlim=(0, width), ylim=(height, 0))
  axes.axis('off')
  for (left, wide), name in zip(
    COLUMNS, ('you have', 'you enter by', 'you get'), strict=True
  ):
    axes.text(left + wide / 2, TOP - 0.17, name, color=tone.quiet, ha='center')
  for row, texts in enumerate(DOORS):
    colour = tone.levels[row % len(tone.levels)]
    middle = TOP + ROW * row + HIGH / 2
    for place, ((left, wide), text) in enumerate(
      zip(COLUMNS, texts, strict=True)
    ):
      door = place == 1
      axes.add_patch(
        FancyBboxPatch(
          (left + 0.06, middle - HIGH / 2 + 0.06),
          wide - 0.12,
          HIGH - 0.12,
          boxstyle='round,pad=0.06',
          facecolor=to_rgba(colour, 0.25 if door else 0.08),
          edgecolor=colour,
          linewidth=1.6 if door else 0.8,
        )
      )
      axes.text(
        left + wide / 2,
        middle,
        text,
        color=tone.ink,
        ha='center',
        va='center',
        fontsize=9.5,
        family='monospace' if door else None,
        linespacing=1.15,
      )
      if place:
        before = sum(COLUMNS[place - 1])
        axes.annotate(
          '',
          (left - 0.04, middle),
          (before + 0.04, middle),
          arrowprops={'arrowstyle': '-|>', 'color': colour, 'linewidth': 1.4},
        )
  return figure


if __name__ == '__main__':
  print(*save(draw, PICTURE), sep='\n')
