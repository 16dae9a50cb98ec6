"""What the votes of a dual that falls back amount to, from docs/theory.md.

With C_k the radius of the cascade from level k down, as in `cascades`, in place
of the B_k of `rules`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dualrs_jax.verify import cascades, claims
from dualrs_jax.verify.rows import Row


def labels(row: Row, level: int, settings: Mapping[str, Any]) -> int:
  """The class that the cascade from the selected level promises.

  Where several do, within rounding, the row has the choice.

  Args:
    row: A row whose votes fit the settings, see `votes.problems`.
    level: The selected level.
    settings: Those of its run.
  """
  found = [*cascades.able(row, settings, start=level).values()]
  return row.predict if row.predict in found else found[0]


def asked(
  row: Row, start: int, label: int, settings: Mapping[str, Any]
) -> list[int]:
  """The levels on whose votes C_k rests, see `radius`."""
  order = cascades.visits(claims.sampled(settings['sigmas']))
  last = next(iter(cascades.able(row, settings, start=start, label=label)))
  return order[order.index(start) : order.index(last) + 1]


def radius(
  row: Row, start: int, label: int, settings: Mapping[str, Any], alpha: float
) -> np.ndarray:
  """C_k, from the least to the most, shape [2].

  Args:
    row: See `labels`.
    start: k.
    label: The class.
    settings: Those of its run.
    alpha: Of each bound.
  """
  order = cascades.visits(claims.sampled(settings['sigmas']))
  made = []
  for last in cascades.able(row, settings, start=start, label=label):
    visited = order[order.index(start) : order.index(last)]
    parts = cascades.parts(row, visited, last, label, settings, alpha)
    made.append(np.minimum(*parts))
  return np.array([min(low for low, _ in made), max(high for _, high in made)])
