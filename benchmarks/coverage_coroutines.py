"""Coroutines that ask for votes until their goal is decided."""

import dataclasses
import functools
from collections.abc import Iterator
from unittest import mock

import numpy as np

from benchmarks import coverage_cases as cases
from benchmarks.coverage_cases import Case
from dualrs_jax import boundaries, decisions, lookups, plans, pursuit
from dualrs_jax.composition import agreement, minimum
from dualrs_jax.decisions import ESTIMATOR
from dualrs_jax.noise import ESTIMATION, SELECTION


def of_coroutine(
  generator, images, *, plan, walks, z, noise, patience, sure=False
):
  """Images that start with selection and end with a certificate.

  `walks` says which of two walks with the truth z the votes of a stage follow;
  one that it does not name is certain, and so is selection if `sure`.
  """
  drawn = {}
  for split, looks in (
    (SELECTION, plan.selection_looks),
    (ESTIMATION, plan.looks),
  ):
    for walk, won in enumerate(
      cases.draw(generator, images, z, noise, looks[-1])
    ):
      wins = cases.at_looks(won, looks).T.tolist()
      drawn[walk, split] = dict(zip(looks, wins, strict=True))

  def counts(image, request):
    wins = votes = request.votes
    certain = sure and request.split == SELECTION
    if request.stage in walks and not certain:
      wins = drawn[walks[request.stage], request.split][votes][image]
    return np.array([wins, votes - wins])

  with mock.patch.object(pursuit, '_PATIENCE', patience):
    found = [
      finish(decisions.certification(plan), functools.partial(counts, image))
      for image in range(images)
    ]
  # The radius of the other class is negative.
  return np.array([c.radius > (0 if c.prediction else min(z)) for c in found])


def finish(certification, counts):
  """Runs the coroutine of one image to its certificate."""
  request = next(certification)
  try:
    while True:
      request = certification.send(counts(request))
  except StopIteration as end:
    return end.value


#: The rule, which stages follow which walk, and when both of them matter.
COROUTINES = {
  'single stage': (minimum, {0: 1}, None),
  'minimum, both limit': (minimum, {ESTIMATOR: 0, 0: 1}, cases.exact_both),
  'agreement, A_k = B_k': (agreement, {ESTIMATOR: 0, 1: 1}, cases.exact_either),
}


def plan_of(name, goal, tolerance=0.0):
  """A plan, the truth at which it fails most often, and its limits there."""
  rule, _, combine = COROUTINES[name]
  plan = plans.plan(
    (1.0,) if combine is None else (1.0, 1.0),
    1.0,
    goal=goal,
    radii=() if goal == 'full' else (1.0,),
    n0=cases.N0,
    n=cases.N,
    alpha=cases.ALPHA,
    certificate=rule,
    tolerance=tolerance,
  )
  top, rival, _ = plan.agrees or plan.selected
  # Of two classes, the form with a runner-up adds nothing.
  assert np.all(cases.table_of(rival).bounds <= cases.table_of(top).bounds)
  tables = (cases.table_of(plan.keeps), cases.table_of(top))
  z = cases.worst_truth(*(tables if plan.agrees else tables[1:]))
  asked = z + cases.BELOW / 2
  radii = {'radius': (asked,), 'grid': (0.25, asked, asked + 0.25), 'full': ()}
  plan = dataclasses.replace(plan, radii=radii[goal])
  return plan, z, [cases.limits_of(table, z) for table in tables]


def coroutine_case(name, goal, noise, patience=None) -> Case:
  """The coroutine, as patient as it is or as it is made to be."""
  plan, z, limits = plan_of(name, goal)
  _, walks, combine = COROUTINES[name]
  event = functools.partial(
    of_coroutine,
    plan=plan,
    walks=walks,
    z=(z, z),
    noise=noise,
    patience=pursuit._PATIENCE if patience is None else patience,
  )
  if combine is None:
    exact = cases.exact_one(cases.LOOKS, limits[1], z)
  else:
    exact = combine(cases.LOOKS, limits, z, noise)
  title = f'{name}, goal {goal}' + ', endless' * (patience == cases.ENDLESS)
  kind = 'equal' if patience == cases.ENDLESS else 'not above'
  return Case(title, noise, event, exact, kind)


def prediction_case(name, noise, patience=None) -> Case:
  """A prediction of a class that has a little less than half of the votes."""
  rule, walks, combine = COROUTINES[name]
  plan = plans.plan(
    (1.0,) if combine is None else (1.0, 1.0),
    1.0,
    goal='radius',
    radii=(0.0,),
    n0=cases.N0,
    n=cases.N,
    alpha=cases.ALPHA,
    certificate=rule,
    bounds=lookups.deciding,
  )
  grid = boundaries.grid(cases.N, cases.ALPHA)
  z = float(grid[np.searchsorted(grid, 0, side='right')] - cases.BELOW)
  assert z < 0
  top = (plan.agrees or plan.selected)[0]
  limits = [
    cases.limits_of(cases.table_of(table), z) for table in (plan.keeps, top)
  ]
  event = functools.partial(
    of_coroutine,
    plan=plan,
    walks=walks,
    z=(z, z),
    noise=noise,
    patience=pursuit._PATIENCE if patience is None else patience,
    sure=True,
  )
  if combine is None:
    exact = cases.exact_one(plan.looks, limits[1], z)
  else:
    exact = combine(plan.looks, limits, z, noise)
  endless = patience == cases.ENDLESS
  title = f'prediction, {name}' + ', endless' * endless
  return Case(title, noise, event, exact, 'equal' if endless else 'not above')


def tolerance_case(name, noise, tolerance) -> Case:
  """The goal full, to a tolerance."""
  plan, z, limits = plan_of(name, 'full', tolerance)
  _, walks, combine = COROUTINES[name]
  event = functools.partial(
    of_coroutine,
    plan=plan,
    walks=walks,
    z=(z, z),
    noise=noise,
    patience=pursuit._PATIENCE,
  )
  if combine is None:
    exact = cases.exact_one(cases.LOOKS, limits[1], z)
  else:
    exact = combine(cases.LOOKS, limits, z, noise)
  title = f'{name}, tolerance {100 * tolerance:g}%'
  return Case(title, noise, event, exact, 'not above')


def saving_cases() -> Iterator[Case]:
  """Predictions that stop, and tolerances."""
  for name, noise in (
    ('single stage', ''),
    ('minimum, both limit', 'shared'),
    ('agreement, A_k = B_k', 'antithetic'),
  ):
    for patience in (cases.ENDLESS, None):
      yield prediction_case(name, noise, patience)
    for tolerance in (0.02, 0.3):
      yield tolerance_case(name, noise, tolerance)


def coroutine_cases() -> Iterator[Case]:
  for name, (_, _, combine) in COROUTINES.items():
    noises = cases.NOISES if combine else ('',)
    for patience in (cases.ENDLESS, None):
      for noise in noises:
        yield coroutine_case(name, 'radius', noise, patience)
    # The noise under which both stages fail most often.
    worst = 'antithetic' if combine is cases.exact_either else noises[0]
    for goal in ('grid', 'full'):
      yield coroutine_case(name, goal, worst)
