"""What votes that stopped at looks say of each stage, in one certificate.

`plans` composes a certificate of these bounds, which are those of its tables.
"""

from typing import Any

import numpy as np

from dualrs_jax import confidence, fallbacks, majorities
from dualrs_jax.base import Cast


def of_levels(estimator_counts, classifier_counts, cast: Cast, plan: Any):
  """The class, B_i, and B_k at the other levels, in pixel units."""
  level = int(np.argmax(estimator_counts.selection))
  label = int(np.argmax(classifier_counts.selection[level]))
  agrees = np.full(len(plan.sigmas), -np.inf)
  selected = np.float64(-np.inf)
  for k, number in enumerate(np.asarray(cast.estimation).tolist()):
    votes = np.asarray(classifier_counts.estimation)[k]
    if k == level:
      selected = _classifier_bound(votes, number, label, plan.selected)
    elif plan.agrees is not None:
      agrees[k] = _classifier_bound(votes, number, label, plan.agrees)
  sigmas = confidence.level_like(plan.sigmas, agrees)
  down = confidence.scale_down
  return label, down(sigmas[level], selected), down(sigmas, agrees)


def of_cascades(estimator_counts, classifier_counts, cast: Cast, plan: Any):
  """The same with the cascade from each level in place of the level."""
  level, label, answering = fallbacks.selection(
    estimator_counts, classifier_counts, plan.sigmas, cast.selection
  )
  selected, agrees = (
    fallbacks.radii(
      majority_bounds(classifier_counts.estimation, cast.estimation, table),
      label,
      answering,
      plan.sigmas,
    )
    for table, _ in (plan.selected, plan.agrees)
  )
  return int(label), selected[level], agrees


def majority_bounds(votes, cast, table: Any) -> majorities.Bounds:
  """Bounds of a majority and of the want of one, at every level and class.

  Args:
    votes: Valid votes for the classes at each level, integers [K, classes].
    cast: How many were cast at each level, integers [K].
    table: The bounds.

  Raises:
    ValueError: If a level stopped between two looks.
  """
  wins, loses = np.full((2, *np.shape(votes)), -np.inf)
  for k, number in enumerate(np.asarray(cast).tolist()):
    if number:
      here = np.asarray(votes)[k]
      wins[k] = table.lower_z(number, here)
      # Invalid votes count for every competitor.
      loses[k] = -table.upper_z(number, here + number - here.sum())
  return majorities.Bounds(wins, loses)


def of_estimator(votes, cast: int, level: int, plan: Any):
  """Bounds of p_i, and of 1 - p_k at each level; invalid votes oppose both."""
  nothing = np.full(len(plan.sigmas), -np.inf)
  if not cast:
    return nothing[0], nothing
  keeps = plan.keeps.lower_z(cast, votes[level])
  if plan.avoids is None:
    return keeps, nothing
  invalid = cast - votes.sum()
  return keeps, -plan.avoids.upper_z(cast, votes + invalid)


def _classifier_bound(votes, cast: int, label: int, tables):
  """Half the distance between a class and its runner-up, in z-scores.

  As the competitor has at most what the class has not, it is never below the
  bound on the class itself.
  """
  if not cast:
    return np.float64(-np.inf)
  top, rivals = tables
  ours = top.lower_z(cast, votes[label])
  rival = np.delete(votes, label).max(initial=0) + cast - votes.sum()
  theirs = -rivals.upper_z(cast, rival)
  return np.maximum(ours, np.nextafter(ours + theirs, -np.inf) / 2)
