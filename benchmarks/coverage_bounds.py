"""Bounds that hold at all looks together, where a claim at any look counts."""

import functools
from collections.abc import Iterator

import numpy as np
from scipy import special

from benchmarks import coverage_cases as cases
from benchmarks.coverage_cases import Case
from dualrs_jax import composition, sequential
from dualrs_jax.composition import Bounds, agreement, minimum


def of_one_stage(generator, images, *, table, z):
  steps = np.diff(table.looks, prepend=0)
  size = (images, len(steps))
  wins = generator.binomial(steps, special.ndtr(z), size).cumsum(axis=1)
  return cases.best(table, wins) > z


def of_rule(generator, images, *, rule, z, noise):
  """The radius of two levels, all sigmas 1: the smaller z is the truth.

  Under `minimum` the two walks are the estimator and the classifier at the
  selected level. Under `agreement` they are the estimator and the classifier
  at the other level; the one at the selected level is certain.
  """
  estimator, classifier = map(
    cases.at_looks, cases.draw(generator, images, z, noise)
  )
  avoids, agrees = np.full((2, images, 2), -np.inf)
  selected = np.full(images, np.inf)
  if rule.agrees:
    # Of two levels, a vote that is not for the one is for the other.
    avoids[:, 1] = cases.best(cases.share(rule.avoids), estimator)
    agrees[:, 1] = cases.best(cases.share(rule.agrees), classifier)
  else:
    selected = cases.best(cases.share(rule.selected), classifier)
  radii = composition.compose(
    Bounds(
      cases.best(cases.share(rule.keeps), estimator), avoids, selected, agrees
    ),
    np.zeros(images, int),
    (1.0, 1.0),
    1.0,
  )
  return radii.radius > min(z)


def bounds_cases() -> Iterator[Case]:
  z = cases.worst_truth(cases.share(1.0))
  limits = cases.limits_of(cases.share(1.0), z)
  attained = cases.exact_one(cases.LOOKS, limits, z)
  event = functools.partial(of_one_stage, table=cases.share(1.0), z=z)
  yield Case('single stage', '', event, attained)
  far = 8.0
  for noise in cases.NOISES:
    for name, pair in (('estimator', (z, far)), ('classifier', (far, z))):
      event = functools.partial(of_rule, rule=minimum, z=pair, noise=noise)
      yield Case(f'minimum, the {name} limits', noise, event, attained)
    event = functools.partial(of_rule, rule=minimum, z=(z, z), noise=noise)
    exact = cases.exact_both(cases.LOOKS, (limits, limits), z, noise)
    yield Case('minimum, both limit', noise, event, exact)
  parts = [cases.share(agreement.keeps), cases.share(agreement.agrees)]
  # Of two levels, the two-sided form of A_k adds nothing.
  assert np.all(cases.share(agreement.avoids).bounds <= parts[0].bounds)
  z = cases.worst_truth(*parts)
  limits = [cases.limits_of(part, z) for part in parts]
  for noise in cases.NOISES:
    event = functools.partial(of_rule, rule=agreement, z=(z, z), noise=noise)
    exact = cases.exact_either(cases.LOOKS, limits, z, noise)
    yield Case('agreement, A_k = B_k', noise, event, exact)


def published_case() -> Case:
  table = sequential.table(10_000, 0.001)
  z = cases.worst_truth(table, near=1.5, points=8)
  exact = cases.exact_one(table.looks, cases.limits_of(table, z), z)
  event = functools.partial(of_one_stage, table=table, z=z)
  name = 'single stage, n = 10,000, alpha = 0.001'
  return Case(name, '', event, exact, effort=10)
