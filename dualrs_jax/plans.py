"""What adaptive certification fixes before the votes, and what it claims.

A `Plan` holds everything on which the guarantee depends: looks, levels of the
bounds, rule, goal. Every claim is made by `certificate_of_counts`, from bounds
that hold at all looks together (`lookups`); why a vote was cast is of no
concern here. docs/adaptive.md has the argument.
"""

import bisect
import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from dualrs_jax import (
  budgets,
  composition,
  confidence,
  look_bounds,
  lookups,
  validation,
)
from dualrs_jax.base import ABSTAIN, AdaptiveCertificate, Cast, Counts
from dualrs_jax.composition import CompositionRule
from dualrs_jax.look_bounds import Tables
from dualrs_jax.lookups import AnyLookup

#: What may be decided: whether one radius is certified, which radii of a list
#: are, or the radius that all n votes give.
GOALS = ('radius', 'grid', 'full')

#: The stage of the estimator; the classifier at level k is stage k.
ESTIMATOR = -1

#: Selection votes at the first look; each further one has twice as many.
_FIRST_SELECTION = 16


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
  """What all images of a run have in common, fixed before the first vote.

  Attributes:
    sigmas: The K noise levels, as they are sampled.
    estimator_sigma: The noise level of the estimator.
    rule: The composition rule.
    goal: One of `GOALS`.
    radii: Increasing radii, one for `radius`, none for `full`.
    selection_looks: Numbers of selection votes at which a clear choice ends
      the selection.
    keeps: Bounds of p_i.
    avoids: Bounds of 1 - p_k; None if the rule does without.
    selected: Bounds of the classifier at the selected level; of the cascade
      from there, where the rule falls back.
    agrees: The same at other levels; None if the rule does not ask them.
    tolerance: With the goal `full`, the share of the radius that is not worth
      the rest of the votes.
  """

  sigmas: tuple[float, ...]
  estimator_sigma: float
  rule: CompositionRule
  goal: str
  radii: tuple[float, ...]
  selection_looks: tuple[int, ...]
  keeps: AnyLookup
  avoids: AnyLookup | None
  selected: Tables
  agrees: Tables | None
  tolerance: float = 0.0

  @property
  def looks(self) -> tuple[int, ...]:
    """The numbers of estimation votes at which decisions are made."""
    return self.keeps.looks

  @property
  def n(self) -> int:
    """The largest number of estimation votes of a stage."""
    return self.looks[-1]

  @property
  def grows(self) -> bool:
    """Whether votes may be added to those of a certificate."""
    return self.keeps.grows

  def sigma_of(self, stage: int) -> float:
    """The noise level of a stage: of a level, or of the `ESTIMATOR`."""
    return self.estimator_sigma if stage == ESTIMATOR else self.sigmas[stage]


def plan(
  sigmas: Sequence[float],
  estimator_sigma: float,
  *,
  goal: str,
  radii: Sequence[float],
  n0: int,
  n: int,
  alpha: float,
  certificate: CompositionRule,
  bounds: lookups.Kind = lookups.planned,
  tolerance: float = 0.0,
) -> Plan:
  """Fixes everything on which the guarantee depends.

  Args:
    sigmas: The K noise levels, in pixel units.
    estimator_sigma: The noise level of the estimator; any, for K = 1.
    goal: 'radius', 'grid' or 'full'.
    radii: The radii to decide: one for 'radius', any number for 'grid', none
      for 'full'.
    n0: The largest number of selection votes of a stage.
    n: The largest number of estimation votes of a stage.
    alpha: Failure probability of each image's certificate.
    certificate: The composition rule.
    bounds: `lookups.planned` or `lookups.open_ended`; `lookups.deciding` where
      the only radius is 0.
    tolerance: See `Plan`.

  Raises:
    budgets.NeverCertifies: If n votes can never certify at alpha.
    ValueError: If the goal is unknown or does not fit the radii, alpha is
      outside (0, 1), or n0 or n is no number of votes.
  """
  composition.check_rule(certificate)
  if not isinstance(bounds, lookups.Kind):
    raise ValueError(
      'bounds are dualrs_jax.planned or dualrs_jax.open_ended, not'
      f' {bounds!r:.60}.'
    )
  validation.check_selection(n0)
  validation.check_estimation(n)
  confidence.check_alpha(alpha)
  radii = validation.as_radii(radii)
  check_goal(goal, radii)
  _check_tolerance(goal, tolerance)
  levels = len(sigmas)
  falls_back = certificate.falls_back
  part = look_bounds.largest_part(levels, falls_back=falls_back)
  shares = [certificate.selected_share(levels) * part]
  if levels > 1:
    shares.append(certificate.keeps)
  aim = 'nearly full' if tolerance else goal
  budgets.check_possible(n, alpha, aim, certificate.name, shares, bounds)

  def lookup(part: float) -> AnyLookup:
    return bounds.make(n, alpha * part, aim)

  def classifier(part: float) -> Tables:
    return look_bounds.tables(lookup, part, falls_back=falls_back)

  rule = certificate
  return Plan(
    sigmas=tuple(float(np.float32(sigma)) for sigma in sigmas),
    estimator_sigma=float(np.float32(estimator_sigma)),
    rule=rule,
    goal=goal,
    radii=radii,
    selection_looks=doubling_looks(n0),
    keeps=lookup(rule.keeps),
    avoids=lookup(rule.avoids) if rule.avoids else None,
    selected=classifier(rule.selected_share(levels)),
    agrees=classifier(rule.agrees) if rule.agrees else None,
    tolerance=float(tolerance),
  )


def certificate_of_counts(
  estimator_counts: Counts,
  classifier_counts: Counts,
  estimator_cast: Cast,
  classifier_cast: Cast,
  plan: Plan,
) -> AdaptiveCertificate:
  """The certificate that votes amount to, at the looks where they stopped.

  Args:
    estimator_counts: Valid votes for each level, integer arrays [K].
    classifier_counts: Valid votes for the classes at each level, [K, classes].
    estimator_cast: How many votes the estimator cast, invalid ones included.
    classifier_cast: How many the classifier cast at each level, arrays [K].
    plan: What was fixed before.

  Returns:
    The certificate, all statistics in NumPy float64, rounded down.

  Raises:
    ValueError: If a stage stopped between two looks.
  """
  level = int(np.argmax(estimator_counts.selection))
  keeps, avoids = look_bounds.of_estimator(
    np.asarray(estimator_counts.estimation),
    int(estimator_cast.estimation),
    level,
    plan,
  )
  of_classifier = (
    look_bounds.of_cascades if plan.rule.falls_back else look_bounds.of_levels
  )
  label, selected, agrees = of_classifier(
    estimator_counts, classifier_counts, classifier_cast, plan
  )
  radii = composition.join(
    np.asarray(keeps),
    np.asarray(avoids),
    np.asarray(selected),
    np.asarray(agrees),
    np.int64(level),
    plan.estimator_sigma,
  )
  claimed = claim(plan.goal, plan.radii, float(radii.radius))
  return AdaptiveCertificate(
    prediction=ABSTAIN if claimed is None else label,
    radius=claimed or 0.0,
    sigma_index=level,
    estimator_radius=max(0.0, float(radii.estimator)),  # 0 for a NaN
    classifier_radius=max(0.0, float(radii.classifier)),
    estimator_counts=estimator_counts,
    classifier_counts=classifier_counts,
    estimator_cast=estimator_cast,
    classifier_cast=classifier_cast,
  )


def claim(goal: str, radii: Sequence[float], radius: float) -> float | None:
  """The radius that is reported, or None for an abstention."""
  if goal == 'full':
    return radius if radius > 0 else None
  at = reached(radii, radius)
  return radii[at - 1] if at else None


def reached(radii: Sequence[float], radius: float) -> int:
  """How many of the increasing radii are certified; none without R > 0."""
  return bisect.bisect_right(radii, radius) if radius > 0 else 0


def doubling_looks(n0: int) -> tuple[int, ...]:
  """Numbers of selection votes at which a clear choice may end it."""
  doubled = [_FIRST_SELECTION]
  while doubled[-1] < n0:
    doubled.append(2 * doubled[-1])
  return (*(votes for votes in doubled if votes < n0), n0)


def _check_tolerance(goal: str, tolerance: float) -> None:
  if not 0 <= validation.as_number('tolerance', tolerance) < 1:
    raise ValueError(f'tolerance is a share in [0, 1), not {tolerance!r}.')
  if tolerance and goal != 'full':
    raise ValueError(
      "tolerance is about the radius of goal 'full', and has no meaning with"
      f' {goal!r}.'
    )


def check_goal(goal: str, radii: tuple[float, ...]) -> None:
  """Raises ValueError unless the goal is known and fits the radii."""
  if goal not in GOALS:
    raise ValueError(f'goal must be one of {", ".join(GOALS)}, not {goal!r}.')
  wanted = {'radius': len(radii) == 1, 'grid': bool(radii), 'full': not radii}
  if not wanted[goal]:
    need = {'radius': 'one radius', 'grid': 'radii', 'full': 'no radii'}
    raise ValueError(f'goal {goal!r} takes {need[goal]}, not {radii}.')
  if list(radii) != sorted(set(radii)) or not all(
    0 <= radius < math.inf for radius in radii
  ):
    raise ValueError(f'radii must increase from 0 or more, unlike {radii}.')
