"""A cascade of two noise levels, the first of which is undecided.

Both levels are 1, so that z-scores are radii: what the first one leaves to the
classes that are not to win there, and what the second one gives to its own.
"""

import dataclasses
import functools
from collections.abc import Iterator
from unittest import mock

import numpy as np
from scipy import stats

from benchmarks import coverage_cases as cases
from benchmarks import coverage_coroutines
from benchmarks.coverage_cases import Case
from dualrs_jax import (
  cascade_plans,
  cascade_prediction,
  confidence,
  majorities,
  pursuit,
)
from dualrs_jax.base import ABSTAIN
from dualrs_jax.majorities import Bounds
from dualrs_jax.noise import ESTIMATION, SELECTION

#: The first level's votes that are not for the competitor are for as many
#: classes as there are votes, so that none of these leads.
_OTHERS = cases.N
_FAR = 8.0


def of_bounds(generator, images, *, z, noise, ignores=False):
  """Claims at any look for class 0 at the second level.

  Args:
    z: The truth at the first level and at the second; the smaller one is R.
    ignores: Whether the first level is left out: a mistake.
  """
  first, second = map(cases.at_looks, cases.draw(generator, images, z, noise))
  wins, loses = np.full((2, images, 2, 2), -np.inf)
  loses[:, 0, 1] = cases.best(cases.share(1.0), first)
  wins[:, 1, 0] = cases.best(cases.share(1.0), second)
  label = np.zeros(images, int)
  here, earlier = majorities.radii(
    Bounds(wins, loses), label + 1, label, (1.0, 1.0)
  )
  return (here if ignores else np.minimum(here, earlier)) > min(z)


def of_coroutine(generator, images, *, plan, z, noise, patience):
  """Images that start with selection and end with a certificate."""
  drawn = {}
  for split, looks in (
    (SELECTION, plan.selection_looks),
    (ESTIMATION, plan.looks),
  ):
    for level, won in enumerate(
      cases.draw(generator, images, z, noise, looks[-1])
    ):
      wins = cases.at_looks(won, looks).T.tolist()
      drawn[level, split] = dict(zip(looks, wins, strict=True))

  def counts(image, request):
    wins = drawn[request.stage, request.split][request.votes][image]
    found = np.zeros(2 + _OTHERS, np.int64)
    found[1] = request.votes - wins
    if request.stage:
      found[0] = wins
    else:
      found[2 : 2 + wins] = 1
    return found

  with mock.patch.object(pursuit, '_PATIENCE', patience):
    found = [
      coverage_coroutines.finish(
        cascade_plans.certification(plan), functools.partial(counts, image)
      )
      for image in range(images)
    ]
  # The radius of another class is negative.
  return np.array([c.radius > (0 if c.prediction else min(z)) for c in found])


def of_runner_up(generator, images, *, plan, shares):
  """Images on which the second level answers without a majority.

  Args:
    plan: That of the coroutine.
    shares: Of three classes at the second level, the first one ahead.
  """
  truth = np.subtract(*stats.norm.ppf(shares[:2])) / 2
  looks = sorted({*plan.selection_looks, *plan.looks})

  def counts(drawn, request):
    found = np.zeros(2 + _OTHERS, np.int64)
    if request.stage:
      found[:3] = drawn[request.split][looks.index(request.votes)]
    else:  # nobody has a second vote
      found[2 : 2 + request.votes] = 1
    return found

  wrong = np.zeros(images, bool)
  for image in range(images):
    drawn = {
      split: np.cumsum(
        generator.multinomial(np.diff([0, *looks]), shares), axis=0
      )
      for split in (SELECTION, ESTIMATION)
    }
    found = coverage_coroutines.finish(
      cascade_plans.certification(plan), functools.partial(counts, drawn)
    )
    wrong[image] = found.radius > (0 if found.prediction else truth)
  return wrong


def of_same_votes(generator, images, *, sides, rivals):
  """Level and class from the votes that bound, alpha over the stopping level.

  Class 0 has half of the votes of the first level, so that R = 0 whatever the
  second says, which is certain of another class.

  Args:
    sides: In how many parts the share of a level is cut.
    rivals: How many classes share the other half.
  """
  wins = generator.binomial(cases.N, 0.5, images)
  fewest = [
    int(np.argmax(confidence.lower_z(cases.N, cases.ALPHA / sides / level) > 0))
    for level in (1, 2)
  ]
  others = -(-(cases.N - wins) // rivals)
  stops = np.maximum(wins, others) >= fewest[0]
  passes = np.maximum(wins, others) <= cases.N - fewest[1]
  return stops | passes


def exact_same_votes(sides, rivals):
  """The probability of that, for one rival or for many."""
  fewest = [
    int(np.argmax(confidence.lower_z(cases.N, cases.ALPHA / sides / level) > 0))
    for level in (1, 2)
  ]
  law = stats.binom(cases.N, 0.5)
  stops = law.sf(fewest[0] - 1)
  if rivals == 1:
    return 2 * stops  # who passes leaves the majority to the other
  return stops + law.cdf(cases.N - fewest[1])


def of_prediction(generator, images, *, levels, noise, truth):
  """Answers from n votes at each level that are not those of the cascade.

  Args:
    levels: Of each level the z-score of class 0, and whether its other votes
      are for one rival; if not, each is for a class of its own.
    noise: That of both levels.
    truth: What the cascade answers.
  """
  z, rivals = zip(*levels, strict=True)
  found = np.zeros((images, 2, 1 + cases.N), np.int64)
  for level, won in enumerate(cases.draw(generator, images, z, noise)):
    wins = won.sum(axis=1)
    found[:, level, 0] = wins
    if rivals[level]:
      found[:, level, 1] = cases.N - wins
    else:
      found[:, level, 1:] = np.arange(cases.N) < (cases.N - wins)[:, None]
  answer = cascade_prediction.prediction_of_counts(
    found, (1.0, 1.0), n=cases.N, alpha=cases.ALPHA / 2
  ).prediction
  return (answer != ABSTAIN) & (answer != truth)


def prediction_cases() -> Iterator[Case]:
  """Predictions from n votes where a level is as close to a majority as can be.

  A side of the test at a level, with alpha / 2, fails with `side`.
  """
  fewest = int(confidence.fewest_wins(cases.N, cases.ALPHA / 2)[cases.N])
  side = float(stats.binom.sf(fewest - 1, cases.N, 0.5))
  tie = (0.0, True)
  for name, levels, noise, truth, exact in (
    ('the second level is a tie', ((-_FAR, False), tie), '', ABSTAIN, 2 * side),
    *(
      (
        'half of the votes at the first level, a tie at the second',
        ((0.0, False), tie),
        noise,
        ABSTAIN,
        side + 2 * side**2 if noise == 'independent' else 2 * side,
      )
      for noise in cases.NOISES
    ),
    (
      'the majority of the first level is passed over',
      ((0.0, False), (-_FAR, True)),
      '',
      0,
      side,
    ),
  ):
    event = functools.partial(
      of_prediction, levels=levels, noise=noise or 'independent', truth=truth
    )
    yield Case(name, noise, event, exact)


def valid_cases() -> Iterator[Case]:
  table = cases.share(1.0)
  z = cases.worst_truth(table)
  limits = cases.limits_of(table, z)
  attained = cases.exact_one(cases.LOOKS, limits, z)
  for noise in cases.NOISES:
    for name, pair in (
      ('the earlier level limits', (z, _FAR)),
      ('the level that answers limits', (_FAR, z)),
    ):
      event = functools.partial(of_bounds, z=pair, noise=noise)
      yield Case(f'bounds, {name}', noise, event, attained)
    event = functools.partial(of_bounds, z=(z, z), noise=noise)
    exact = cases.exact_both(cases.LOOKS, (limits, limits), z, noise)
    yield Case('bounds, both limit', noise, event, exact)
  for noise in cases.NOISES:
    yield coroutine_case('radius', noise, cases.ENDLESS)
    yield coroutine_case('radius', noise)
  for goal in ('grid', 'full'):
    yield coroutine_case(goal, 'shared')
  shares = (0.45, 0.3, 0.25)
  event = functools.partial(
    of_runner_up, plan=plan_of('full', ()), shares=shares
  )
  name = 'coroutine, no majority at the second level, goal full'
  yield Case(name, '', event, cases.ALPHA, 'not above')


def plan_of(goal, radii):
  return cascade_plans.plan(
    (1.0, 1.0),
    goal=goal,
    radii=radii,
    n0=cases.N0,
    n=cases.N,
    alpha=cases.ALPHA,
  )


def coroutine_case(goal, noise, patience=None) -> Case:
  """The coroutine, as patient as it is or as it is made to be."""
  plan = plan_of(goal, () if goal == 'full' else (1.0,))
  # Of two classes, the form with a runner-up adds nothing at the second level.
  tables = [
    cases.table_of(part) for part in (plan.bounds.majority, plan.bounds.top)
  ]
  z = cases.worst_truth(*tables)
  asked = z + cases.BELOW / 2
  radii = {'radius': (asked,), 'grid': (0.25, asked, asked + 0.25), 'full': ()}
  limits = [cases.limits_of(table, z) for table in tables]
  event = functools.partial(
    of_coroutine,
    plan=dataclasses.replace(plan, radii=radii[goal]),
    z=(z, z),
    noise=noise,
    patience=pursuit._PATIENCE if patience is None else patience,
  )
  exact = cases.exact_both(cases.LOOKS, limits, z, noise)
  endless = patience == cases.ENDLESS
  title = f'coroutine, both limit, goal {goal}' + ', endless' * endless
  return Case(title, noise, event, exact, 'equal' if endless else 'not above')


def mistakes() -> Iterator[Case]:
  z = cases.worst_truth(cases.share(1.0))
  event = functools.partial(of_bounds, z=(z, 2.0), noise='shared', ignores=True)
  name = 'an undecided earlier level is ignored'
  yield Case(name, 'shared', event, None, 'caught')
  name = 'level and class from the votes that bound, alpha / stopping level'
  for sides, rivals, kind, title in (
    (1, 1, 'caught', f'{name}, two classes'),
    (2, 1, 'equal', f'harmless here: {name} / 2, two classes'),
    (2, cases.N, 'equal', f'harmless here: {name} / 2, many classes'),
  ):
    event = functools.partial(of_same_votes, sides=sides, rivals=rivals)
    exact = exact_same_votes(sides, rivals)
    yield Case(title, '', event, exact, kind)
  half = cases.share(0.5)
  exact = cases.exact_one(cases.LOOKS, cases.limits_of(half, z), z)
  event = functools.partial(of_halved, z=z)
  name = 'harmless: alpha / the level that selection votes choose'
  yield Case(name, '', event, exact)


def of_halved(generator, images, *, z):
  """The second level limits, at half of alpha."""
  won, _ = cases.draw(generator, images, (z, z), 'shared')
  return cases.best(cases.share(0.5), cases.at_looks(won)) > z
