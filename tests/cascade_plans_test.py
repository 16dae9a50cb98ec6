"""Adaptive certification of a cascade, image by image."""

import math

import numpy as np
import pytest

from dualrs_jax import Counts, cascade_plans, majorities, noise
from dualrs_jax.base import Cast

SIGMAS = (0.25, 0.5, 1.0)
GRID = (0.0, 0.25, 0.5, 0.75, 1.0)
OPTIONS = {'n0': 100, 'n': 2_000, 'alpha': 0.001}


def make_plan(goal='grid', radii=GRID, **changes):
  return cascade_plans.plan(
    SIGMAS, goal=goal, radii=radii, **(OPTIONS | changes)
  )


def run(plan, probabilities, seed=0):
  """The certificate where classes have these probabilities at each level."""
  generator = np.random.default_rng(seed)
  votes = {}
  for level, p in enumerate(probabilities):
    rest = 1 - sum(p)  # invalid
    for split, number in ((0, OPTIONS['n0']), (1, plan.looks[-1])):
      drawn = generator.choice(len(p) + 1, size=number, p=[*p, rest])
      votes[level, split] = drawn
  image = cascade_plans.certification(plan)
  request, requests = next(image), []
  while True:
    requests.append(request)
    split = 1 if request.split == noise.ESTIMATION else 0
    drawn = votes[request.stage, split][: request.votes]
    counts = np.bincount(drawn, minlength=len(probabilities[0]) + 1)[:-1]
    try:
      request = image.send(counts)
    except StopIteration as stop:
      return stop.value, requests


SURE = (0.0, 1.0, 0.0)
OPEN = (0.4, 0.3, 0.3)


def test_an_easy_image_takes_few_votes_of_one_level():
  found, requests = run(make_plan(), [SURE] * 3)
  assert (found.prediction, found.radius, found.sigma_index) == (1, 1.0, 2)
  assert found.cast.estimation.tolist() == [0, 0, 64]
  # The first level promises all that is asked, so no other one selects.
  assert found.cast.selection.tolist() == [0, 0, 16]
  assert {request.stage for request in requests} == {2}


def test_earlier_levels_are_voted_on_as_well():
  """Undecided at 1.0 by z(.6), sure at .5."""
  found, _ = run(make_plan(radii=(0.0, 0.1)), [SURE, SURE, OPEN])
  assert (found.prediction, found.radius, found.sigma_index) == (1, 0.1, 1)
  assert found.cast.estimation[0] == 0
  assert found.cast.estimation[1] > 0
  assert found.cast.estimation[2] > found.cast.estimation[1]


def test_hopeless_images_end_early():
  tie = (0.5, 0.5, 0.0)
  found, _ = run(make_plan('radius', (0.5,)), [tie] * 3)
  assert found.prediction == -1
  assert found.cast.estimation.sum() <= 96


def test_full_is_the_radius_of_all_votes():
  plan = make_plan('full', ())
  found, _ = run(plan, [SURE, SURE, OPEN])
  z = plan.bounds.majority.final
  assert found.cast.estimation[2] == 2_000
  others = found.counts.estimation[2][[0, 2]].max()
  expected = min(z[others], 0.5 * z[0])
  assert found.radius == pytest.approx(expected, rel=1e-9)
  assert found.radius == min(found.earlier_radius, found.level_radius)


@pytest.mark.parametrize('seed', range(30))
@pytest.mark.parametrize(
  ('goal', 'radii'), [('full', ()), ('grid', GRID), ('radius', (0.25,))]
)
def test_every_goal_ends_with_what_its_votes_prove(goal, radii, seed):
  generator = np.random.default_rng(seed)
  p = generator.dirichlet([0.3] * 4, size=3)[:, :3]
  plan = make_plan(goal, radii, n=500)
  found, requests = run(plan, p.tolist(), seed)
  again = cascade_plans.certificate_of_counts(found.counts, found.cast, plan)
  assert again.radius == found.radius
  assert again.prediction == found.prediction
  assert len(requests) < 60
  order = [2, 1, 0]
  visited = order[: order.index(int(found.sigma_index)) + 1]
  sampled = np.flatnonzero(found.cast.estimation)
  assert set(sampled.tolist()) <= set(visited)
  if found.radius > 0:
    assert len(sampled) == len(visited)
  # What is claimed is in agreement with all votes at the same looks.
  assert found.radius <= min(found.earlier_radius, found.level_radius) or (
    found.prediction == -1
  )


def test_the_smallest_level_needs_no_majority():
  """Its runner-up is bounded; that of an earlier level is not."""
  plan = make_plan('full', ())
  ahead = (0.45, 0.3, 0.25)
  found, _ = run(plan, [ahead, OPEN, OPEN])
  assert (found.prediction, found.sigma_index) == (0, 0)
  counts = found.counts.estimation
  ours = plan.bounds.top.final[2_000 - counts[0, 0]]
  rival = plan.bounds.rivals.final[counts[0, 1:].max()]
  assert ours < 0
  assert found.level_radius == pytest.approx(0.25 * (ours + rival) / 2)
  limits = [
    -SIGMAS[k]
    * plan.bounds.majority.upper_z(
      int(found.cast.estimation[k]), counts[k, 1:].max()
    )
    for k in (1, 2)
  ]
  assert found.earlier_radius == pytest.approx(min(limits))
  # Invalid votes could be the rival's.
  valid = counts.copy()
  valid[0, 2] = 0
  votes = Counts(found.counts.selection, valid)
  less = cascade_plans.certificate_of_counts(votes, found.cast, plan)
  rival = plan.bounds.rivals.final[2_000 - counts[0, 0]]
  assert (less.sigma_index, less.prediction) == (0, -1)
  assert ours + rival < 0
  found, _ = run(plan, [OPEN, ahead, OPEN])
  assert found.sigma_index == 0
  found, _ = run(plan, [(0.34, 0.33, 0.33), ahead, OPEN])
  assert found.prediction == -1


def test_the_bounds_of_a_radius_take_one_alpha():
  plan = make_plan()
  assert plan.bounds.majority.alpha == OPTIONS['alpha']
  assert plan.bounds.top.alpha + plan.bounds.rivals.alpha == pytest.approx(
    OPTIONS['alpha']
  )


def test_invalid_votes_oppose():
  plan = make_plan('full', ())
  invalid = (0.0, 0.3, 0.0)
  found, _ = run(plan, [SURE, SURE, invalid])
  assert found.prediction == -1  # at 1.0 seven in ten could be anybody's
  found, _ = run(plan, [SURE, SURE, (0.1, 0.7, 0.1)])
  assert found.prediction == 1


def test_bounds_at_looks_are_those_of_the_table():
  plan = make_plan('full', ())
  looks = plan.looks
  cast = Cast(np.full(3, 100), np.array([0, looks[3], looks[5]]))
  estimation = np.array([[0, 0, 0], [3, looks[3] - 5, 0], [0, 0, 0]])
  estimation[2] = [10, looks[5] - 40, 20]
  selection = np.array([[0, 100, 0], [0, 100, 0], [33, 33, 34]])
  found = cascade_plans.certificate_of_counts(
    Counts(selection, estimation), cast, plan
  )
  table = plan.bounds.majority.table
  here = 0.5 * table.lower_z(3, looks[3] - 5)
  earlier = -table.upper_z(5, 20 + 10)  # ten are invalid
  assert found.level_radius == pytest.approx(here, rel=1e-12)
  assert found.earlier_radius == pytest.approx(earlier, rel=1e-12)
  with pytest.raises(ValueError, match='not one of the looks'):
    cascade_plans.certificate_of_counts(
      Counts(selection, estimation),
      cast._replace(estimation=np.array([0, looks[3], 33])),
      plan,
    )


def test_selection_never_enters_a_bound():
  """Other selection votes with the same choice, the same certificate."""
  plan = make_plan('full', ())
  cast = Cast(np.full(3, 100), np.array([0, 0, 2_000]))
  estimation = np.array([[0] * 3, [0] * 3, [100, 1_800, 100]])
  radii = set()
  for wins in (80, 100):
    selection = np.array([[0] * 3, [0] * 3, [0, wins, 100 - wins]])
    found = cascade_plans.certificate_of_counts(
      Counts(selection, estimation), cast, plan
    )
    radii.add(found.radius)
  assert len(radii) == 1
  assert min(radii) > 0


def test_plan():
  plan = make_plan()
  assert plan.order == [2, 1, 0]
  assert plan.enough == 1.0
  assert make_plan('full', ()).enough == math.inf
  assert plan.looks[-1] == 2_000
  assert majorities.visits(plan.sigmas).tolist() == [2, 1, 0]
  with pytest.raises(ValueError, match='n = 5 votes can never certify'):
    make_plan(n=5)
  with pytest.raises(ValueError, match='takes radii'):
    make_plan('grid', ())
