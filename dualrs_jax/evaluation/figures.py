"""Curves and distributions of a certification."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from scipy import special

from dualrs_jax import confidence, metrics
from dualrs_jax.evaluation import run_plans, style
from dualrs_jax.evaluation.accuracy_table import hits
from dualrs_jax.evaluation.records import Record
from dualrs_jax.evaluation.run_rows import Run

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_OUTCOMES = {
  'right': (1.0, lambda row: row.correct),
  'wrong': (0.55, lambda row: not row.correct and row.predict >= 0),
  'abstains': (0.25, lambda row: row.predict < 0),
}


def certified_accuracy(run: Run, singles: Sequence[Run]) -> 'Figure':
  """Certified accuracy over the radius, beside single noise levels.

  Where only some radii were decided, there are points at these alone.

  Args:
    run: The run to show, with a band of pointwise 95% Clopper-Pearson
      intervals for having few images.
    singles: Plain smoothing of the same classifier.
  """
  figure, axes = style.canvas(7.0, 4.6, 'Certified accuracy', _subtitle(run))
  decided = run.settings['radii']
  radii = np.array(decided) if decided else _radii(run, singles)
  curves = [
    style.Curve(
      _name(each),
      _color(run, each),
      100 * hits(each, radii).mean(axis=1),
      bold=each is run,
    )
    for each in (*singles, run)
  ]
  shown = slice(None) if decided else curves[-1].values > 0
  low, high = 100 * np.array(
    metrics.accuracy_interval(
      curves[-1].values[shown] / 100, len(run.rows), alpha=0.05
    )
  )
  color = style.faded(curves[-1].color, 0.12)
  if decided:
    style.draw_points(figure, axes, radii, curves, (low, high), color)
  else:
    axes.fill_between(
      radii[shown],
      low,
      high,
      step='post',
      color=color,
      linewidth=0,
      zorder=1,
    )
    style.draw_curves(figure, axes, radii, curves)
  axes.set_xlabel('certified $\\ell_2$ radius $r$ (pixels lie in [0, 1])')
  axes.set_ylabel('right and certified at $r$, % (grey: 95% interval)')
  return figure


def vote_probabilities(run: Run, singles: Sequence[Run]) -> 'Figure':
  """How sure the votes are of the right class, per noise level.

  The share of images whose label has, with confidence 1 - alpha, at least a
  given probability among the votes. At one noise level the radius is a
  function of that probability alone, so this is the distribution behind the
  curve of certified accuracy, without the scale of the noise. Without
  `singles`, a level is shown on the images for which it was chosen. Only for
  runs with a fixed number of votes: others stop where they are sure enough.
  """
  figure, axes = style.canvas(
    7.0, 4.9, 'How sure the votes are', _subtitle(run)
  )
  z_max = _bounds(run)[-1]
  grid = np.linspace(0, 1.04 * z_max, 600)
  curves = []
  for level, sigma in enumerate(run.settings['sigmas']):
    group = _rows_at_level(run, singles, level)
    if group:
      values = 100 * (_label_z(run, group) >= grid[:, None]).mean(axis=1)
      color = style.level_color(level)
      curves.append(style.Curve(f'σ = {sigma:g}', color, values, bold=False))
  if len(curves) > 1:
    values = 100 * (_label_z(run, run.rows) >= grid[:, None]).mean(axis=1)
    curves.append(style.Curve('chosen σ', style.INK, values, bold=True))
  style.draw_curves(figure, axes, grid, curves)
  shares = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 0.9999])
  ticks = special.ndtri(shares)
  shown = ticks <= grid[-1]
  axes.set_xticks(ticks[shown], [f'{share:g}' for share in shares[shown]])
  axes.set_xlabel('$p_A$: lower bound of the share of votes for the label')
  above = axes.secondary_xaxis('top')
  above.set_xlabel('radius / σ', color=style.QUIET)
  above.tick_params(colors=style.QUIET)
  above.spines['top'].set_visible(False)
  everywhere = singles or len(run.settings['sigmas']) == 1
  images = 'the images' if everywhere else 'the images at that level'
  axes.set_ylabel(f'% of {images} with at least this $p_A$')
  return figure


def chosen_levels(run: Run) -> 'Figure':
  """How often each noise level is chosen, and what comes of it."""
  from matplotlib.patches import Patch

  sigmas = run.settings['sigmas']
  figure, axes = style.canvas(
    7.0, 1.35 + 0.5 * len(sigmas), 'Noise level chosen', _subtitle(run)
  )
  axes.grid(visible=False)
  longest = 0.0
  for level in range(len(sigmas)):
    rows = [row for row in run.rows if row.sigma_index == level]
    left = 0.0
    for strength, belongs in _OUTCOMES.values():
      share = 100 * sum(bool(belongs(row)) for row in rows) / len(run.rows)
      color = style.faded(style.level_color(level), strength)
      axes.barh(level, share, left=left, height=0.64, color=color)
      if share >= 3:
        axes.text(
          left + share / 2,
          level,
          f'{share:.0f}',
          ha='center',
          va='center',
          color=style.INK if style.is_light(color) else 'white',
        )
      left += share
    axes.text(
      left, level, f'  {len(rows)} images', va='center', color=style.QUIET
    )
    longest = max(longest, left)
  axes.set_xlim(0, 1.2 * longest)  # with room for the text beside the bars
  axes.set_xticks([share for share in axes.get_xticks() if share <= 100])
  axes.set_xlim(0, 1.2 * longest)
  axes.set_ylim(len(sigmas) - 0.5, -0.5)
  axes.set_yticks(range(len(sigmas)), [f'σ = {sigma:g}' for sigma in sigmas])
  axes.tick_params(axis='y', length=0, labelcolor=style.INK, labelsize=11)
  axes.spines['left'].set_visible(False)
  axes.set_xlabel(f'% of {len(run.rows)} images')
  figure.legend(
    handles=[
      Patch(color=style.faded('#404040', strength), label=name)
      for name, (strength, _) in _OUTCOMES.items()
    ],
    loc='upper right',
    ncols=len(_OUTCOMES),
    frameon=False,
    handlelength=1.0,
    columnspacing=1.2,
  )
  return figure


def _radii(run: Run, singles: Sequence[Run]) -> Float[np.ndarray, ' radii']:
  largest = max(row.radius for each in (run, *singles) for row in each.rows)
  return np.linspace(0, 1.03 * max(largest, 0.01), 800)


def _subtitle(run: Run) -> str:
  settings = run.settings
  up_to = '' if settings['goal'] is None else 'up to '
  return (
    f'{run.label}: {len(run.rows)} images of {settings["data"]["name"]}'
    f' ({settings["split"]}), {up_to}n = {settings["n"]:,} votes,'
    f' α = {settings["alpha"]:g}'
  )


def _name(run: Run) -> str:
  if run.settings['smoothing'] == 'dual':
    return f'dual ({run.settings["certificate"]})'
  if run.settings['smoothing'] in ('cascade', 'distance'):
    return run.settings['smoothing']
  return f'σ = {run.settings["sigmas"][0]:g}'


def _color(main: Run, run: Run) -> str:
  if run.settings['smoothing'] != 'single':
    return style.INK
  sigmas = list(main.settings['sigmas'])
  return style.level_color(sigmas.index(run.settings['sigmas'][0]))


def _rows_at_level(
  run: Run, singles: Sequence[Run], level: int
) -> Sequence[Record]:
  """Rows of plain smoothing at a level; without any, those that chose it."""
  if not singles:
    return [row for row in run.rows if row.sigma_index == level]
  sigma = run.settings['sigmas'][level]
  runs = [single for single in singles if single.settings['sigmas'] == [sigma]]
  return runs[0].rows if runs else []


def _bounds(run: Run) -> Float[np.ndarray, ' counts']:
  """Lower bounds of Phi^-1(p) by the number of votes, as the run has them."""
  alpha = run_plans.statistical_alpha(run.settings)
  return confidence.lower_z(run.settings['n'], alpha)


def _label_z(run: Run, rows: Sequence[Record]) -> Float[np.ndarray, ' images']:
  """Lower bounds of Phi^-1(p) for the label, at each row's own level."""
  bounds = _bounds(run)
  return np.array(
    [
      bounds[row.classifier_estimation[row.sigma_index][row.label]]
      if row.sigma_index in row.classifier_estimation
      else -np.inf
      for row in rows
    ]
  )
