"""What votes that stopped at looks say of each stage, in one certificate.

`plans` composes a certificate of these bounds, which are those of its tables.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dualrs_jax import confidence, fallbacks, majorities
from dualrs_jax.base import Cast
from dualrs_jax.lookups import AnyLookup

#: The share of a classifier's alpha that bounds its runner-up, each of them:
#: the binding competitor is one fixed class.
RUNNER_UP_SHARE = 0.1


class Tables(NamedTuple):
  """Bounds of a classifier, of which each radius takes one alpha.

  Attributes:
    top: Of the class, where its runner-up is bounded as well.
    rivals: Of what is not the runner-up.
    majority: At a level of a cascade that is not the smallest: of a majority,
      or of the want of one. None where no level falls back.
  """

  top: AnyLookup
  rivals: AnyLookup
  majority: AnyLookup | None = None


def largest_part(levels: int, *, falls_back: bool) -> float:
  """Of a classifier's share, what its most generous bound has."""
  return 1.0 if falls_back and levels > 1 else 1 - RUNNER_UP_SHARE


def tables(
  make: Callable[[float], AnyLookup], share: float, *, falls_back: bool
) -> Tables:
  """The bounds of a classifier.

  Args:
    make: The bounds of a share of alpha.
    share: That of the classifier.
    falls_back: Whether a level without a majority leaves the answer to others.
  """
  return Tables(
    make(share * (1 - RUNNER_UP_SHARE)),
    make(share * RUNNER_UP_SHARE),
    make(share) if falls_back else None,
  )


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
    estimator_counts,
    classifier_counts,
    plan.sigmas,
    cast.selection,
    runner_up=True,
  )
  votes = classifier_counts.estimation, cast.estimation
  selected, agrees = (
    fallbacks.radii(
      of_majorities(*votes, label, plan.sigmas, bounds),
      label,
      answering,
      plan.sigmas,
    )
    for bounds in (plan.selected, plan.agrees)
  )
  return int(label), selected[level], agrees


def of_majorities(
  votes, cast, label, sigmas: Any, bounds: Tables
) -> majorities.Bounds:
  """Bounds of a majority and of the want of one, at every level and class.

  The smallest level answers even without one: there the bound of the label is
  that of half the distance to its runner-up.

  Args:
    votes: Valid votes for the classes at each level, integers [K, classes].
    cast: How many were cast at each level, integers [K].
    label: The class that is to be certified.
    sigmas: The K noise levels.
    bounds: What is known of votes, with a majority.

  Raises:
    ValueError: If a level stopped between two looks.
  """
  assert bounds.majority is not None
  wins, loses = np.full((2, *np.shape(votes)), -np.inf)
  smallest = majorities.smallest(sigmas)
  for k, number in enumerate(np.asarray(cast).tolist()):
    if not number:
      continue
    here = np.asarray(votes)[k]
    # Invalid votes count for every competitor.
    loses[k] = -bounds.majority.upper_z(number, here + number - here.sum())
    if k == smallest:
      wins[k, label] = _classifier_bound(here, number, int(label), bounds)
    else:
      wins[k] = bounds.majority.lower_z(number, here)
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


def _classifier_bound(votes, cast: int, label: int, bounds: Tables):
  """Half the distance between a class and its runner-up, in z-scores.

  As the competitor has at most what the class has not, it is never below the
  bound on the class itself.
  """
  if not cast:
    return np.float64(-np.inf)
  ours = bounds.top.lower_z(cast, votes[label])
  rival = np.delete(votes, label).max(initial=0) + cast - votes.sum()
  theirs = -bounds.rivals.upper_z(cast, rival)
  return np.maximum(ours, np.nextafter(ours + theirs, -np.inf) / 2)
