"""Plans, and votes that tests make up for them."""

import functools

import numpy as np

from dualrs_jax import Counts, plans
from dualrs_jax.base import Cast
from dualrs_jax.composition import agreement, minimum, paper

RULES = [paper, minimum, agreement]
LEVELS = (0.25, 0.5, 1.0)
GRID = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
OPTIONS = {'n0': 40, 'n': 200, 'alpha': 0.01}


@functools.cache
def make_plan(rule, goal, radii=(), sigmas=LEVELS, level_sigma=1.0, **changes):
  return plans.plan(
    sigmas,
    level_sigma,
    goal=goal,
    radii=radii,
    certificate=rule,
    **(OPTIONS | changes),
  )


def random_votes(generator, votes, categories):
  """Votes for each category, and invalid ones that are dropped."""
  concentration = generator.choice([0.03, 0.3, 2.0])
  weights = generator.gamma(concentration, size=categories + 1) + 1e-9
  if generator.random() < 0.2:  # one ahead of many, without a majority
    weights[:] = 1
    weights[generator.integers(categories)] = 2.4
  weights[-1] *= generator.choice([0, 0, 0.3])
  return generator.multinomial(votes, weights / weights.sum())[:-1]


def random_counts(generator, plan, classes=3):
  """Counts of both stages, at looks of their own, and how many were cast."""
  levels = len(plan.sigmas)
  looks = [0, *plan.looks, plan.n, plan.n, plan.n]
  stages = [(1, levels), *[(1, classes)] * levels]
  cast = generator.choice(looks, size=levels + 1)
  counts = []
  for (_, width), votes in zip(stages, cast, strict=True):
    estimation = random_votes(generator, votes, width)
    # Selection votes mostly agree with the others, and sometimes do not.
    hint = estimation if generator.random() < 0.7 else np.zeros(width, int)
    counts.append((random_votes(generator, 20, width) + hint, estimation))
  return (
    Counts(*counts[0]),
    Counts(*map(np.stack, zip(*counts[1:], strict=True))),
    Cast(99, int(cast[0])),
    Cast(np.full(levels, 99), cast[1:]),
  )
