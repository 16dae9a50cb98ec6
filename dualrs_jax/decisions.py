"""Which votes an image needs next, and what they decide.

Adaptive certification of one image is a coroutine: it asks for votes of one
stage at a time, is sent their counts, and returns a certificate as soon as the
goal is decided. It sees nothing but the votes of its own image, at looks that
were fixed before, so a certificate depends neither on other images nor on how
votes are batched. `adaptive` runs many of them against a device.

Every claim is made by `certificate_of_counts`, from bounds that hold at all
looks together (`sequential`). The rest is planning: a bad plan costs votes or
an abstention, never the guarantee. docs/adaptive.md has the argument.
"""

import bisect
import dataclasses
import math
from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from dualrs_jax import composition, confidence, noise, sequential
from dualrs_jax.base import ABSTAIN, AdaptiveCertificate, Cast, Counts
from dualrs_jax.composition import Bounds, CompositionRule
from dualrs_jax.sequential import SequentialTable

#: The stage of the estimator; the classifier at level k is stage k.
ESTIMATOR = -1

#: What may be decided: whether one radius is certified, which radii of a list
#: are, or the radius that all n votes give.
GOALS = ('radius', 'grid', 'full')

#: The share of a classifier's alpha that bounds its runner-up, each of them:
#: the binding competitor is one fixed class.
RUNNER_UP_SHARE = 0.1

#: How sure a plan must be, in standard deviations, before it gives up.
_PATIENCE = 2.5
_FIRST_SELECTION = 16
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
    selected: Bounds of the classifier at the selected level: of its class,
      and of what is not the runner-up.
    agrees: The same at other levels; None if the rule does not ask them.
  """

  sigmas: tuple[float, ...]
  estimator_sigma: float
  rule: CompositionRule
  goal: str
  radii: tuple[float, ...]
  selection_looks: tuple[int, ...]
  keeps: '_Lookup'
  avoids: '_Lookup | None'
  selected: 'tuple[_Lookup, _Lookup]'
  agrees: 'tuple[_Lookup, _Lookup] | None'

  @property
  def looks(self) -> tuple[int, ...]:
    """The numbers of estimation votes at which decisions are made."""
    return self.keeps.table.looks

  @property
  def n(self) -> int:
    """The largest number of estimation votes of a stage."""
    return self.looks[-1]


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

  Raises:
    ValueError: If the goal is unknown or does not fit the radii, alpha is
      outside (0, 1), or n votes can never certify at it.
  """
  confidence.check_alpha(alpha)
  radii = tuple(float(radius) for radius in radii)
  _check_goal(goal, radii)
  share = 0.75 if goal == 'full' else 0.5

  def lookup(part: float) -> _Lookup:
    found = sequential.table(n, alpha * part, final_share=share)
    return _Lookup(found)

  def classifier(part: float) -> tuple[_Lookup, _Lookup]:
    return (
      lookup(part * (1 - RUNNER_UP_SHARE)),
      lookup(part * RUNNER_UP_SHARE),
    )

  rule, levels = certificate, len(sigmas)
  made = Plan(
    sigmas=tuple(float(np.float32(sigma)) for sigma in sigmas),
    estimator_sigma=float(np.float32(estimator_sigma)),
    rule=rule,
    goal=goal,
    radii=radii,
    selection_looks=_selection_looks(n0),
    keeps=lookup(rule.keeps),
    avoids=lookup(rule.avoids) if rule.avoids else None,
    selected=classifier(rule.selected_share(levels)),
    agrees=classifier(rule.agrees) if rule.agrees else None,
  )
  needed = [made.selected[0], *([made.keeps] if levels > 1 else [])]
  if not min(lookup.final[0] for lookup in needed) > 0:
    # All agree at p = 1/2 with probability 2^-n, which must be below alpha.
    smallest = min(lookup.table.alpha for lookup in needed)
    fewest = max(n, math.floor(-math.log2(smallest))) + 1
    raise ValueError(
      f'n = {n} votes can never certify at alpha = {alpha:g}, not even when all'
      f' agree: with `{rule.name}` it takes at least {fewest}.'
    )
  return made


def certification(
  plan: Plan,
) -> Generator[Request, Int[np.ndarray, 'classes'], AdaptiveCertificate]:
  """Certifies one image: asks for votes, returns the certificate.

  Guarantee: with probability at least 1 - alpha over the noise, the returned
  certificate abstains, or G returns its prediction at every point of the open
  ball of its radius, whenever the plan chooses to stop.

  Yields:
    The request whose counts must be sent: the valid votes for each level or
    class among the first `votes` votes of that stage and split.
  """
  image = _Image(plan)
  if len(plan.sigmas) > 1:
    yield from image.select(ESTIMATOR)
    image.level = int(np.argmax(image.selection[ESTIMATOR]))
  yield from image.select(image.level)
  image.label = int(np.argmax(image.selection[image.level]))
  while (stage := image.next_stage()) is not None:
    votes = plan.looks[image.look(stage) + 1]
    counts = yield Request(stage, noise.ESTIMATION, votes)
    image.estimation[stage] = np.asarray(counts)
    image.cast[stage][noise.ESTIMATION] = votes
  return image.certificate()


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
  label = int(np.argmax(classifier_counts.selection[level]))
  keeps, avoids = _estimator_bounds(
    np.asarray(estimator_counts.estimation),
    int(estimator_cast.estimation),
    level,
    plan,
  )
  agrees = np.full(len(plan.sigmas), -np.inf)
  selected = np.float64(-np.inf)
  for k, cast in enumerate(np.asarray(classifier_cast.estimation).tolist()):
    votes = np.asarray(classifier_counts.estimation)[k]
    if k == level:
      selected = _classifier_bound(votes, cast, label, plan.selected, plan)
    elif plan.agrees is not None:
      agrees[k] = _classifier_bound(votes, cast, label, plan.agrees, plan)
  radii = composition.compose(
    Bounds(*map(np.asarray, (keeps, avoids, selected, agrees))),
    np.int64(level),
    plan.sigmas,
    plan.estimator_sigma,
  )
  claimed = _claim(plan, float(radii.radius))
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


def _estimator_bounds(votes, cast: int, level: int, plan: Plan):
  """Bounds of p_i, and of 1 - p_k at each level; invalid votes oppose both."""
  nothing = np.full(len(plan.sigmas), -np.inf)
  if not cast:
    return nothing[0], nothing
  look = _look(plan, cast)
  keeps = plan.keeps.table.lower_z(look, votes[level])
  if plan.avoids is None:
    return keeps, nothing
  invalid = cast - votes.sum()
  return keeps, -plan.avoids.table.upper_z(look, votes + invalid)


def _classifier_bound(votes, cast: int, label: int, tables, plan: Plan):
  """Half the distance between a class and its runner-up, in z-scores.

  As the competitor has at most what the class has not, it is never below the
  bound on the class itself.
  """
  if not cast:
    return np.float64(-np.inf)
  look = _look(plan, cast)
  top, rivals = (lookup.table for lookup in tables)
  ours = top.lower_z(look, votes[label])
  rival = np.delete(votes, label).max(initial=0) + cast - votes.sum()
  theirs = -rivals.upper_z(look, rival)
  return np.maximum(ours, np.nextafter(ours + theirs, -np.inf) / 2)


class _Lookup:
  """A table as lists, which are faster than arrays one entry at a time."""

  def __init__(self, table: SequentialTable):
    self.table = table
    ends = np.cumsum(np.array(table.looks) + 1)
    self._rows = [row.tolist() for row in np.split(table.bounds, ends[:-1])]
    self.final = self._rows[-1]

  def present(self, look: int, failures: int) -> float:
    """The bound now."""
    return self._rows[look][failures] if look >= 0 else -math.inf

  def hoped(self, look: int, failures: int, sure: float) -> float:
    """The bound after all votes, if `sure` deviations of luck are granted."""
    looks = self.table.looks
    if look < 0:
      return self.final[0]
    votes, left = looks[look], looks[-1] - looks[look]
    expected = failures * left / votes
    luck = sure**2 * (1 + left / votes) / 4
    fewest = (math.sqrt(expected + luck) - math.sqrt(luck)) ** 2
    at_end = self.final[min(failures + math.floor(fewest), looks[-1])]
    return max(at_end, self._rows[look][failures])


class _Image:
  """What is known of one image, and what it should ask for next."""

  def __init__(self, plan: Plan):
    self._plan = plan
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

  def look(self, stage: int) -> int:
    """The number of the look that a stage has reached, or -1."""
    cast = self.cast[stage][noise.ESTIMATION]
    return self._plan.looks.index(cast) if cast else -1

  def next_stage(self) -> int | None:
    """The stage to advance, or None if the goal is decided."""
    now, hope = self._terms(None), self._terms(_PATIENCE)
    target = self._target(_radius(now), _radius(hope))
    if target is None:
      return None
    # All terms of `hope` reach the target and one of `now` does not, so some
    # stage has votes left: after the last ones, it hopes for what it has.
    candidates = []
    for certified, hoped, likely in zip(
      now, hope, self._terms(0.0), strict=True
    ):
      if max(certified.values()) < target:
        able = [stage for stage in hoped if hoped[stage] >= target]
        # The estimator, or the level that may agree where that is to fail.
        stage = next((s for s in able if likely[s] >= target), able[0])
        # A first look is cheap and may settle it; then the likely bottleneck.
        candidates.append((self.look(stage) >= 0, likely[stage], stage))
    return min(candidates)[-1]

  def _target(self, low: float, high: float) -> float | None:
    """The radius to decide next, or None."""
    plan = self._plan
    if plan.goal == 'full':
      return high if high > 0 and low < high else None
    at = _reached(plan.radii, low)
    if at == _reached(plan.radii, high):
      return None
    return max(plan.radii[at], math.ulp(0.0))

  def _terms(self, sure: float | None) -> list[dict[int, float]]:
    """The terms of R, each with the radii that different stages give it.

    R is the smallest term, and a term the largest of its radii.

    Args:
      sure: None for what is certified now; else what all votes would certify,
        see `_Lookup.hoped`.
    """
    plan = self._plan
    terms = [{self.level: self._agreement(self.level, plan.selected, sure)}]
    if len(plan.sigmas) == 1:
      return terms
    look, votes = self.look(ESTIMATOR), self.estimation.get(ESTIMATOR)
    cast = self.cast[ESTIMATOR][noise.ESTIMATION]
    counts = [0] * len(plan.sigmas) if votes is None else votes.tolist()
    keeps = _read(plan.keeps, look, cast - counts[self.level], sure)
    invalid = cast - sum(counts)
    for k in range(len(plan.sigmas)):
      if k == self.level:
        continue
      radius = _down(plan.estimator_sigma * keeps)
      if plan.avoids is not None:
        avoids = _read(plan.avoids, look, counts[k] + invalid, sure)
        gap = _down(keeps + avoids)
        radius = max(radius, _down(plan.estimator_sigma / 2 * gap))
      options = {ESTIMATOR: radius}
      if plan.agrees is not None:
        options[k] = self._agreement(k, plan.agrees, sure)
      terms.append(options)
    return terms

  def _agreement(self, level: int, tables, sure: float | None) -> float:
    """The radius within which the classifier at a level answers the label."""
    look, votes = self.look(level), self.estimation.get(level)
    top, rivals = tables
    failures = rival = 0
    if votes is not None:
      counts = votes.tolist()
      cast = self.cast[level][noise.ESTIMATION]
      failures = cast - counts[self.label]
      others = counts[: self.label] + counts[self.label + 1 :]
      rival = max(others, default=0) + (cast - sum(counts))
    ours = _read(top, look, failures, sure)
    theirs = _read(rivals, look, rival, sure)
    margin = max(ours, _down(ours + theirs) / 2)
    return _down(self._plan.sigmas[level] * margin)

  def certificate(self) -> AdaptiveCertificate:
    """What the votes amount to."""
    levels = len(self._plan.sigmas)
    classes = len(self.selection[self.level])
    rows = [self._counts(stage, classes) for stage in range(levels)]
    cast = np.array([self.cast[stage] for stage in range(levels)], np.int64)
    return certificate_of_counts(
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


def _read(lookup: _Lookup, look: int, failures: int, sure: float | None):
  if sure is None:
    return lookup.present(look, failures)
  return lookup.hoped(look, failures, sure)


def _down(value: float) -> float:
  return math.nextafter(value, -math.inf)


def _reached(radii: Sequence[float], radius: float) -> int:
  """How many of the increasing radii are certified; none without R > 0."""
  return bisect.bisect_right(radii, radius) if radius > 0 else 0


def _claim(plan: Plan, radius: float) -> float | None:
  """The radius that is reported, or None for an abstention."""
  if plan.goal == 'full':
    return radius if radius > 0 else None
  at = _reached(plan.radii, radius)
  return plan.radii[at - 1] if at else None


def _look(plan: Plan, cast: int) -> int:
  if cast not in plan.looks:
    raise ValueError(f'{cast} votes are not one of the looks {plan.looks}.')
  return plan.looks.index(cast)


def _selection_looks(n0: int) -> tuple[int, ...]:
  doubled = [_FIRST_SELECTION]
  while doubled[-1] < n0:
    doubled.append(2 * doubled[-1])
  return (*(votes for votes in doubled if votes < n0), n0)


def _check_goal(goal: str, radii: tuple[float, ...]) -> None:
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
