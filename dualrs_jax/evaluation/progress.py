"""The progress bar of a certification."""

from collections.abc import Iterable, Sequence
from types import TracebackType

from dualrs_jax.evaluation.records import Record
from dualrs_jax.runtime import bars


class Progress:
  """A bar of images with the running certified accuracy; use it in a `with`."""

  def __init__(
    self,
    name: str,
    radii: Sequence[float],
    *,
    done: Iterable[Record],
    todo: int,
    shown: bool,
  ):
    """Draws the bar.

    Args:
      name: What is under way.
      radii: Where certified accuracy is shown.
      done: The rows that are there already.
      todo: How many rows will be added.
      shown: Whether to draw it; the first of several processes does.
    """
    self._hits = dict.fromkeys(radii, 0)
    self._rows = 0
    for row in done:
      self._count(row)
    self._bar = bars.bar(
      name,
      unit='image',
      shown=shown,
      initial=self._rows,
      total=self._rows + todo,
    )
    self._begun = False
    if todo:
      self._bar.set_postfix_str('compiling')

  def add(self, row: Record) -> None:
    """Shows one more row."""
    self._count(row)
    if not self._begun:  # the time before the first row is none of the others'
      self._bar.unpause()
      self._begun = True
    accuracies = ', '.join(
      f'{hits / self._rows:.1%} at r={radius:g}'
      for radius, hits in self._hits.items()
    )
    self._bar.set_postfix_str(accuracies, refresh=False)
    self._bar.update()

  def __enter__(self) -> 'Progress':
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    self._bar.close()

  def _count(self, row: Record) -> None:
    self._rows += 1
    for radius in self._hits:
      self._hits[radius] += row.correct and row.radius >= radius
