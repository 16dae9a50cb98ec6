"""Draws the agreement certificate: theorem 3 of docs/theory.md, exactly.

python docs/images/agreement.py

Everything is a half-plane, so that nothing is estimated. The estimator votes
for level 2 to the left of a line, for level 3 to the right of another one, and
for level 1 in between; the classifier at each level has one line of its own.
"""

import pathlib

import numpy as np
from scipy import special
from tones import Tone, save

from dualrs_jax import composition

#: Of the levels 1, 2 and 3, and of the estimator.
SIGMAS, ESTIMATOR_SIGMA = (0.4, 0.5, 0.6), 0.5
#: Where level 2 ends, and level 3 begins; the image is at 0.
LEFT, RIGHT = -0.7, 1.9
#: The classifier's lines: at which distance, in which direction.
DISTANCES = (1.55, 1.1, 0.45)
DIRECTIONS = np.deg2rad((62, 205, -20))
NORMALS = np.stack([np.cos(DIRECTIONS), np.sin(DIRECTIONS)], axis=-1)
#: What is shown of the plane.
WIDTHS, HEIGHTS = (-1.75, 2.65), (-1.85, 1.85)
PICTURE = pathlib.Path(__file__).with_name('agreement.svg')


def level_shares(x):
  """The estimator's votes, q_1, q_2 and q_3, where the first pixel is x."""
  second = special.ndtr((LEFT - x) / ESTIMATOR_SIGMA)
  third = special.ndtr((x - RIGHT) / ESTIMATOR_SIGMA)
  return np.stack([1 - second - third, second, third], axis=-1)


def strips():
  """Where each level is selected, between which first pixels."""
  x = np.linspace(*WIDTHS, 44_001)
  level = level_shares(x).argmax(axis=-1)
  return [x[level == k][[0, -1]] for k in range(3)]


def composed(points):
  """The level g_e at points [..., 2], and whether G answers as at the image."""
  level = level_shares(points[..., 0]).argmax(axis=-1)
  keeps = points @ NORMALS.T < np.array(DISTANCES)
  return level, np.take_along_axis(keeps, level[..., None], axis=-1)[..., 0]


def balls():
  """A_k and B_k at the image, and R, as the library composes them."""
  votes = special.ndtri(level_shares(np.float64(0)))
  agrees = np.array(DISTANCES) / np.array(SIGMAS)
  avoids = ESTIMATOR_SIGMA / 2 * (votes[0] - votes)
  bounds = composition.Bounds(votes[0], -votes, agrees[0], agrees)
  radii = composition.compose(bounds, np.int64(0), SIGMAS, ESTIMATOR_SIGMA)
  return avoids, np.array(DISTANCES), float(radii.radius)


def draw(tone: Tone):
  """The plane with its balls, and beside it the terms of R."""
  from matplotlib.figure import Figure

  figure = Figure(figsize=(8.0, 4.5))
  _plane(figure.add_axes((0.005, 0.01, 0.57, 0.98)), tone)
  _terms(figure.add_axes((0.715, 0.17, 0.275, 0.62)), tone)
  return figure


def _plane(axes, tone):
  avoids, agrees, radius = balls()
  for k, (left, right) in enumerate(strips()):
    axes.axvspan(left, right, color=tone.levels[k], alpha=0.13, linewidth=0)
    # A plane over the corners of a strip has its zero line where it belongs.
    corners = np.stack(np.meshgrid([left, right], HEIGHTS), axis=-1)
    beyond = corners @ NORMALS[k] - DISTANCES[k]
    other = axes.contourf(
      *np.moveaxis(corners, -1, 0),
      beyond,
      [0, 99],
      colors=[(0, 0, 0, 0)],
      hatches=['////'],
    )
    other.set(edgecolor=tone.bad, linewidth=0)
  turn = np.linspace(0, 2 * np.pi, 300)
  circle = np.stack([np.cos(turn), np.sin(turn)])
  axes.fill(*(radius * circle), color=tone.ink, alpha=0.09)
  for k in (0, 1, 2):
    axes.plot(*(agrees[k] * circle), color=tone.levels[k], linewidth=1.6)
    if k:
      axes.plot(
        *(avoids[k] * circle), '--', color=tone.levels[k], linewidth=1.6
      )
  axes.plot(*(radius * circle), color=tone.ink, linewidth=3)
  axes.plot(0, 0, 'o', color=tone.ink, markersize=5)
  halo = {
    'facecolor': tone.page,
    'edgecolor': 'none',
    'alpha': 0.85,
    'pad': 1.2,
  }
  for text, size, angle, color in (
    ('$B_1$', agrees[0], 118, tone.levels[0]),
    ('$A_2$', avoids[1], 90, tone.levels[1]),
    ('$A_3$', avoids[2], 118, tone.levels[2]),
    ('$B_3$', agrees[2], 90, tone.levels[2]),
    ('$R = B_2$', radius, 270, tone.ink),
  ):
    at = size * np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
    axes.text(
      *at, text, ha='center', va='center', fontsize=11, color=color, bbox=halo
    )
  axes.text(0.07, -0.13, '$x$', fontsize=12, color=tone.ink)
  for k, left in ((1, -1.68), (0, -0.62), (2, 1.98)):
    axes.text(
      left,
      -1.79,
      f'level {k + 1}',
      fontsize=10,
      weight='bold',
      color=tone.levels[k],
      bbox=halo,
    )
  axes.text(
    1.62, 1.55, 'another answer', ha='center', color=tone.bad, bbox=halo
  )
  axes.set(xlim=WIDTHS, ylim=HEIGHTS, aspect='equal')
  axes.set_axis_off()


def _terms(axes, tone):
  avoids, agrees, radius = balls()
  names = ('$B_1$', r'$\max(A_2, B_2)$', r'$\max(A_3, B_3)$')
  for k, name in enumerate(names):
    parts = [(agrees[k], f'$B_{k + 1}$')]
    if k:
      parts.insert(0, (avoids[k], f'$A_{k + 1}$'))
    largest = max(parts)[0]
    for place, (size, label) in enumerate(parts):
      y = k + (0 if len(parts) == 1 else 0.18 * (2 * place - 1))
      used = size == largest
      axes.barh(y, size, 0.3, color=tone.levels[k], alpha=0.9 if used else 0.3)
      if k:
        axes.text(
          size + 0.03, y, label, va='center', fontsize=10, color=tone.ink
        )
    axes.text(
      -0.06, k, name, ha='right', va='center', fontsize=11, color=tone.ink
    )
  axes.axvline(radius, color=tone.ink, linewidth=2.4)
  axes.text(
    radius, -0.62, '$R$, the smallest', ha='center', fontsize=11, color=tone.ink
  )
  axes.set(xlim=(0, 1.75), ylim=(2.5, -0.5))
  axes.set_yticks([])
  for side in ('top', 'right', 'left'):
    axes.spines[side].set_visible(False)
  axes.spines['bottom'].set_color(tone.quiet)
  axes.tick_params(colors=tone.quiet)
  axes.set_facecolor('none')
  axes.set_xlabel('distance from $x$', color=tone.quiet)


if __name__ == '__main__':
  for written in save(draw, PICTURE):
    print(written)
