"""What each method makes of the same votes: a class, a radius, a cost.

A method is a function of a recording and one of its images. Costs are votes of
the classifier and of the estimator, as a fixed number of them, and as adaptive
certification of a grid of radii would cast them, where there is one.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from benchmarks.compared_votes import RecordedImage, Recording
from dualrs_jax import (
  cascade_plans,
  composition,
  confidence,
  decisions,
  distance_levels,
  fallbacks,
  majorities,
  noise,
  plans,
  smoothing,
)

ABSTAIN = -1


class Adaptive(NamedTuple):
  """What a method says where a grid of radii is decided adaptively.

  Attributes:
    predict: The class, or -1.
    radius: The largest radius of the grid that it certifies; 0 for an
      abstention.
    classifier: Votes of the classifier.
    estimator: Votes of the estimator.
  """

  predict: int
  radius: float
  classifier: int
  estimator: int


class Answer(NamedTuple):
  """What a method says of an image, and what that costs.

  Attributes:
    predict: The class, or -1.
    radius: Its radius; 0 for an abstention.
    classifier: Votes of the classifier, with a fixed number.
    estimator: Votes of the estimator.
    adaptive: The same, decided adaptively; None if it is not.
    first: The radius of the part that is asked first, the estimator or the
      earlier levels; infinite where there is none.
    last: That of the classifier at the level that answers.
  """

  predict: int
  radius: float
  classifier: int
  estimator: int = 0
  adaptive: Adaptive | None = None
  first: float = math.inf
  last: float = math.inf


class Method(NamedTuple):
  """One line of the comparison.

  Attributes:
    name: How it is called.
    kind: 'certificate'; 'hindsight', which no classifier has; or 'not
      established', where a proof is missing.
    answer: From a recording, one of its images, alpha and a grid of radii.
  """

  name: str
  kind: str
  answer: Callable[..., Answer]


def single(
  found: Recording, recorded: RecordedImage, alpha, grid, *, level
) -> Answer:
  """Plain smoothing at one level."""
  answer = smoothing.certificate_of_counts(
    found.counts(recorded, 1 + level),
    found.sigmas[level],
    n=found.n,
    alpha=alpha,
  )
  plan = _plan(
    (found.sigmas[level],), 1.0, grid, found.n0, found.n, alpha, _RULES[1]
  )
  return Answer(
    int(answer.prediction),
    float(answer.radius),
    found.n0 + found.n,
    adaptive=_replay(
      decisions.certification(plan), found, recorded, shift=level
    ),
  )


def oracle(found, recorded, alpha, grid) -> Answer:
  """The level that turns out best for the label: no certificate."""
  answers = [
    single(found, recorded, alpha, grid, level=level)
    for level in range(len(found.sigmas))
  ]
  best = max(answers, key=lambda a: (a.predict == recorded.label, a.radius))
  return best._replace(
    classifier=sum(a.classifier for a in answers), adaptive=None
  )


def dual(found, recorded, alpha, grid, *, rule) -> Answer:
  """A composition rule on the estimator and all levels."""
  answer = rule(
    found.counts(recorded, 0),
    found.levels(recorded),
    found.sigmas,
    found.estimator_sigma,
    n=found.n,
    alpha=alpha,
    n0=found.n0,
  )
  levels = len(found.sigmas) if rule.agrees else 1
  votes = found.n0 + found.n
  plan = _plan(
    found.sigmas,
    found.estimator_sigma,
    grid,
    found.n0,
    found.n,
    alpha,
    rule,
  )
  return Answer(
    int(answer.prediction),
    float(answer.radius),
    levels * votes,
    votes,
    _replay(decisions.certification(plan), found, recorded),
    float(answer.estimator_radius),
    float(answer.classifier_radius),
  )


def cascade(found, recorded, alpha, grid, *, sigmas=()) -> Answer:
  """The cascade with selection votes of its own and exact bounds.

  Of some of the levels, where these are named.
  """
  if sigmas:
    found, recorded = found.of_levels(recorded, sigmas)
  answer = majorities.certificate_of_counts(
    found.levels(recorded), found.sigmas, n0=found.n0, n=found.n, alpha=alpha
  )
  plan = _cascade_plan(found.sigmas, grid, found.n0, found.n, alpha)
  return Answer(
    int(answer.prediction),
    float(answer.radius),
    int(sum(np.sum(split) for split in answer.cast)),
    adaptive=_replay(cascade_plans.certification(plan), found, recorded),
    first=float(answer.earlier_radius),
    last=float(answer.level_radius),
  )


def published_cascade(found, recorded, alpha, grid) -> Answer:
  """Goodman's intervals, alpha over the levels visited, on the same votes."""
  del grid
  order = np.argsort(majorities.visits(found.sigmas))
  counts = found.levels(recorded).estimation
  for visited, level in enumerate(order, start=1):
    low, high = _goodman(counts[level], found.n, alpha / visited)
    cost = visited * found.n
    top = int(np.argmax(counts[level]))
    if low[top] > 0.5:
      terms = [found.sigmas[level] * special.ndtri(low[top])]
      for earlier in order[: visited - 1]:
        _, high = _goodman(counts[earlier], found.n, alpha / visited)
        rivals = np.delete(high, top)
        terms.append(-found.sigmas[earlier] * special.ndtri(rivals.max()))
      radius = max(0.0, float(min(terms)))
      return Answer(top if radius > 0 else ABSTAIN, radius, cost)
    if high.max() >= 0.5:
      return Answer(ABSTAIN, 0.0, cost)
  return Answer(ABSTAIN, 0.0, len(order) * found.n)


def _goodman(counts, n, alpha):
  """Simultaneous intervals of all classes: asymptotic."""
  chi = stats.chi2.isf(alpha / len(counts), 1)
  spread = np.sqrt(chi * (chi + 4 * counts * (n - counts) / n))
  return (
    (chi + 2 * counts - spread) / (2 * (n + chi)),
    (chi + 2 * counts + spread) / (2 * (n + chi)),
  )


def varying_level(found, recorded, alpha, grid) -> Answer:
  """Smoothing at the level of each image."""
  del grid
  answer = distance_levels.certificate_of_counts(
    found.counts(recorded, len(found.sigmas) + 1),
    recorded.distance,
    found.level,
    n=found.n,
    alpha=alpha,
    pixels=found.pixels,
  )
  return Answer(answer.prediction, answer.radius, found.n0 + found.n)


def two_experts(found, recorded, alpha, grid) -> Answer:
  """The middle level is certified, or the smallest answers with radius 0.

  The estimator's votes for the smallest level are those for the second
  expert. As in ACES, its answers count at r = 0, as they are.
  """
  del grid
  order = np.argsort(found.sigmas)
  small, middle = order[0], order[len(order) // 2]
  votes = found.counts(recorded, 0)
  selects = votes.selection.sum() - votes.selection[small]
  cost = found.n0 + found.n
  if 2 * selects <= votes.selection.sum():
    there = found.counts(recorded, 1 + small).selection
    return Answer(int(np.argmax(there)), 0.0, found.n0, cost)
  table = confidence.lower_z(found.n, alpha)
  keeps = table[votes.estimation.sum() - votes.estimation[small]]
  alone = smoothing.certificate_of_counts(
    found.counts(recorded, 1 + middle),
    found.sigmas[middle],
    n=found.n,
    alpha=alpha,
  )
  radius = min(found.estimator_sigma * keeps, float(alone.radius))
  label = int(alone.prediction) if radius > 0 else ABSTAIN
  return Answer(label, max(0.0, float(radius)), cost, cost)


#: Those of the dual.
_RULES = (
  composition.paper,
  composition.minimum,
  composition.agreement,
  fallbacks.fallback,
)


@functools.lru_cache(maxsize=64)
def _plan(sigmas, estimator_sigma, grid, n0, n, alpha, rule):
  return plans.plan(
    sigmas,
    estimator_sigma,
    goal='grid',
    radii=grid,
    n0=n0,
    n=n,
    alpha=alpha,
    certificate=rule,
  )


@functools.lru_cache(maxsize=8)
def _cascade_plan(sigmas, grid, n0, n, alpha):
  return cascade_plans.plan(
    sigmas, goal='grid', radii=grid, n0=n0, n=n, alpha=alpha
  )


def _replay(image, found, recorded, shift=0) -> Adaptive:
  """What a coroutine makes of the votes, and how many it asks for."""
  asked = {}
  request = next(image)
  while True:
    stage, split, votes = request
    asked[stage, split] = votes
    start = found.n0 if split == noise.ESTIMATION else 0
    row = 0 if stage == decisions.ESTIMATOR else 1 + stage + shift
    width = found.classes if row else len(found.sigmas)
    cast = recorded.votes[row, start : start + votes]
    try:
      request = image.send(np.bincount(cast, minlength=width + 1)[:width])
    except StopIteration as end:
      answer = end.value
      break
  total = sum(asked.values())
  estimator = sum(v for (k, _), v in asked.items() if k == decisions.ESTIMATOR)
  return Adaptive(
    int(answer.prediction), float(answer.radius), total - estimator, estimator
  )


def methods(
  found: Recording, cascades: Sequence[Sequence[float]] = ()
) -> list[Method]:
  """All lines of the comparison, the levels first.

  Args:
    found: The votes.
    cascades: The levels of each cascade that is shown beside that of all.
  """
  lines = [
    Method(
      f'level {sigma:g}', 'certificate', functools.partial(single, level=level)
    )
    for level, sigma in enumerate(found.sigmas)
  ]
  lines.append(Method('best level per image', 'hindsight', oracle))
  lines += [
    Method(
      f'dual, `{rule.name}`', 'certificate', functools.partial(dual, rule=rule)
    )
    for rule in _RULES
  ]
  lines += [
    Method('cascade', 'certificate', cascade),
    *(
      Method(
        f'cascade of {", ".join(f"{sigma:g}" for sigma in sigmas)}',
        'certificate',
        functools.partial(cascade, sigmas=tuple(sigmas)),
      )
      for sigmas in cascades
    ),
    Method('cascade as published', 'not established', published_cascade),
  ]
  if found.level:
    lines.append(Method('level by distance', 'certificate', varying_level))
  lines.append(
    Method('two experts, one of radius 0', 'certificate', two_experts)
  )
  return lines
