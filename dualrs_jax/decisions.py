"""Which votes an image needs next, and what they decide.

Adaptive certification of one image is a coroutine: it asks for votes of one
stage at a time, is sent their counts, and returns a certificate as soon as the
goal is decided. It sees nothing but the votes of its own image, at looks that
were fixed before, so a certificate depends neither on other images nor on how
votes are batched. `scheduler` runs many of them against a device.

What is claimed is up to `plans`. The rest is here, and a bad choice costs votes
or an abstention, never the guarantee. docs/adaptive.md has the argument.
"""

import abc
import math
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from dualrs_jax import lookups, noise, plans
from dualrs_jax.base import AdaptiveCertificate, Cast, Counts
from dualrs_jax.plans import ESTIMATOR as ESTIMATOR
from dualrs_jax.plans import AnyLookup, Plan

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


def certification(
  plan: Plan, begun: AdaptiveCertificate | None = None
) -> Generator[Request, Int[np.ndarray, 'classes'], AdaptiveCertificate]:
  """Certifies one image: asks for votes, returns the certificate.

  Guarantee: with probability at least 1 - alpha over the noise, the returned
  certificate abstains, or G returns its prediction at every point of the open
  ball of its radius, whenever the plan chooses to stop.

  Args:
    plan: What was fixed before.
    begun: A certificate of the same image, by a plan that differs at most in n
      and whose bounds have no end: its votes are kept, and added to.

  Yields:
    The request whose counts must be sent: the valid votes for each level or
    class among the first `votes` votes of that stage and split.
  """
  image = _Image(plan)
  if begun is not None:
    image.take(begun)
  else:
    yield from image.choose()
  while (stage := image.next_stage()) is not None:
    votes = lookups.next_look(plan.looks, image.estimated(stage))
    assert votes is not None  # what cannot grow hopes for what it has
    counts = yield Request(stage, noise.ESTIMATION, votes)
    image.estimation[stage] = np.asarray(counts)
    image.cast[stage][noise.ESTIMATION] = votes
  return image.certificate()


def is_decided(plan: Plan, begun: AdaptiveCertificate) -> bool:
  """Whether a certificate needs no further votes under a plan."""
  image = _Image(plan)
  image.take(begun)
  return image.next_stage() is None


def votes_of(begun: AdaptiveCertificate) -> dict[tuple[int, int], Votes]:
  """The votes of a certificate by stage and split, where there are any."""
  found = {}
  for split in (noise.SELECTION, noise.ESTIMATION):
    counts = dict(enumerate(np.asarray(begun.classifier_counts[split])))
    counts[ESTIMATOR] = np.asarray(begun.estimator_counts[split])
    cast = dict(enumerate(np.asarray(begun.classifier_cast[split]).tolist()))
    cast[ESTIMATOR] = int(begun.estimator_cast[split])
    for stage, number in cast.items():
      if number:
        found[stage, split] = Votes(number, counts[stage])
  return found


class Pursuit(abc.ABC):
  """What is known of one image, and what it should ask for next."""

  def __init__(self, plan: Any, tolerance: float = 0.0):
    """Starts without a vote.

    Args:
      plan: What was fixed before.
      tolerance: The share of the radius that is not worth the other votes.
    """
    self._plan, self._tolerance = plan, tolerance
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


class _Image(Pursuit):
  """One image under a composition rule."""

  def __init__(self, plan: Plan):
    super().__init__(plan, plan.tolerance)

  def take(self, begun: AdaptiveCertificate) -> None:
    """Starts from the votes of a certificate."""
    kept = {
      noise.SELECTION: self.selection,
      noise.ESTIMATION: self.estimation,
    }
    for (stage, split), votes in votes_of(begun).items():
      kept[split][stage] = votes.counts
      self.cast[stage][split] = votes.cast
    self._chosen()

  def choose(self):
    """Asks for the votes that choose the level and the class."""
    if len(self._plan.sigmas) > 1:
      yield from self.select(ESTIMATOR)
    self._chosen()
    yield from self.select(self.level)
    self._chosen()

  def _chosen(self) -> None:
    if len(self._plan.sigmas) > 1:
      self.level = int(np.argmax(self.selection[ESTIMATOR]))
    if self.level in self.selection:
      self.label = int(np.argmax(self.selection[self.level]))

  def terms(self, sure: float | None) -> list[dict[int, float]]:
    """Those of the level that is selected, and of every other one."""
    plan = self._plan
    terms = [{self.level: self._agreement(self.level, plan.selected, sure)}]
    if len(plan.sigmas) == 1:
      return terms
    cast, votes = self.estimated(ESTIMATOR), self.estimation.get(ESTIMATOR)
    counts = [0] * len(plan.sigmas) if votes is None else votes.tolist()
    keeps = read(plan.keeps, cast, cast - counts[self.level], sure)
    invalid = cast - sum(counts)
    for k in range(len(plan.sigmas)):
      if k == self.level:
        continue
      radius = _down(plan.estimator_sigma * keeps)
      if plan.avoids is not None:
        avoids = read(plan.avoids, cast, counts[k] + invalid, sure)
        gap = _down(keeps + avoids)
        radius = max(radius, _down(plan.estimator_sigma / 2 * gap))
      options = {ESTIMATOR: radius}
      if plan.agrees is not None:
        options[k] = self._agreement(k, plan.agrees, sure)
      terms.append(options)
    return terms

  def _agreement(self, level: int, tables, sure: float | None) -> float:
    """The radius within which the classifier at a level answers the label."""
    cast, votes = self.estimated(level), self.estimation.get(level)
    top, rivals = tables
    failures = rival = 0
    if votes is not None:
      counts = votes.tolist()
      failures = cast - counts[self.label]
      others = counts[: self.label] + counts[self.label + 1 :]
      rival = max(others, default=0) + (cast - sum(counts))
    ours = read(top, cast, failures, sure)
    theirs = read(rivals, cast, rival, sure)
    margin = max(ours, _down(ours + theirs) / 2)
    return _down(self._plan.sigmas[level] * margin)

  def certificate(self) -> AdaptiveCertificate:
    """What the votes amount to."""
    levels = len(self._plan.sigmas)
    classes = len(self.selection[self.level])
    rows = [self._counts(stage, classes) for stage in range(levels)]
    cast = np.array([self.cast[stage] for stage in range(levels)], np.int64)
    return plans.certificate_of_counts(
      self._counts(ESTIMATOR, levels),
      Counts(*map(np.stack, zip(*rows, strict=True))),
      Cast(*self.cast[ESTIMATOR]),
      Cast(*cast.T),
      self._plan,
    )

  def _counts(self, stage: int, width: int) -> Counts:
    nothing = np.zeros(width, np.int64)
    return Counts(
      self.selection.get(stage, nothing), self.estimation.get(stage, nothing)
    )


def _radius(terms: Sequence[dict[int, float]]) -> float:
  return min(max(options.values()) for options in terms)


def read(
  lookup: AnyLookup, cast: int, failures: int, sure: float | None
) -> float:
  """A bound: as it is now, or as `terms` hopes for it."""
  if sure is None:
    return lookup.present(cast, failures)
  return lookup.hoped(cast, failures, sure)


def _down(value: float) -> float:
  return math.nextafter(value, -math.inf)
