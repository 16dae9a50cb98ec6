"""What a page is about: the rows of a run and what belongs to them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dualrs_jax.evaluation.records import Record
from dualrs_jax.evaluation.run_rows import Run
from dualrs_jax.report import terms
from dualrs_jax.report.terms import Terms

#: Rows whose pictures and votes by class are in a page; of more, every second
#: is, or every third ...
DETAILED = 500
#: Rows that are in the table of a page, chosen likewise.
LISTED = 50_000

_MOST_RADII = 9


class Subject(NamedTuple):
  """A certification.

  Attributes:
    run: Its rows and settings.
    singles: Plain smoothing of the same classifier and images.
    radii: Where certified accuracy is told.
    terms: Of each row, what limits its radius; None where it is not known.
    training: Rows of metrics of the training.
    class_names: The names of the classes; None for their numbers.
    folder: Where the rows are, as text.
    files: The files of images by dataset index; empty where they are none.
  """

  run: Run
  singles: Sequence[Run]
  radii: Sequence[float]
  terms: Sequence[Terms | None]
  training: Sequence[Mapping[str, Any]]
  class_names: Sequence[str] | None
  folder: str
  files: Mapping[int, str]

  @property
  def rows(self) -> Sequence[Record]:
    """The rows that are there, in the order of the dataset index."""
    return self.run.rows

  @property
  def settings(self) -> Mapping[str, Any]:
    """What the settings file of the run records."""
    return self.run.settings

  @property
  def certifies(self) -> bool:
    """Whether there are radii."""
    return self.settings['task'] == 'certify'

  def name(self, label: int | None) -> str:
    """The name of a class, '' for none."""
    if label is None or label < 0:
      return ''
    return str(label) if self.class_names is None else self.class_names[label]


def restricted(subject: Subject, images: set[int]) -> Subject:
  """A subject with the rows of some images alone."""
  places = [at for at, row in enumerate(subject.rows) if row.idx in images]
  rows = [subject.rows[at] for at in places]
  terms_of_rows = [subject.terms[at] for at in places]
  return subject._replace(
    run=subject.run._replace(rows=rows), terms=terms_of_rows
  )


def make(
  run: Run,
  *,
  singles: Sequence[Run] = (),
  radii: Sequence[float] = (),
  training: Sequence[Mapping[str, Any]] = (),
  class_names: Sequence[str] | None = None,
  folder: str = '',
  files: Mapping[int, str] | None = None,
) -> Subject:
  """Collects what a page is about; see `Subject`.

  Args:
    run: The rows, one at least.
    singles: Plain smoothing of the same classifier.
    radii: Where certified accuracy is told; empty for those that the run
      decided, or round ones.
    training: Rows of metrics.
    class_names: One for each class; by default those that the run recorded.
    folder: Where the rows are.
    files: Those of images that are files, by dataset index.

  Raises:
    ValueError: If the number of names is not that of the classes.
  """
  classes = run.settings['num_classes']
  if class_names is None:
    class_names = run.settings.get('class_names')
  if class_names is not None and len(class_names) != classes:
    raise ValueError(
      f'{len(class_names)} class names do not name the {classes} classes of'
      f' {run.label}'
    )
  observed = [terms.observe(row, run.settings) for row in run.rows]
  chosen = tuple(run.settings['radii'] or radii) or round_radii(run)
  return Subject(
    run, singles, chosen, observed, training, class_names, folder, files or {}
  )


def round_radii(run: Run) -> tuple[float, ...]:
  """Round radii up to the largest of a run."""
  largest = max((row.radius for row in run.rows), default=0.0)
  step = 0.25
  while largest / step > _MOST_RADII:
    step *= 2
  return tuple(step * at for at in range(int(largest / step) + 1))


def sample(count: int, most: int) -> list[int]:
  """Places of a subset: every second, every third ... of so many."""
  step = max(1, -(-count // most))
  return list(range(0, count, step))
