"""Decisions about one image, driven by votes that the tests make up."""

import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from scipy import special

from dualrs_jax import (
  ABSTAIN,
  Counts,
  confidence,
  decisions,
  noise,
  plans,
  pursuit,
)
from dualrs_jax.base import Cast
from dualrs_jax.composition import agreement, minimum, paper
from dualrs_jax.decisions import ESTIMATOR
from tests.random_votes import (
  GRID,
  LEVELS,
  RULES,
  make_plan,
  random_counts,
)


@pytest.fixture(autouse=True, scope='module')
def _own_cache(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('DUALRS_JAX_CACHE', str(tmp_path_factory.mktemp('cache')))
    yield


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize('levels', [1, 3])
def test_the_planner_knows_what_is_certified(rule, levels):
  """Its own formula, on lists, gives the same float64 radius."""
  generator = np.random.default_rng(7)
  plan = make_plan(rule, 'full', sigmas=LEVELS[:levels], level_sigma=0.7)
  positive = 0
  for _ in range(100):
    drawn = random_counts(generator, plan)
    found = plans.certificate_of_counts(*drawn, plan)
    of_estimator, of_levels, estimator_cast, level_cast = drawn
    image = decisions._Image(plan)
    image.level = found.sigma_index
    image.label = int(np.argmax(of_levels.selection[image.level]))
    if levels > 1:
      image.selection[ESTIMATOR], image.estimation[ESTIMATOR] = of_estimator
      image.cast[ESTIMATOR] = [*estimator_cast]
    for k in range(levels):
      image.selection[k], image.estimation[k] = (part[k] for part in of_levels)
      image.cast[k] = [int(part[k]) for part in level_cast]
    low = pursuit._radius(image.terms(None))
    assert found.radius == max(low, 0)
    assert low <= pursuit._radius(image.terms(0.0))
    assert image.certificate().radius == found.radius
    positive += low > 0
  assert 10 < positive < 90


# Whatever the votes are.


def drive(plan, votes_of, widths):
  """Runs the coroutine on votes by stage and split; checks what it asks.

  Args:
    plan: The plan.
    votes_of: From (stage, split) to a sequence of classes, -1 for invalid.
    widths: Numbers of levels and of classes.

  Returns:
    The certificate and all requests.
  """
  steps = decisions.certification(plan)
  requests, seen = [next(steps)], {}
  while True:
    stage, split, votes = request = requests[-1]
    looks = plan.looks if split == noise.ESTIMATION else plan.selection_looks
    assert votes in looks
    assert votes > seen.get((stage, split), 0), 'asks for nothing new'
    if split == noise.SELECTION:
      assert not any(other == noise.ESTIMATION for _, other in seen)
    else:
      # Never a look that is not the next one.
      assert looks.index(votes) == sum(
        r[:2] == request[:2] for r in requests[:-1]
      )
    seen[stage, split] = votes
    valid = np.array(votes_of(stage, split)[:votes])
    assert len(valid) == votes
    width = widths[stage != ESTIMATOR]
    counts = np.bincount(valid[valid >= 0], minlength=width)
    try:
      requests.append(steps.send(counts))
    except StopIteration as stop:
      _check_record(stop.value, seen, len(plan.sigmas))
      return stop.value, requests


def _check_record(found, seen, levels):
  """What was asked for is what the certificate says was cast."""
  for split, name in (
    (noise.SELECTION, 'selection'),
    (noise.ESTIMATION, 'estimation'),
  ):
    first = getattr(found.estimator_cast, name)
    assert first == seen.get((ESTIMATOR, split), 0)
    others = getattr(found.classifier_cast, name).tolist()
    assert others == [seen.get((k, split), 0) for k in range(levels)]


def cost(found):
  return sum(found.estimator_cast) + np.sum(found.classifier_cast, dtype=int)


#: Votes of one stage and split, from their number and the number of classes.
STREAMS = {
  'invalid': lambda n, c: [-1] * n,
  'first': lambda n, c: [0] * n,
  'last': lambda n, c: [c - 1] * n,
  'alternating': lambda n, c: [j % c for j in range(n)],
  'half invalid': lambda n, c: [j % 2 - 1 for j in range(n)],
  'turns over': lambda n, c: [0] * (n // 3) + [c - 1] * (n - n // 3),
  'late': lambda n, c: [-1] * 16 + [0] * (n - 16),
  'nine of ten': lambda n, c: [(c - 1) * (j % 10 == 9) for j in range(n)],
  'six of ten': lambda n, c: [(c - 1) * (j % 5 > 2) for j in range(n)],
}


@pytest.mark.parametrize('rule', RULES)
@hypothesis.settings(derandomize=True, deadline=None, max_examples=120)
@hypothesis.given(
  streams=st.lists(st.sampled_from([*STREAMS]), min_size=8, max_size=8),
  levels=st.integers(1, 3),
  classes=st.integers(1, 3),
  n0=st.sampled_from([1, 7, 16, 20, 128]),
  n=st.sampled_from([20, 77, 200]),
  goal=st.sampled_from(
    [('full', ()), ('grid', GRID), ('radius', (0.0,)), ('radius', (0.3,))]
  ),
)
def test_every_goal_ends(rule, streams, levels, classes, n0, n, goal):
  plan = make_plan(rule, *goal, sigmas=LEVELS[:levels], n0=n0, n=n)

  def votes_of(stage, split):
    length = n if split == noise.ESTIMATION else n0
    width = levels if stage == ESTIMATOR else classes
    return STREAMS[streams[2 * (stage + 1) + split]](length, width)[:length]

  found, requests = drive(plan, votes_of, (levels, classes))
  asked = {(stage, split) for stage, split, _ in requests}
  if levels == 1:
    assert not any(stage == ESTIMATOR for stage, _ in asked)
  if rule is not agreement:
    others = set(range(levels)) - {found.sigma_index}
    assert not any(stage in others for stage, _ in asked)
  # The claim is that of the counts, and one that the goal has room for.
  again = plans.certificate_of_counts(*found[5:], plan)
  assert again[:5] == found[:5]
  answers = found.classifier_counts.selection[found.sigma_index]
  if found.prediction != ABSTAIN:
    assert found.prediction == np.argmax(answers)
  else:
    assert found.radius == 0
  _, radii = goal
  assert found.radius in (0, *radii) or not radii
  if n < 32:
    assert all(votes in (n, *plan.selection_looks) for *_, votes in requests)


# What the goals mean.


def unanimous(estimator=0, classes=(0, 0, 0)):
  """Every vote of a stage is the same."""

  def votes_of(stage, split):
    return [estimator if stage == ESTIMATOR else classes[stage]] * 5_000

  return votes_of


def test_radius_zero_takes_a_positive_bound():
  """117 of 200 certify something at alpha = .01, and 114 do not."""
  for goal in ('radius', 'grid'):
    plan = make_plan(minimum, goal, (0.0,), sigmas=(0.5,))
    least = plan.selected[0].table
    for wins in range(100, 130):
      last = len(plan.looks) - 1
      positive = least.lower_z(last, wins) > 0
      counts = np.array([[wins, 200 - wins]])
      found = plans.certificate_of_counts(
        Counts(np.zeros(1, int), np.zeros(1, int)),
        Counts(counts, counts),
        Cast(0, 0),
        Cast(np.array([40]), np.array([200])),
        plan,
      )
      assert found.radius == 0
      assert found.prediction == (0 if positive else ABSTAIN)


@pytest.mark.parametrize('rule', [minimum, agreement])
@pytest.mark.parametrize('level', [0, 1])
def test_full_runs_the_bottleneck_to_the_end(rule, level):
  """Unanimous votes: at least the radius of the paper's fixed n."""
  plan = make_plan(rule, 'full')
  found, _ = drive(plan, unanimous(level), (3, 3))
  assert found.sigma_index == level
  assert found.classifier_cast.estimation.tolist() == [
    plan.n * (k == level) for k in range(3)
  ]
  assert found.estimator_cast.estimation < plan.n
  rows = np.zeros((3, 3), int)
  rows[level, 0] = plan.n
  fixed = paper(
    Counts(rows[:, 0], rows[:, 0]),
    Counts(rows, rows),
    LEVELS,
    1.0,
    n=plan.n,
    alpha=0.01,
  )
  assert found.radius >= fixed.radius > 0


def test_one_level_gives_almost_the_radius_of_fixed_votes():
  """A tenth of alpha is kept for the runner-up; bounds are on a grid."""
  plan = make_plan(minimum, 'full', sigmas=(0.5,))
  found, _ = drive(plan, unanimous(), (1, 3))
  fixed = 0.5 * confidence.lower_z(200, 0.009)[200]
  assert fixed - 0.5 / 128 < found.radius <= fixed


def test_unanimous_votes_reach_a_radius_soon():
  for radius, most in ((0.0, 120), (0.5, 200)):
    plan = make_plan(agreement, 'radius', (radius,), n=1_000)
    found, requests = drive(plan, unanimous(2), (3, 3))
    assert (found.prediction, found.radius) == (0, radius)
    assert cost(found) <= most
    # The other levels were not needed.
    assert {stage for stage, *_ in requests} == {ESTIMATOR, 2}


def contrary(stage, split):
  """Estimation votes leave what was selected a fifth of them."""
  if split == noise.SELECTION:
    return [0] * 200
  return [int(j % 5 != 4) for j in range(1_000)]


@pytest.mark.parametrize('rule', RULES)
def test_what_is_hopeless_is_given_up(rule):
  for goal in (('full', ()), ('grid', GRID), ('radius', (0.5,))):
    plan = make_plan(rule, *goal, n=1_000)
    found, _ = drive(plan, contrary, (3, 3))
    assert found.prediction == ABSTAIN
    assert cost(found) <= 2 * 16 + 2 * 64


def test_every_stage_has_a_look_before_one_goes_on():
  """The classifier is sure, but the estimator is hopeless: 32 votes say so."""
  plan = make_plan(minimum, 'radius', (0.5,), n=1_000)

  def votes_of(stage, split):
    if stage == ESTIMATOR:
      return contrary(stage, split)
    return [0] * 1_000

  found, _ = drive(plan, votes_of, (3, 3))
  assert found.prediction == ABSTAIN
  assert found.classifier_cast.estimation[0] <= 32
  assert found.estimator_cast.estimation <= 64


def test_other_levels_are_asked_where_the_estimator_cannot_do_it():
  """An undecided estimator, and levels that agree or do not."""

  def votes_of(answers):
    def votes(stage, split):
      if stage == ESTIMATOR:
        return [j % 2 for j in range(1_000)]
      return [answers[stage]] * 1_000

    return votes

  plan = make_plan(agreement, 'radius', (0.25,), n=1_000)
  found, requests = drive(plan, votes_of([1, 1, 1]), (3, 3))
  assert (found.prediction, found.radius) == (1, 0.25)
  assert found.estimator_cast.estimation <= 128
  # Level 2 never has a vote, so the estimator answers for it.
  assert {stage for stage, *_ in requests} == {ESTIMATOR, 0, 1}
  found, _ = drive(plan, votes_of([1, 2, 1]), (3, 3))
  assert found.prediction == ABSTAIN
  assert found.classifier_cast.estimation[1] <= 64
  # Without agreement there is nothing to ask.
  plan = make_plan(minimum, 'radius', (0.25,), n=1_000)
  found, _ = drive(plan, votes_of([1, 1, 1]), (3, 3))
  assert found.prediction == ABSTAIN
  assert found.estimator_cast.estimation <= 256


def test_other_levels_are_asked_where_the_estimator_is_likely_to_fail():
  """It might reach the radius with luck, but not for another 100 votes."""

  def votes_of(stage, split):
    if stage == ESTIMATOR:
      return [int(j % 5 > 2) for j in range(1_000)]
    return [2] * 1_000

  for radius, most in ((0.1, 1_000), (0.35, 96)):
    plan = make_plan(agreement, 'radius', (radius,), sigmas=LEVELS[:2], n=1_000)
    found, _ = drive(plan, votes_of, (2, 3))
    assert (found.prediction, found.radius) == (2, radius)
    assert found.estimator_cast.estimation <= most
    # Where it is likely to reach the radius, nobody else is asked.
    asked = found.classifier_cast.estimation[1] > 0
    assert asked == (radius == 0.35)


def test_selection_ends_when_it_is_clear():
  plan = make_plan(minimum, 'radius', (0.1,), n0=100)
  assert plan.selection_looks == (16, 32, 64, 100)
  found, _ = drive(plan, unanimous(1), (3, 3))
  assert found.estimator_cast.selection == 16
  found, _ = drive(plan, lambda *_: [0, 1, 2] * 100, (3, 3))
  assert found.estimator_cast.selection == 100
  assert make_plan(minimum, 'full', n0=7).selection_looks == (7,)
  assert make_plan(minimum, 'full', n0=16).selection_looks == (16,)


def test_selection_and_estimation_votes_have_their_own_use():
  """Selection votes choose, though all others say something else."""
  plan = make_plan(minimum, 'full')

  def votes_of(stage, split):
    return [1 if split == noise.SELECTION else 0] * 200

  found, _ = drive(plan, votes_of, (3, 3))
  assert (found.sigma_index, found.prediction) == (1, ABSTAIN)
  found, _ = drive(
    plan, lambda stage, split: votes_of(stage, 1 - split), (3, 3)
  )
  assert (found.sigma_index, found.prediction) == (0, ABSTAIN)


def test_fewest_votes_that_may_certify():
  """alpha ** (1 / n) > 1 / 2 from n = 7 on, had the class all of alpha."""
  with pytest.raises(ValueError, match='never certify'):
    make_plan(minimum, 'full', sigmas=(0.5,), n=6)
  # A tenth of it goes to the runner-up: .009 ** (1 / 7) > 1 / 2 as well.
  found, _ = drive(
    make_plan(minimum, 'full', sigmas=(0.5,), n=7), unanimous(), (1, 2)
  )
  assert found.radius > 0


# True radii.


def simulated(laws, seed):
  """Independent votes by stage, from the probabilities of their classes."""
  streams = {}

  def votes_of(stage, split):
    if (stage, split) not in streams:
      generator = np.random.default_rng([seed, stage + 1, split])
      law = laws[stage]
      streams[stage, split] = generator.choice(len(law), 1_000, p=law)
    return streams[stage, split]

  return votes_of


def half_space(radius, sigma, answers=(0, 1)):
  """The law of three classes with this true radius."""
  law = np.zeros(3)
  law[list(answers)] = special.ndtr([radius / sigma, -radius / sigma])
  return law


@pytest.mark.parametrize('truth', [0.2, 0.6])
def test_half_space(truth):
  options = {'sigmas': (0.5,), 'n': 1_000}
  for seed in range(10):
    votes = simulated({0: half_space(truth, 0.5)}, seed)
    full, _ = drive(make_plan(minimum, 'full', **options), votes, (1, 3))
    assert full.prediction == 0
    assert 0.45 * truth < full.radius <= truth
    grid, _ = drive(make_plan(minimum, 'grid', GRID, **options), votes, (1, 3))
    below = max(r for r in GRID if r <= truth)
    assert grid.radius <= below
    assert grid.radius >= max(r for r in GRID if r < 0.45 * truth)
    assert cost(grid) <= cost(full)


@pytest.mark.parametrize(('r_e', 'r_c'), [(0.8, 0.3), (0.5, 0.65)])
@pytest.mark.parametrize('rule', RULES)
def test_two_half_spaces(rule, r_e, r_c):
  """The other level answers another class, or the same one."""
  plan = make_plan(rule, 'full', sigmas=LEVELS[:2], n=1_000)
  first = half_space(r_e, 1.0)[:2]
  second = half_space(r_c, 0.25)
  for seed, other in itertools.product(range(4), (2, 0)):
    laws = {ESTIMATOR: first, 0: second, 1: np.eye(3)[other]}
    found, _ = drive(plan, simulated(laws, seed), (2, 3))
    assert (found.prediction, found.sigma_index) == (0, 0)
    truth = r_c if rule is agreement and other == 0 else min(r_e, r_c)
    assert 0.45 * truth < found.radius <= truth


def test_runner_up_certifies_without_a_majority():
  """A: z <= a, B: (a, a + g], C: beyond, the runner-up: a + g / 2 is true."""
  a, g = -0.05, 0.65
  law = np.diff(special.ndtr([a, a + g]), prepend=0, append=1)
  assert 0.5 > law[0] > law[2] > law[1]
  plan = make_plan(agreement, 'full', sigmas=(1.0,), n=1_000)
  for seed in range(10):
    found, _ = drive(plan, simulated({0: law}, seed), (1, 3))
    assert found.prediction == 0
    assert 0 < found.radius <= a + g / 2
