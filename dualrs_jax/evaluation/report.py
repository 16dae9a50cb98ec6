"""Writes the summaries and figures of the certifications in a directory."""

import importlib.util
import os
import pathlib
from collections.abc import Sequence

from dualrs_jax import folders
from dualrs_jax.data import Source
from dualrs_jax.evaluation import (
  accuracy_table,
  certify_source,
  figures,
  gallery,
  run_rows,
  style,
)
from dualrs_jax.evaluation import summary as summary_lib
from dualrs_jax.evaluation.run_rows import Run
from dualrs_jax.runtime import files


def report(
  workdir: str | os.PathLike,
  labels: Sequence[str],
  *,
  radii: Sequence[float],
  source: Source | None = None,
) -> str:
  """Summarizes certifications, and draws them.

  Each run's folder gets summary.txt, summary.md and figures/*.png. A dual run
  is shown beside the plain smoothing that the working directory holds; the
  table has all of it, the figures that of the same classifier.

  Args:
    workdir: The working directory.
    labels: The runs to report, by the names of their folders.
    radii: Radii of the table.
    source: The images of the runs; without them no examples are drawn.

  Returns:
    The summaries as text, and where the figures are.

  Raises:
    ValueError: If there is no such run, or it is damaged.
  """
  runs = run_rows.load_runs(workdir, required=labels)
  texts, told = [], []
  for label in labels:
    if label not in runs:
      raise ValueError(f'{workdir} holds no rows of {label!r}')
    run = runs[label]
    others = [
      other for other in runs.values() if accuracy_table.comparable(run, other)
    ]
    summary = summary_lib.summarize(run, others, radii)
    folder = folders.expand(workdir) / certify_source.FOLDER / label
    files.write_atomic(folder / 'summary.txt', summary_lib.to_text(summary))
    files.write_atomic(folder / 'summary.md', summary_lib.to_markdown(summary))
    summary.facts.extend(_drawn(run, others, folder / 'figures', source))
    new_notes = [note for note in summary.notes if note not in told]
    told += new_notes
    texts.append(summary_lib.to_text(summary._replace(notes=new_notes)))
  return '\n'.join(texts)


def _drawn(
  run: Run,
  others: Sequence[Run],
  folder: pathlib.Path,
  source: Source | None,
) -> list[str]:
  """Draws what there is to draw, and says where it is, or why it is not."""
  if importlib.util.find_spec('matplotlib') is None:
    return [
      'figures are not drawn: they need the package matplotlib, which pip'
      ' installs'
    ]
  names = ', '.join(path.stem for path in _draw(run, others, folder, source))
  return [f'figures in {folder}: {names}'] if names else []


def _draw(
  run: Run,
  others: Sequence[Run],
  folder: pathlib.Path,
  source: Source | None,
) -> list[pathlib.Path]:
  if run.settings['task'] == 'predict':
    return []
  singles = sorted(
    (other for other in others if accuracy_table.is_part(run, other)),
    key=lambda other: other.settings['sigmas'],
  )
  drawn = {'certified_accuracy': figures.certified_accuracy(run, singles)}
  if run.settings['goal'] is None:
    drawn['vote_probabilities'] = figures.vote_probabilities(run, singles)
  if run.settings['smoothing'] == 'dual':
    drawn['chosen_levels'] = figures.chosen_levels(run)
    if source is not None:
      drawn['examples'] = gallery.chosen_images(run, source)
  return [
    style.save(figure, folder / f'{name}.png') for name, figure in drawn.items()
  ]
