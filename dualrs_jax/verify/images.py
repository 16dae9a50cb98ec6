"""Which rows may be of one image: one, or those to which votes were added."""

from collections.abc import Mapping
from typing import Any

from dualrs_jax.verify import protocols
from dualrs_jax.verify.rows import Row


def reason_against(
  row: Row, old: Row, line: int, settings: Mapping[str, Any]
) -> str | None:
  """Says why a row cannot follow another one of its image.

  Args:
    row: The later row.
    old: The one before it.
    line: Where that is.
    settings: Those of the run.

  Returns:
    A sentence, or None if the row has all votes of the other one and more.
  """
  there = f'it is already in line {line}'
  if not protocols.of(settings).grows:
    return there
  if row.label != old.label:
    return f'{there}, with the label {old.label}'
  if _selection(row) != _selection(old):
    return f'{there}, with other votes that select'
  if _cast(row) == _cast(old):
    return f'{there}, with as many votes'
  before, now = _votes(old), _votes(row)
  if any(now.get(vote, 0) < number for vote, number in before.items()):
    return f'{there}, with votes that this row lacks'
  return None


def _selection(row: Row) -> tuple[Any, ...]:
  return row.estimator_selection, dict(row.classifier_selection)


def _cast(row: Row) -> tuple[Any, ...]:
  return row.estimator_cast, dict(row.classifier_cast)


def _votes(row: Row) -> dict[tuple[Any, ...], int]:
  """How many there are, valid ones of each kind and all of them."""
  found = {}
  for kind, stages in (
    ('valid', {'estimator': row.estimator_estimation}),
    ('valid', row.classifier_estimation),
    ('cast', {'estimator': row.estimator_cast}),
    ('cast', row.classifier_cast),
  ):
    for stage, counts in stages.items():
      for place, number in enumerate(counts):
        found[kind, stage, place] = number
  return found
