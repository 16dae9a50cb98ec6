"""How our figures look: canvas, colours, labels beside curves.

Colours are those of Okabe and Ito (2008), which people with any colour vision
can tell apart. Matplotlib is imported when the first figure is made.
"""

import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from dualrs_jax import folders
from dualrs_jax.runtime import files

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

#: The colour of what is read.
INK = '#1A1A1A'
#: The colour of what stands back.
QUIET = '#5F5F5F'
#: Inches that a title and its subtitle take.
TITLE_HEIGHT = 0.62
#: The width of an interval at a point.
_BAR_POINTS = 9
_LEVELS = ('#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', '#D55E00')
_STYLE: dict[Any, Any] = {
  'font.size': 10,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.edgecolor': QUIET,
  'axes.labelcolor': INK,
  'axes.grid': True,
  'axes.axisbelow': True,
  'grid.color': '#E8E8E8',
  'grid.linewidth': 0.8,
  'xtick.color': QUIET,
  'ytick.color': QUIET,
}


class Curve(NamedTuple):
  """A curve over a common grid.

  Attributes:
    name: What its label says.
    color: Of the line and the label.
    values: Its heights, in percent.
    bold: Whether this is the curve that the figure is about.
  """

  name: str
  color: str
  values: Float[np.ndarray, ' grid']
  bold: bool


def level_color(level: int) -> str:
  """The colour of a noise level, the same in all figures of a run."""
  return _LEVELS[level % len(_LEVELS)]


def faded(color: str, strength: float) -> str:
  """A colour mixed with white."""
  channels = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
  mixed = [round(255 + (channel - 255) * strength) for channel in channels]
  return '#' + ''.join(f'{channel:02X}' for channel in mixed)


def is_light(color: str) -> bool:
  """Whether dark text is easier to read on this colour than white."""
  red, green, blue = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
  return 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 > 0.3


def canvas(
  width: float, height: float, title: str, subtitle: str
) -> tuple['Figure', 'Axes']:
  """A figure of that many inches with a title and one pair of axes."""
  figure, [axes] = panels(width, height, title, subtitle, [1.0])
  return figure, axes


def panels(
  width: float,
  height: float,
  title: str,
  subtitle: str,
  heights: Sequence[float],
) -> tuple['Figure', list['Axes']]:
  """The same with several pairs of axes, one below the other, of one x axis.

  Args:
    width: Of the figure, in inches.
    height: Of the figure, in inches.
    title: Its first line.
    subtitle: Its second line.
    heights: Of the axes, in proportion.
  """
  import matplotlib as mpl

  figure = blank(width, height, title, subtitle)
  with mpl.rc_context(_STYLE):
    axes = figure.subplots(
      len(heights),
      sharex=True,
      squeeze=False,
      gridspec_kw={'height_ratios': list(heights)},
    )
  figure.set_layout_engine(
    'constrained', rect=(0, 0, 1, 1 - TITLE_HEIGHT / height)
  )
  return figure, list(axes[:, 0])


def blank(width: float, height: float, title: str, subtitle: str) -> 'Figure':
  """A figure of that many inches that holds a title, and nothing else yet."""
  from matplotlib.figure import Figure

  figure = Figure(figsize=(width, height))
  for text, below, size, color, weight in (
    (title, 0.12, 12, INK, 'bold'),
    (subtitle, 0.37, 9, QUIET, 'normal'),
  ):
    figure.text(
      0.12 / width,
      1 - below / height,
      text,
      va='top',
      fontsize=size,
      fontweight=weight,
      color=color,
    )
  return figure


def draw_curves(
  figure: 'Figure',
  axes: 'Axes',
  grid: Float[np.ndarray, ' grid'],
  curves: Sequence[Curve],
) -> None:
  """Draws falling curves in percent and writes each one's name beside it."""
  for curve in curves:
    drawn = curve.values > 0
    drawn[1:] |= drawn[:-1]  # down to zero, but not along it
    axes.step(
      grid[drawn],
      curve.values[drawn],
      where='post',
      color=curve.color,
      linewidth=2.6 if curve.bold else 1.7,
      zorder=3 if curve.bold else 2,
    )
  axes.set_xlim(grid[0], grid[-1])
  highest = max(curve.values.max() for curve in curves)
  axes.set_ylim(0, min(100, 10 * np.ceil(highest / 10 + 0.7)))
  width, height = figure.get_size_inches()
  _label(axes, (width, height), grid, curves)


def draw_points(
  figure: 'Figure',
  axes: 'Axes',
  radii: Float[np.ndarray, ' radii'],
  curves: Sequence[Curve],
  interval: tuple[Float[np.ndarray, ' radii'], Float[np.ndarray, ' radii']],
  interval_color: str,
) -> None:
  """Draws falling percentages that are known at a few radii alone.

  The dotted lines only lead the eye: nothing is claimed between the points.
  There is an interval, from low to high, at each of them.
  """
  axes.vlines(
    radii, *interval, color=interval_color, linewidth=_BAR_POINTS, zorder=1
  )
  grid = np.linspace(0, 1.06 * max(radii[-1], 1e-9), 400)
  guides = []
  for curve in curves:
    axes.plot(
      radii,
      curve.values,
      color=curve.color,
      marker='o',
      markersize=7 if curve.bold else 5,
      linestyle=(0, (1, 2.5)),
      linewidth=1.4 if curve.bold else 1.0,
      zorder=2 if curve.bold else 3,  # the smaller marker lies on the larger
      clip_on=False,
    )
    between = np.interp(grid, radii, curve.values, right=0)
    guides.append(curve._replace(values=between))
  axes.set_xlim(-0.02 * grid[-1], grid[-1])
  axes.set_ylim(0, 100)
  axes.set_xticks(radii)
  width, height = figure.get_size_inches()
  wide = grid[-1] * (_BAR_POINTS / 72) / (0.85 * width)
  bars = [
    (radius - wide / 2, low, wide, high - low)
    for radius, low, high in zip(radii, *interval, strict=True)
  ]
  _label(axes, (width, height), grid, guides, bars)


def save(figure: 'Figure', path: str | os.PathLike) -> pathlib.Path:
  """Writes a figure as PNG and returns where it is."""
  path = folders.expand(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  with files.naming(path):
    figure.savefig(path, dpi=200, facecolor='white')
  return path


def _label(
  axes: 'Axes',
  size: tuple[float, float],
  grid: Float[np.ndarray, ' grid'],
  curves: Sequence[Curve],
  obstacles: Sequence[tuple[float, float, float, float]] = (),
) -> None:
  """Puts each name above its curve, where it is farthest from all others.

  The room that a name takes is estimated from the figure's size in inches.
  Names that were placed are obstacles for the next ones, as are rectangles: of
  their left and lower edge, their width and height.
  """
  from matplotlib import patheffects

  top = axes.get_ylim()[1]
  tall, gap = top * 0.19 / (0.72 * size[1]), 0.018 * top
  placed = list(obstacles)
  for curve in sorted(curves, key=lambda curve: not curve.bold):
    wide = grid[-1] * (0.085 * len(curve.name)) / (0.85 * size[0])
    best = None
    for start in np.linspace(0.02 * grid[-1], grid[-1] - wide, 80):
      span = (grid >= start) & (grid <= start + wide)
      if not span.any() or not curve.values[span][0] > 0:
        continue
      low = curve.values[span].max() + gap
      room = top - (low + tall)
      for other in curves:
        if other is not curve:
          there = other.values[span]
          over = there.min() - (low + tall)  # the other one passes above
          under = low - there.max()  # or below
          room = min(room, max(over, under))
      for x, y, width, height in placed:
        if start < x + width and x < start + wide:
          room = min(room, max(y - (low + tall), low - (y + height)))
      steepness = low - gap - curve.values[span].min()
      score = min(room, 8.0) - 0.25 * steepness
      if best is None or score > best[0]:
        best = score, start, low
    if best is None:
      continue
    _, start, low = best
    placed.append((start, low, wide, tall))
    axes.text(
      start,
      low,
      curve.name,
      color=curve.color,
      fontweight='bold' if curve.bold else 'normal',
      va='bottom',
      zorder=4,
      path_effects=[patheffects.withStroke(linewidth=3, foreground='white')],
    )
