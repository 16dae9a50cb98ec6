"""Example images with the noise level that was chosen for each."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dualrs_jax import noise
from dualrs_jax.data import Source, to_unit
from dualrs_jax.evaluation import noises, style
from dualrs_jax.evaluation.records import Record
from dualrs_jax.evaluation.run_rows import Run

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

_PER_LEVEL = 7
_NAME = 6  # letters
_SIDE, _GAP, _MARGIN, _HEAD = 0.85, 0.06, 0.12, 1.15  # inches
_CAPTION, _BETWEEN = 0.24, 0.12


def chosen_images(run: Run, source: Source) -> 'Figure':
  """Images for which each noise level was chosen, clean and noisy.

  The noisy copy is the one on which the first estimation vote was cast. The
  images are the first ones of the data set for each level; a level that was
  never chosen is left out.

  Args:
    run: Rows of a dual certification.
    source: The images that the rows are about.
  """
  groups = {
    level: [row for row in run.rows if row.sigma_index == level]
    for level in range(len(run.settings['sigmas']))
  }
  groups = {level: group for level, group in groups.items() if group}
  block = _CAPTION + 2 * _SIDE + _GAP + _BETWEEN
  height = style.TITLE_HEIGHT + len(groups) * block
  width = 2 * _MARGIN + _HEAD + _PER_LEVEL * (_SIDE + _GAP)
  figure = style.blank(
    width,
    height,
    'Which noise an image gets',
    'Label and certified radius of the first images at each level, clean and'
    f' with their first noise ({run.label})',
  )
  sampler = noises.make(run.settings)
  position = {int(idx): at for at, idx in enumerate(source.indices)}
  for order, (level, group) in enumerate(groups.items()):
    top = height - style.TITLE_HEIGHT - order * block - _CAPTION
    _head(figure, run, level, len(group), top)
    for column, row in enumerate(group[:_PER_LEVEL]):
      image = to_unit(source.gather(np.array([position[row.idx]]))[0])[0]
      left = _MARGIN + _HEAD + column * (_SIDE + _GAP)
      axes = _show(figure, image, left, top)
      certifies = run.settings['task'] == 'certify'
      caption = _caption(row, run.settings, certifies=certifies)
      axes.set_title(caption, fontsize=8, color=style.INK, pad=3)
      noisy = _noisy(image, row, sampler, run.settings['seed'])
      _show(figure, noisy, left, top - _SIDE - _GAP)
  return figure


def _noisy(
  image: Float[jax.Array, '*image'], row: Record, sampler: Any, seed: int
) -> Float[jax.Array, '*image']:
  """The image of the first estimation vote."""
  key = noise.image_key(jax.random.key(seed), row.idx)
  key = noise.vote_key(key, noise.ESTIMATION, jnp.asarray(0))
  return sampler(key, image, jnp.float32(row.sigma))


def _show(
  figure: 'Figure', image: Float[jax.Array, '*image'], left: float, top: float
) -> 'Axes':
  """Draws an image at a place in inches from the lower left corner."""
  width, height = figure.get_size_inches()
  axes = figure.add_axes(
    (left / width, (top - _SIDE) / height, _SIDE / width, _SIDE / height)
  )
  axes.set_axis_off()
  axes.imshow(
    np.clip(np.asarray(image), 0, 1).squeeze(),
    cmap='gray',
    vmin=0,
    vmax=1,
    interpolation='nearest',
  )
  return axes


def _caption(
  row: Record, settings: Mapping[str, Any], *, certifies: bool
) -> str:
  """The prediction and its radius; the label where they differ."""
  names = settings.get('class_names')
  name = lambda label: str(label) if names is None else _short(names[label])
  if row.predict < 0:
    return f'{name(row.label)}: abstains'
  label = name(row.label)
  if not row.correct:
    between = ': taken for ' if names is None else ' as '
    return f'{label}{between}{name(row.predict)}'
  equals = 'r = ' if names is None else ''
  return f'{label}: {equals}{row.radius:.2f}' if certifies else label


def _short(name: str) -> str:
  """A name that fits above an image."""
  return name if len(name) <= _NAME else f'{name[: _NAME - 1]}…'


def _head(
  figure: 'Figure', run: Run, level: int, chosen: int, top: float
) -> None:
  """What stands to the left of a level's images."""
  width, height = figure.get_size_inches()
  for text, below, color, size, weight in (
    (
      f'σ = {run.settings["sigmas"][level]:g}',
      0.3,
      style.level_color(level),
      12,
      'bold',
    ),
    (f'{chosen} of {len(run.rows)}\nimages', 0.56, style.QUIET, 8.5, 'normal'),
  ):
    figure.text(
      _MARGIN / width,
      (top - below) / height,
      text,
      va='top',
      color=color,
      fontsize=size,
      fontweight=weight,
    )
