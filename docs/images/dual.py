"""Draws what dual smoothing does, from a row of a run and its image.

python docs/images/dual.py runs/digits

The run has a label 'dual-agreement-fixed': all that is shown was cast.
"""

import argparse
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from tones import LIGHT as LIGHT
from tones import Tone, save

from dualrs_jax import data, noise
from dualrs_jax.evaluation import noises, run_rows

PICTURE = pathlib.Path(__file__).with_name('dual.svg')
WIDTH, HEIGHT = 8.3, 2.2  # inches


def draw(tone: Tone, run, source: data.Source, idx: int):
  """The image, its noise levels, the votes, and the ball."""
  from matplotlib.figure import Figure

  [row] = [row for row in run.rows if row.idx == idx]
  place = np.flatnonzero(source.indices == idx)
  image = data.to_unit(source.gather(place)[0])[0]
  figure = Figure(figsize=(WIDTH, HEIGHT))
  for left, number, title in (
    (0.08, 1, 'an image'),
    (1.68, 2, 'a network votes for a level'),
    (4.78, 3, 'another for a class'),
    (6.6, 4, 'both hold in a ball'),
  ):
    _text(figure, left, 2.06, f'{number}', tone.levels[row.sigma_index], 'bold')
    _text(figure, left + 0.16, 2.06, title, tone.ink, 'bold')
  axes = _image(figure, image, (0.08, 0.42, 1.25))
  _frame(axes, tone.quiet, 1)
  _levels(figure, tone, run, row, image)
  _classes(figure, tone, row)
  _ball(figure, tone, row, image)
  return figure


def _levels(figure, tone, run, row, image):
  """Noisy copies at all levels, each with the estimator's votes for it."""
  sampler = noises.make(run.settings)
  key = noise.image_key(jax.random.key(run.settings['seed']), row.idx)
  key = noise.vote_key(key, noise.ESTIMATION, jnp.asarray(0))
  votes = np.array(row.estimator_estimation)
  for level, sigma in enumerate(run.settings['sigmas']):
    left, chosen = 1.7 + 0.98 * level, level == row.sigma_index
    color = tone.levels[level] if chosen else tone.quiet
    noisy = sampler(key, image, jnp.float32(sigma))
    axes = _image(figure, noisy, (left, 0.77, 0.9))
    _frame(axes, color, 4 if chosen else 1)
    weight = 'bold' if chosen else 'normal'
    _text(figure, left + 0.45, 0.6, f'σ = {sigma:g}', color, weight, 'center')
    text = f'{votes[level]:,} votes'
    _text(figure, left + 0.45, 0.35, text, color, weight, 'center')


def _classes(figure, tone, row):
  """The votes of the classifier at the chosen level."""
  votes = np.array(row.classifier_estimation[row.sigma_index])
  axes = _axes(figure, (4.86, 0.5, 1.4, 1.25))
  colors = [
    tone.levels[row.sigma_index] if label == row.predict else tone.quiet
    for label in range(len(votes))
  ]
  axes.bar(range(len(votes)), votes, color=colors)
  axes.axis('on')
  axes.patch.set_visible(False)
  for side, spine in axes.spines.items():
    spine.set_visible(side == 'bottom')
    spine.set_color(tone.quiet)
  axes.set_yticks([])
  axes.set_xticks(range(len(votes)))
  axes.tick_params(colors=tone.quiet, length=0, labelsize=8)
  said = f'{votes[row.predict]:,} of {votes.sum():,}'
  axes.text(
    row.predict,
    1.05 * votes.max(),
    said,
    ha='center',
    fontsize=9,
    color=tone.levels[row.sigma_index],
    weight='bold',
  )
  axes.set_ylim(0, 1.25 * votes.max())
  _text(figure, 5.56, 0.2, 'class', tone.quiet, 'normal', 'center')


def _ball(figure, tone, row, image):
  """The image in the ball in which nothing gets another answer."""
  color = tone.levels[row.sigma_index]
  axes = _axes(figure, (6.72, 0.3, 1.5, 1.62))
  turn = np.linspace(0, 2 * np.pi, 200)
  axes.fill(np.cos(turn), np.sin(turn), color=color, alpha=0.16)
  axes.plot(np.cos(turn), np.sin(turn), color=color, linewidth=2)
  axes.plot([0, 1], [0, 0], color=tone.ink, linewidth=1.6)
  axes.set(xlim=(-1.1, 1.1), ylim=(-1.19, 1.19), aspect='equal')
  _image(figure, image, (7.47 - 0.25, 1.11 - 0.25, 0.5))
  radius = np.floor(100 * row.radius) / 100
  axes.text(
    0.68, 0.08, f'{radius:.2f}', ha='center', fontsize=10, color=tone.ink
  )
  said = f'in it the answer stays {row.predict}'
  _text(figure, 7.47, 0.2, said, tone.ink, 'normal', 'center')


def _axes(figure, box):
  left, bottom, width, height = box
  axes = figure.add_axes(
    (left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT)
  )
  axes.set_axis_off()
  return axes


def _image(figure, image, box):
  """An image at its left and lower edge, of that many inches."""
  left, bottom, side = box
  axes = _axes(figure, (left, bottom, side, side))
  axes.imshow(
    np.clip(np.asarray(image), 0, 1).squeeze(),
    cmap='gray',
    vmin=0,
    vmax=1,
    interpolation='nearest',
  )
  return axes


def _frame(axes, color, width):
  low, high = axes.get_xlim()
  axes.plot(
    [low, high, high, low, low],
    [low, low, high, high, low],
    color=color,
    linewidth=width,
    clip_on=False,
  )


def _text(figure, left, bottom, text, color, weight, align='left'):
  figure.text(
    left / WIDTH,
    bottom / HEIGHT,
    text,
    color=color,
    weight=weight,
    ha=align,
    va='center',
    fontsize=9.5,
  )


def main(workdir: pathlib.Path, label: str, idx: int) -> list[pathlib.Path]:
  """Draws the picture in both tones."""
  run = run_rows.load_runs(workdir)[label]
  options = dict(run.settings['data'])
  source = data.load(options.pop('name'), run.settings['split'], **options)
  return save(lambda tone: draw(tone, run, source, idx), PICTURE)


if __name__ == '__main__':
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('workdir', type=pathlib.Path)
  parser.add_argument('--label', default='dual-agreement-fixed')
  parser.add_argument('--idx', type=int, default=31)
  arguments = parser.parse_args()
  for written in main(arguments.workdir, arguments.label, arguments.idx):
    print(written)
