"""Bounds as plans read them, and images whose votes are added to."""

import numpy as np
import pytest

from dualrs_jax import ABSTAIN, decisions, lookups, mixture, noise, plans
from dualrs_jax.composition import agreement, minimum
from tests.random_votes import GRID, LEVELS, RULES, make_plan, random_counts

OPEN = {'bounds': lookups.open_ended}


def run(plan, votes, begun=None):
  """Drives an image by votes [stage + 1, split, vote]; what it asked for."""
  steps, asked = decisions.certification(plan, begun), []
  try:
    request = next(steps)
    while True:
      asked.append(request)
      stage, split, number = request
      cast = votes[stage + 1, split, :number]
      width = len(plan.sigmas) if stage == decisions.ESTIMATOR else 3
      counts = np.bincount(cast, minlength=width)
      request = steps.send(counts)
  except StopIteration as stop:
    return stop.value, asked


def random_votes(seed, votes=2_000):
  """Votes of an estimator and three levels, mostly for one class each."""
  generator = np.random.default_rng(seed)
  drawn = generator.integers(0, 3, (4, 2, votes))
  favoured = generator.integers(0, 3, (4, 1, 1))
  sure = generator.random((4, 1, 1)) ** 0.3
  return np.where(generator.random(drawn.shape) < sure, favoured, drawn)


def test_open_bounds_are_those_of_the_mixture():
  table = lookups.open_ended.make(500, 0.01, 'full')
  for cast in (32, 77, 500, 4_000):
    for failures in (0, 5, cast // 3, cast):
      bound = mixture.lower_z(cast, cast - failures, 0.01)
      assert table.present(cast, failures) == bound
      assert table.lower_z(cast, cast - failures) == bound
      assert table.upper_z(cast, failures) == -bound
  assert table.present(0, 0) == -np.inf
  assert table.hoped(4_000, 9, 2.5) == table.present(4_000, 9)  # beyond n
  assert table.hoped(100, 9, 0.0) > table.present(100, 9)


def test_planned_bounds_end():
  table = lookups.planned.make(200, 0.01, 'grid')
  assert table.best == table.present(200, 0) == table.lower_z(200, 200)
  with pytest.raises(ValueError, match='201 votes are not one of the looks'):
    table.lower_z(201, 200)


@pytest.mark.parametrize('rule', RULES)
def test_open_bounds_certify_less_than_planned_ones_at_their_end(rule):
  generator = np.random.default_rng(3)
  plan = make_plan(rule, 'full')
  positive = 0
  for _ in range(60):
    drawn = random_counts(generator, plan)
    planned = plans.certificate_of_counts(*drawn, plan)
    found = plans.certificate_of_counts(*drawn, make_plan(rule, 'full', **OPEN))
    positive += found.radius > 0
    cast = [drawn[2].estimation, *drawn[3].estimation]
    if set(cast) == {plan.n}:
      assert found.radius <= planned.radius
  assert 5 < positive < 55


@pytest.mark.parametrize('rule', [minimum, agreement])
@pytest.mark.parametrize('goal', ['full', 'grid'])
def test_what_was_begun_is_gone_on_with(rule, goal):
  radii = GRID if goal == 'grid' else ()
  small, large = (
    make_plan(rule, goal, radii, n=n, **OPEN) for n in (150, 2_000)
  )
  grown = 0
  for seed in range(12):
    votes = random_votes(seed)
    first, _ = run(small, votes)
    second, asked = run(large, votes, first)
    again, nothing = run(large, votes, second)
    assert not nothing
    assert decisions.is_decided(large, second)
    assert (again.radius, again.prediction) == (
      second.radius,
      second.prediction,
    )
    cast = [first.estimator_cast[1], *first.classifier_cast[1]]
    for stage, split, number in asked:
      assert split == noise.ESTIMATION  # the choice stands
      assert number > cast[stage + 1]
    counts = [second.estimator_counts[1], *second.classifier_counts[1]]
    totals = [second.estimator_cast[1], *second.classifier_cast[1]]
    for stage, (found, total) in enumerate(zip(counts, totals, strict=True)):
      assert total >= cast[stage]
      if total:
        expected = np.bincount(votes[stage, 1, :total], minlength=3)
        np.testing.assert_array_equal(found, expected)
    assert second.sigma_index == first.sigma_index
    grown += bool(asked)
  assert grown > 2


def test_a_tolerance_saves_votes_and_costs_no_more_than_it_says():
  plans_of = {
    share: make_plan(agreement, 'full', n=2_000, tolerance=share)
    for share in (0.0, 0.05, 0.3)
  }
  assert plans_of[0.0].tolerance == 0
  results = {
    share: [run(plan, random_votes(seed))[0] for seed in range(40)]
    for share, plan in plans_of.items()
  }
  votes = lambda found: found.estimator_cast[1] + sum(found.classifier_cast[1])
  total = [sum(map(votes, found)) for found in results.values()]
  assert total[0] > total[1] > total[2]
  mean = [np.mean([f.radius for f in found]) for found in results.values()]
  assert mean[0] >= mean[1] > 0.93 * mean[0]
  assert mean[2] > 0.65 * mean[0]
  for exact, early in zip(results[0.0], results[0.3], strict=True):
    assert (early.prediction == ABSTAIN) == (exact.prediction == ABSTAIN)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'goal': 'full', 'tolerance': 1.0}, r'a share in \[0, 1\), not 1.0'),
    ({'goal': 'grid', 'radii': (0.5,), 'tolerance': 0.1}, "with 'grid'"),
  ],
)
def test_tolerances_that_make_no_sense(changes, message):
  options = {'radii': (), 'n0': 40, 'n': 200, 'alpha': 0.01} | changes
  with pytest.raises(ValueError, match=message):
    plans.plan(LEVELS, 1.0, certificate=agreement, **options)


def test_predictions_are_certificates_at_the_image():
  """A class with 60 of 100 votes is decided, one with half of them never."""
  plan = make_plan(minimum, 'radius', (0.0,), sigmas=(0.5,), n=2_000)
  generator = np.random.default_rng(0)
  votes = generator.random((4, 2, 2_000)) < 0.6
  found, _ = run(plan, np.where(votes, 1, 0))
  assert (found.prediction, found.radius) == (1, 0.0)
  assert found.classifier_cast.estimation[0] < 2_000
  wrong = 0
  for seed in range(100):  # a wrong claim for whichever class was selected
    votes = np.random.default_rng(seed).integers(0, 2, (4, 2, 2_000))
    found, _ = run(plan, votes)
    wrong += found.prediction != ABSTAIN
  assert wrong <= 6  # at alpha = .01; more with probability 7e-5
