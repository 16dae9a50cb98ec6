"""Adaptive certification of a cascade: which votes an image needs next.

The counterpart of `plans` and `decisions` without an estimator: there is a
stage for each noise level, and R is the smallest of what the level that answers
and those before it give (`majorities`). Tables of bounds that hold at all looks
together, each term of R at the full alpha, serve all of them.
"""

import dataclasses
import math
from collections.abc import Generator, Sequence

import numpy as np
from jaxtyping import Int

from dualrs_jax import (
  budgets,
  confidence,
  look_bounds,
  lookups,
  majorities,
  noise,
  plans,
  pursuit,
  validation,
)
from dualrs_jax.base import ABSTAIN, CascadeCertificate, Cast, Counts
from dualrs_jax.pursuit import Request


@dataclasses.dataclass(frozen=True, eq=False)
class CascadePlan:
  """What all images of a run have in common, fixed before the first vote.

  Attributes:
    sigmas: The K noise levels, as they are sampled.
    goal: One of `plans.GOALS`.
    radii: Increasing radii, one for `radius`, none for `full`.
    selection_looks: Numbers of selection votes at which a clear choice ends
      the selection at a level.
    bounds: Of the majority of a class, and of the want of one; at the smallest
      level, of the class and of its runner-up.
  """

  sigmas: tuple[float, ...]
  goal: str
  radii: tuple[float, ...]
  selection_looks: tuple[int, ...]
  bounds: look_bounds.Tables

  @property
  def looks(self) -> tuple[int, ...]:
    """The numbers of estimation votes at which decisions are made."""
    return self.bounds.top.looks

  @property
  def order(self) -> list[int]:
    """The levels as they are visited."""
    return np.argsort(majorities.visits(self.sigmas)).tolist()

  @property
  def enough(self) -> float:
    """The radius beyond which nothing is asked."""
    return self.radii[-1] if self.radii else math.inf

  def sigma_of(self, stage: int) -> float:
    """The noise level of a stage."""
    return self.sigmas[stage]


def plan(
  sigmas: Sequence[float],
  *,
  goal: str,
  radii: Sequence[float],
  n0: int,
  n: int,
  alpha: float,
) -> CascadePlan:
  """Makes the plan of a run, and its tables of bounds.

  Args:
    sigmas: The K noise levels, in pixel units.
    goal: One of `plans.GOALS`.
    radii: The radii to decide: one for 'radius', any number for 'grid', none
      for 'full'.
    n0: The largest number of selection votes of a level.
    n: The largest number of estimation votes of a level.
    alpha: Failure probability of each image's certificate.

  Raises:
    ValueError: If the goal is unknown or does not fit the radii, alpha is
      outside (0, 1), or n0 or n is no number of votes.
    budgets.NeverCertifies: If n votes can never certify at alpha.
  """
  validation.check_selection(n0)
  validation.check_estimation(n)
  confidence.check_alpha(alpha)
  radii = validation.as_radii(radii)
  plans.check_goal(goal, radii)
  kind = lookups.planned
  share = look_bounds.largest_part(len(sigmas), falls_back=True)
  budgets.check_possible(n, alpha, goal, 'cascade', [share], kind)

  def lookup(part: float) -> lookups.AnyLookup:
    return kind.make(n, alpha * part, goal)

  return CascadePlan(
    sigmas=tuple(float(np.float32(sigma)) for sigma in sigmas),
    goal=goal,
    radii=radii,
    selection_looks=plans.doubling_looks(n0),
    bounds=look_bounds.tables(lookup, 1.0, falls_back=True),
  )


def certification(
  plan: CascadePlan,
) -> Generator[Request, Int[np.ndarray, ' classes'], CascadeCertificate]:
  """Certifies one image: asks for votes, returns the certificate.

  Guarantee: with probability at least 1 - alpha over the noise, the returned
  certificate abstains, or the cascade returns its prediction at every point of
  the open ball of its radius, whenever the plan chooses to stop.

  Yields:
    The request whose counts must be sent: the valid votes for each class among
    the first `votes` votes of that level and split.
  """
  image = _Image(plan)
  for level in plan.order:
    yield from image.select(level)
    if image.choose() >= plan.enough:
      break
  while (stage := image.next_stage()) is not None:
    votes = lookups.next_look(plan.looks, image.estimated(stage))
    assert votes is not None  # after the last ones it hopes for what it has
    counts = yield Request(stage, noise.ESTIMATION, votes)
    image.estimation[stage] = np.asarray(counts)
    image.cast[stage][noise.ESTIMATION] = votes
  return certificate_of_counts(*image.votes(), plan)


class _Image(pursuit.Pursuit):
  """One image under a cascade."""

  def choose(self) -> float:
    """Chooses level and class; returns the radius that they promise."""
    counts, cast = self.votes()
    likely = majorities.likely_z(counts.selection, cast.selection)
    plan = self._plan
    found = majorities.choose(likely, plan.sigmas, plan.enough, runner_up=True)
    self.level, self.label = int(found[0]), int(found[1])
    return float(found[2])

  def terms(self, sure: float | None) -> list[dict[int, float]]:
    """The level that answers, and each before it."""
    order = self._plan.order
    visited = order[: order.index(self.level) + 1]
    return [{level: self._radius(level, sure)} for level in visited]

  def _radius(self, level: int, sure: float | None) -> float:
    bounds = self._plan.bounds
    return self.of_cascade(level, bounds, sure, answers=level == self.level)

  def votes(self) -> tuple[Counts, Cast]:
    """The votes at all levels, and how many were cast."""
    levels = range(len(self._plan.sigmas))
    classes = len(next(iter(self.selection.values())))
    nothing = np.zeros(classes, np.int64)
    counts = Counts(
      *(
        np.stack([votes.get(level, nothing) for level in levels])
        for votes in (self.selection, self.estimation)
      )
    )
    cast = np.array([self.cast[level] for level in levels], np.int64)
    return counts, Cast(*cast.T)


def certificate_of_counts(
  counts: Counts, cast: Cast, plan: CascadePlan
) -> CascadeCertificate:
  """The certificate that votes amount to, at the looks where levels stopped.

  Args:
    counts: Valid votes for the classes at each level, integers [K, classes].
    cast: How many were cast at each level, arrays [K].
    plan: What was fixed before.

  Returns:
    The certificate, all statistics in NumPy float64, rounded down.

  Raises:
    ValueError: If a level stopped between two looks.
  """
  likely = majorities.likely_z(counts.selection, cast.selection)
  level, label, _ = majorities.choose(
    likely, plan.sigmas, plan.enough, runner_up=True
  )
  bounds = look_bounds.of_majorities(
    counts.estimation, cast.estimation, label, plan.sigmas, plan.bounds
  )
  found = majorities.certificate(
    bounds, level, label, plan.sigmas, counts, cast
  )
  claimed = plans.claim(plan.goal, plan.radii, float(found.radius))
  return found._replace(
    prediction=ABSTAIN if claimed is None else int(label),
    radius=claimed or 0.0,
    sigma_index=int(level),
    earlier_radius=float(found.earlier_radius),
    level_radius=float(found.level_radius),
  )
