"""Which votes an image should ask for next, whatever its radius is made of.

A bad choice costs votes or an abstention, never the guarantee.
"""

import abc
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from dualrs_jax import majorities, noise, plans
from dualrs_jax.look_bounds import Tables
from dualrs_jax.lookups import AnyLookup
from dualrs_jax.plans import ESTIMATOR

#: How sure a plan must be, in standard deviations, before it gives up.
_PATIENCE = 2.5
#: How far ahead, in standard deviations, a choice must be to end a selection.
_CLEAR = 2.5


class Request(NamedTuple):
  """The counts that an image waits for.

  Attributes:
    stage: `ESTIMATOR`, or the level of the classifier.
    split: `noise.SELECTION` or `noise.ESTIMATION`.
    votes: How many votes, counted from the first of the split.
  """

  stage: int
  split: int
  votes: int


class Votes(NamedTuple):
  """Votes of one stage and split.

  Attributes:
    cast: How many, the invalid ones included.
    counts: The valid ones for each level or class.
  """

  cast: int
  counts: Int[np.ndarray, '...'] | np.int64


class Pursuit(abc.ABC):
  """What is known of one image, and what it should ask for next."""

  def __init__(self, plan: Any, tolerance: float = 0.0):
    """Starts without a vote.

    Args:
      plan: What was fixed before.
      tolerance: The share of the radius that is not worth the other votes.
    """
    self._plan, self._tolerance = plan, tolerance
    self._smallest = int(majorities.smallest(plan.sigmas))
    levels = len(plan.sigmas)
    stages = [ESTIMATOR, *range(levels)]
    self.level = 0
    self.label = 0
    self.selection = {}
    self.estimation = {}
    self.cast = {stage: [0, 0] for stage in stages}

  def select(self, stage: int):
    """Asks for selection votes until one choice is clearly ahead.

    No bound ever uses them, so any rule for stopping will do.
    """
    for votes in self._plan.selection_looks:
      counts = np.asarray((yield Request(stage, noise.SELECTION, votes)))
      self.selection[stage] = counts
      self.cast[stage][noise.SELECTION] = votes
      second, top = [0, *np.sort(counts).tolist()][-2:]
      if top > 0 and top - second >= _CLEAR * math.sqrt(top + second):
        break

  def estimated(self, stage: int) -> int:
    """How many estimation votes a stage has cast."""
    return self.cast[stage][noise.ESTIMATION]

  def next_stage(self) -> int | None:
    """The stage to advance, or None if the goal is decided."""
    now, hope = self.terms(None), self.terms(_PATIENCE)
    guess = self.terms(0.0)
    target = self._target(_radius(now), _radius(hope))
    if target is not None and self._tolerance:
      target = self._nearly(target, _radius(now), _radius(guess))
    if target is None:
      return None
    # All terms of `hope` reach the target and one of `now` does not, so some
    # stage has votes left: after the last ones, it hopes for what it has.
    candidates = []
    for certified, hoped, likely in zip(now, hope, guess, strict=True):
      if max(certified.values()) < target:
        able = [stage for stage in hoped if hoped[stage] >= target]
        # The estimator, or the level that may agree where that is to fail.
        stage = next((s for s in able if likely[s] >= target), able[0])
        # A first look is cheap and may settle it; then the likely bottleneck.
        candidates.append((self.estimated(stage) > 0, likely[stage], stage))
    return min(candidates)[-1]

  def of_level(self, level: int, bounds: Tables, sure: float | None) -> float:
    """The radius within which the class is ahead of every other one.

    Args:
      level: The level.
      bounds: Of the class, and of its runner-up.
      sure: See `terms`.
    """
    cast = self.estimated(level)
    ours, rival, invalid = self._counted(level)
    ahead = read(bounds.top, cast, cast - ours, sure)
    behind = read(bounds.rivals, cast, rival + invalid, sure)
    margin = max(ahead, down(ahead + behind) / 2)
    return down(self._plan.sigmas[level] * margin)

  def of_cascade(
    self, level: int, bounds: Tables, sure: float | None, *, answers: bool
  ) -> float:
    """The radius within which a level does what a cascade needs of it.

    Args:
      level: The level.
      bounds: Those of a majority among them.
      sure: See `terms`.
      answers: Whether the class is to have the majority, or to be ahead at the
        smallest level; or no other one is to have it.
    """
    if answers and level == self._smallest:
      return self.of_level(level, bounds, sure)
    assert bounds.majority is not None
    cast = self.estimated(level)
    ours, rival, invalid = self._counted(level)
    failures = cast - ours if answers else rival + invalid
    bound = read(bounds.majority, cast, failures, sure)
    return down(self._plan.sigmas[level] * bound)

  def _counted(self, level: int) -> tuple[int, int, int]:
    """Votes for the class, for its strongest competitor, and invalid ones."""
    votes = self.estimation.get(level)
    if votes is None:
      return 0, 0, 0
    counts = votes.tolist()
    invalid = self.estimated(level) - sum(counts)
    ours = counts.pop(self.label)
    return ours, max(counts, default=0), invalid

  def _nearly(self, target: float, low: float, likely: float) -> float | None:
    """What is worth its votes: all but a share of what they are likely to give.

    Args:
      target: The radius to decide next.
      low: What is certified now.
      likely: What all votes would certify at the rates so far.
    """
    enough = (1 - self._tolerance) * likely
    if enough <= 0:
      return target
    return min(target, enough) if low < enough else None

  def _target(self, low: float, high: float) -> float | None:
    """The radius to decide next, or None."""
    plan = self._plan
    if plan.goal == 'full':
      return high if high > 0 and low < high else None
    at = plans.reached(plan.radii, low)
    if at == plans.reached(plan.radii, high):
      return None
    return max(plan.radii[at], math.ulp(0.0))

  @abc.abstractmethod
  def terms(self, sure: float | None) -> list[dict[int, float]]:
    """The terms of R, each with the radii that different stages give it.

    R is the smallest term, and a term the largest of its radii.

    Args:
      sure: None for what is certified now; else what all votes would certify,
        see `Lookup.hoped`.
    """


def _radius(terms: Sequence[dict[int, float]]) -> float:
  return min(max(options.values()) for options in terms)


def down(value: float) -> float:
  """The next smaller number."""
  return math.nextafter(value, -math.inf)


def read(
  lookup: AnyLookup, cast: int, failures: int, sure: float | None
) -> float:
  """A bound: as it is now, or as `terms` hopes for it."""
  if sure is None:
    return lookup.present(cast, failures)
  return lookup.hoped(cast, failures, sure)
