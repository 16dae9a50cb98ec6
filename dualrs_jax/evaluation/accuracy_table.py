"""The table of certified accuracy: a run, its classes, plain smoothing."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from dualrs_jax import metrics
from dualrs_jax.evaluation.run_rows import Run

#: The confidence of every interval.
INTERVAL = 0.95
_BOOTSTRAP_SEED = 0
#: Classes up to which each has a row of the table, if it has a name.
_MOST_CLASSES = 10


def comparable(run: Run, other: Run) -> bool:
  """Whether `other` is plain smoothing that `run` can be compared with."""
  names = (
    'data',
    'split',
    'n0',
    'n',
    'alpha',
    'num_classes',
    'goal',
    'noise',
    'radii',
  )
  return (
    other.label != run.label
    and run.settings['task'] == other.settings['task'] == 'certify'
    and run.settings['smoothing'] in ('dual', 'cascade')
    and other.settings['smoothing'] == 'single'
    and all(run.settings[name] == other.settings[name] for name in names)
    and bool({row.idx for row in run.rows} & {row.idx for row in other.rows})
  )


def is_part(run: Run, single: Run) -> bool:
  """Whether plain smoothing is of the run's classifier, at a level of its."""
  weights, theirs = run.settings['weights'], single.settings['weights']
  return (
    weights['classifier'] == theirs['classifier']
    and single.settings['sigmas'][0] in run.settings['sigmas']
  )


def hits(
  run: Run,
  radii: Sequence[float] | Float[np.ndarray, ' radii'],
  indices: Sequence[int] | None = None,
) -> Bool[np.ndarray, 'radii images']:
  """Whether each image counts as right and certified, at each radius."""
  rows = run.rows
  if indices is not None:
    by_index = {row.idx: row for row in run.rows}
    rows = [by_index[idx] for idx in indices]
  correct = np.array([row.correct for row in rows], bool)
  reached = np.array([row.radius for row in rows]) >= np.array(radii)[:, None]
  return correct & reached


def of_run(run: Run, radii: Sequence[float]) -> list[str]:
  """A row of the table: the label of a run and a cell for each radius."""
  shares = hits(run, radii).mean(axis=1)
  return [run.label, *(percent(share, len(run.rows)) for share in shares)]


def by_class(run: Run, radii: Sequence[float]) -> list[list[str]]:
  """A table row for each class, where classes have names and are few."""
  names = run.settings.get('class_names') or ()
  if not 0 < len(names) <= _MOST_CLASSES:
    return []
  table = []
  for label, name in enumerate(names):
    rows = [row for row in run.rows if row.label == label]
    if rows:
      cells = of_run(run._replace(rows=rows), radii)
      table.append([f'- {name} ({len(rows)})', *cells[1:]])
  return table


def percent(share: float, rows: int) -> str:
  """A share of so many rows in percent, with its interval."""
  low, high = metrics.accuracy_interval(share, rows, alpha=1 - INTERVAL)
  outward = np.floor(100 * low), np.ceil(100 * high)
  return f'{100 * share:.1f} [{outward[0]:.0f}, {outward[1]:.0f}]'


def compare(
  run: Run, baselines: Sequence[Run], radii: Sequence[float]
) -> tuple[list[list[str]], str]:
  """Table rows of the baselines and of the ratio to the best; a note."""
  common = sorted(
    set.intersection(
      *({row.idx for row in other.rows} for other in (run, *baselines))
    )
  )
  table = []
  for other in baselines:
    shares = hits(other, radii, common).mean(axis=1)
    cells = [percent(share, len(common)) for share in shares]
    table.append([other.label, *cells])
  ours = hits(run, radii, common)
  theirs = np.stack([hits(other, radii, common) for other in baselines])
  ratios = ['ratio to the best']
  for at in range(len(radii)):
    if theirs[:, at].any():
      ratio, low, high = metrics.paired_bootstrap_ratio(
        ours[at],
        theirs[:, at],
        seed=_BOOTSTRAP_SEED,
        alpha=1 - INTERVAL,
      )
      ratios.append(f'{ratio:.2f} [{low:.2f}, {high:.2f}]')
    else:
      ratios.append('-')
  where = (
    ''
    if len(common) == len(run.rows)
    else f' on the {len(common)} images that all of these runs hold'
  )
  note = (
    f'The other rows are plain smoothing at one noise level{where}. The best of'
    ' them is chosen at each radius by itself, after the fact; the interval of'
    f' the ratio is a paired bootstrap over images ({INTERVAL:.0%}).'
  )
  return [*table, ratios], note
