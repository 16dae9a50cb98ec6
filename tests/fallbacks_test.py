"""A dual that falls back: against its definition, on the line and on votes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from dualrs_jax import (
  ABSTAIN,
  Counts,
  confidence,
  decisions,
  fallbacks,
  lookups,
  majorities,
  plans,
  smoothing,
)
from dualrs_jax.base import Cast
from dualrs_jax.composition import agreement, join, minimum
from dualrs_jax.fallbacks import fallback
from tests.composition_test import lower, random_counts

SIGMAS = (0.25, 0.5, 1.0)
ESTIMATOR_SIGMA = 0.5
ROWS = 300


def certified(estimator, classifier, sigmas=SIGMAS, n=200, alpha=0.01, n0=10):
  return fallback(
    estimator, classifier, sigmas, ESTIMATOR_SIGMA, n=n, alpha=alpha, n0=n0
  )


def cascade_radius(votes, start, last, label, sigmas, n, alpha):
  """C_k of one image, from the definitions; the levels increase."""
  classes = votes.shape[-1]
  terms = [sigmas[last] * lower(votes[last, label], n, alpha)]
  for j in range(last + 1, start + 1):
    invalid = n - votes[j].sum()
    for c in set(range(classes)) - {label}:
      against = n - (votes[j, c] + invalid)
      terms.append(sigmas[j] * lower(against, n, alpha))
  return min(terms)


def promised(likely, start, last, label):
  terms = [SIGMAS[last] * likely[last, label]]
  for j in range(last + 1, start + 1):
    terms.append(SIGMAS[j] * -np.delete(likely[j], label).max())
  return min(terms)


def reference(estimator, classifier, n, alpha, n0):
  """Prediction and radius of one image, from the definitions."""
  i = int(np.argmax(estimator.selection))
  likely = special.ndtri((classifier.selection + 0.5) / (n0 + 1))
  ways = [
    (promised(likely, i, last, (label := int(np.argmax(likely[last])))), label)
    for last in range(i, -1, -1)
  ]
  y = max(ways, key=lambda way: way[0])[1]

  def answering(start):
    return max(
      range(start, -1, -1), key=lambda last: promised(likely, start, last, y)
    )

  def radius(start, share):
    last = answering(start)
    return cascade_radius(
      classifier.estimation, start, last, y, SIGMAS, n, share * alpha
    )

  votes = estimator.estimation
  z_i = lower(votes[i], n, 0.7 * alpha)
  terms = [radius(i, 1.0)]
  for k in set(range(3)) - {i}:
    invalid = n - votes.sum()
    z_not_k = lower(n - votes[k] - invalid, n, 0.05 * alpha)
    keeps = ESTIMATOR_SIGMA * max(z_i, (z_i + z_not_k) / 2)
    terms.append(max(keeps, radius(k, 0.25)))
  found = min(terms)
  return (y, found) if found > 0 else (ABSTAIN, 0.0)


def rows(counts, row):
  return Counts(*(split[row] for split in counts))


def test_the_rule_is_its_formula():
  estimator, classifier = random_counts(0, 3, 4, 200, rows=ROWS)
  found = certified(estimator, classifier)
  for row in range(ROWS):
    label, radius = reference(
      rows(estimator, row), rows(classifier, row), 200, 0.01, 10
    )
    assert found.prediction[row] == label
    np.testing.assert_allclose(found.radius[row], radius, rtol=1e-5, atol=1e-7)
  assert (found.radius > 0).mean() > 0.1
  differing = agreement(
    estimator, classifier, SIGMAS, ESTIMATOR_SIGMA, n=200, alpha=0.01
  )
  assert (differing.radius != found.radius).mean() > 0.05


def test_a_device_never_claims_more():
  counts = random_counts(1, 3, 4, 200, rows=ROWS)
  on_host = certified(*counts)
  on_device = certified(*(Counts(*map(jnp.asarray, each)) for each in counts))
  np.testing.assert_array_equal(on_host.prediction, on_device.prediction)
  assert (np.asarray(on_device.radius) <= on_host.radius).all()
  np.testing.assert_allclose(on_device.radius, on_host.radius, atol=1e-5)


def test_a_constant_choice_of_the_largest_level_is_the_cascade():
  _, classifier = random_counts(2, 3, 4, 200, rows=ROWS)
  votes = np.tile([0, 0, 1], (ROWS, 1))
  estimator = Counts(10 * votes, 200 * votes)
  found = fallback(estimator, classifier, SIGMAS, 1e3, n=200, alpha=0.01, n0=10)
  cascade = majorities.certificate_of_counts(
    classifier, SIGMAS, n0=10, n=200, alpha=0.01
  )
  np.testing.assert_array_equal(found.radius, cascade.radius)
  np.testing.assert_array_equal(found.prediction, cascade.prediction)


def test_the_order_of_the_levels_does_not_matter():
  estimator, classifier = random_counts(4, 3, 4, 200, rows=ROWS)
  found = certified(estimator, classifier)
  order = [2, 0, 1]
  other = certified(
    Counts(*(split[:, order] for split in estimator)),
    Counts(*(split[:, order] for split in classifier)),
    sigmas=[SIGMAS[k] for k in order],
  )
  alone = estimator.selection.max(-1, keepdims=True) == estimator.selection
  clear = alone.sum(-1) == 1  # of equal votes the first is taken
  np.testing.assert_array_equal(found.radius[clear], other.radius[clear])
  np.testing.assert_array_equal(
    found.prediction[clear], other.prediction[clear]
  )
  assert clear.mean() > 0.7


def test_one_level_is_plain_smoothing():
  _, classifier = random_counts(5, 1, 4, 200, rows=ROWS)
  votes = np.ones((ROWS, 1), int)
  found = certified(Counts(10 * votes, 200 * votes), classifier, sigmas=[0.5])
  plain = smoothing.certificate_of_counts(
    Counts(*(split[:, 0] for split in classifier)), 0.5, n=200, alpha=0.01
  )
  np.testing.assert_array_equal(found.radius, plain.radius)
  np.testing.assert_array_equal(found.prediction, plain.prediction)


@pytest.mark.parametrize('wrong', [np.nan, -1.0, 0.0, np.inf])
def test_a_level_that_is_no_level_certifies_nothing(wrong):
  counts = random_counts(6, 3, 4, 200, rows=40)
  on_device = [Counts(*map(jnp.asarray, each)) for each in counts]
  for place in range(3):
    sigmas = jnp.asarray(SIGMAS).at[place].set(wrong)
    found = jax.jit(certified)(*on_device, sigmas)
    chosen = np.asarray(found.sigma_index)
    assert (np.asarray(found.radius)[chosen == place] == 0).all()


def test_bounds_at_all_levels_have_a_part_of_alpha():
  for shares in ({'avoids': 0.05}, {'agrees': 0.25}):
    with pytest.raises(ValueError, match='has bounds at all levels'):
      fallbacks.FallbackRule('other', keeps=0.7, selected=1.0, **shares)


def test_it_has_to_know_how_many_votes_chose():
  counts = random_counts(2, 3, 4, 200, rows=3)
  with pytest.raises(ValueError, match='has to know n0'):
    certified(*counts, n0=None)


def test_stopped_votes_amount_to_what_fixed_ones_do():
  """A little less, or more where the runner-up at the smallest level tells."""
  estimator, classifier = random_counts(3, 3, 4, 1_000, n0=100, rows=60)
  fixed = certified(estimator, classifier, n=1_000, n0=100)
  plan = plans.plan(
    SIGMAS,
    ESTIMATOR_SIGMA,
    goal='full',
    radii=(),
    n0=100,
    n=1_000,
    alpha=0.01,
    certificate=fallback,
  )
  positive = more = 0
  for row in range(60):
    cast = np.where(rows(classifier, row).estimation.any(-1), 1_000, 0)
    found = plans.certificate_of_counts(
      rows(estimator, row),
      rows(classifier, row),
      Cast(100, 1_000),
      Cast(np.full(3, 100), cast),
      plan,
    )
    _, _, answering = fallbacks.selection(
      rows(estimator, row), rows(classifier, row), SIGMAS, 100, runner_up=True
    )
    if found.radius > fixed.radius[row]:
      more += 1
      assert 0 in answering
    if fixed.radius[row] > 0.1:
      positive += 1
      assert found.radius > 0.7 * fixed.radius[row]
  assert positive > 10
  assert more > 1


class Line:
  """A classifier of the line: intervals with an answer each."""

  def __init__(self, rng, answers, pieces=5):
    self.ends = np.sort(rng.uniform(-2, 2, pieces - 1))
    self.answers = rng.integers(answers, size=pieces)
    self.count = answers

  def probabilities(self, x, sigma):
    """Those of the answers under noise, exactly."""
    cdf = stats.norm.cdf(
      np.concatenate([[-np.inf], self.ends, [np.inf]]), x, sigma
    )
    p = np.bincount(self.answers, np.diff(cdf), minlength=self.count)
    return np.clip(p, 1e-12, 1 - 1e-12)


def answer(estimator, experts, x, *, anyway=True):
  """What is certified: exactly, at one point.

  Where no level has a majority, the smallest answers anyway, or nothing does.
  """
  start = int(np.argmax(estimator.probabilities(x, ESTIMATOR_SIGMA)))
  for k in range(start, -1, -1):
    p = experts[k].probabilities(x, SIGMAS[k])
    if p.max() > 0.5 or (k == 0 and anyway):
      return int(np.argmax(p))
  return ABSTAIN


def true_radius(
  estimator, experts, x, label, level, answering, *, runner_up=False
):
  """R where every bound is the truth."""
  p = np.stack(
    [f.probabilities(x, s) for f, s in zip(experts, SIGMAS, strict=True)]
  )
  bounds = majorities.Bounds(special.ndtri(p), -special.ndtri(p))
  if runner_up:
    rival = np.delete(p[0], label).max()
    bounds.wins[0, label] = (bounds.wins[0, label] - special.ndtri(rival)) / 2
  cascades = fallbacks.radii(
    bounds, np.asarray(label), np.asarray(answering), SIGMAS
  )
  z = special.ndtri(estimator.probabilities(x, ESTIMATOR_SIGMA))
  return float(
    join(
      np.asarray(z[level]),
      -z,
      np.asarray(cascades[level]),
      cascades,
      np.int64(level),
      ESTIMATOR_SIGMA,
    ).radius
  )


@pytest.mark.parametrize('runner_up', [False, True])
def test_nothing_changes_within_the_radius(runner_up):
  """Whatever level, class and answering levels are put in.

  With majorities alone, it does not matter what is answered without any.
  """
  rng = np.random.default_rng(0)
  counted = fell_back = unsure = 0
  for _ in range(3_000):
    estimator = Line(rng, 3)
    experts = [Line(rng, 3, pieces=16 if runner_up else 5) for _ in SIGMAS]
    x = rng.uniform(-1, 1)
    label, level = rng.integers(3, size=2)
    answering = [rng.integers(k + 1) for k in range(3)]
    radius = true_radius(
      estimator, experts, x, label, level, answering, runner_up=runner_up
    )
    if not radius > 0:
      continue
    counted += 1
    fell_back += answering[level] < level
    ways = [True] if runner_up else [True, False]
    for at in x + radius * np.linspace(-1, 1, 23)[1:-1]:
      for anyway in ways:
        assert answer(estimator, experts, at, anyway=anyway) == label
    unsure += answer(estimator, experts, x, anyway=False) == ABSTAIN
  assert counted > 100
  assert fell_back > 10
  assert (unsure > 5) == runner_up


def adaptively(estimator, experts, x, plan, rng):
  """A certification of one point, and how many votes it took."""
  counts = {}
  image = decisions.certification(plan)
  request = next(image)
  while True:
    stage, split, votes = request
    p = (
      estimator.probabilities(x, ESTIMATOR_SIGMA)
      if stage == decisions.ESTIMATOR
      else experts[stage].probabilities(x, SIGMAS[stage])
    )
    cast, kept = counts.get((stage, split), (0, np.zeros(len(p), int)))
    kept = kept + rng.multinomial(votes - cast, p / p.sum())
    counts[stage, split] = votes, kept
    try:
      request = image.send(kept)
    except StopIteration as end:
      return end.value, sum(cast for cast, _ in counts.values())


@pytest.mark.parametrize(
  ('goal', 'radii'), [('full', ()), ('grid', (0.0, 0.25, 0.5))]
)
@pytest.mark.parametrize('pieces', [5, 20])
def test_adaptive_certificates_hold_on_the_line(goal, radii, pieces):
  rng, alpha = np.random.default_rng(2), 0.05
  plan = plans.plan(
    SIGMAS,
    ESTIMATOR_SIGMA,
    goal=goal,
    radii=radii,
    n0=64,
    n=2_000,
    alpha=alpha,
    certificate=fallback,
  )
  wrong = answered = unsure = 0
  spent = []
  for _ in range(300):
    estimator = Line(rng, 3)
    experts = [Line(rng, 3, pieces=pieces) for _ in SIGMAS]
    x = rng.uniform(-1, 1)
    found, votes = adaptively(estimator, experts, x, plan, rng)
    spent.append(votes)
    if found.prediction == ABSTAIN:
      continue
    answered += 1
    unsure += answer(estimator, experts, x, anyway=False) == ABSTAIN
    reach = x + found.radius * np.linspace(-0.999, 0.999, 31)
    wrong += any(
      answer(estimator, experts, at) != found.prediction for at in reach
    )
  assert answered > 100
  assert wrong <= 3  # a cascade without its E_j has 8
  assert (unsure > 3) == (pieces > 5)
  most = 4 * (64 + 2_000)
  assert np.mean(spent) < 0.6 * most
  assert max(spent) <= most


def test_of_one_level_the_runner_up_is_bounded():
  _, classifier = random_counts(8, 1, 4, 1_000, n0=100, rows=40)
  estimator = Counts(np.ones(1, int), np.ones(1, int))
  ours, theirs = (
    [
      plans.certificate_of_counts(
        estimator,
        rows(classifier, row),
        Cast(0, 0),
        Cast(np.array([100]), np.array([1_000])),
        plans.plan(
          (0.5,),
          1.0,
          goal='full',
          radii=(),
          n0=100,
          n=1_000,
          alpha=0.01,
          certificate=rule,
        ),
      )
      for row in range(40)
    ]
    for rule in (fallback, minimum)
  )
  assert [found.radius for found in ours] == [found.radius for found in theirs]
  assert sum(found.radius > 0 for found in ours) > 10


def test_the_bounds_of_each_radius_have_their_share():
  plan = plans.plan(
    SIGMAS,
    ESTIMATOR_SIGMA,
    goal='full',
    radii=(),
    n0=64,
    n=200,
    alpha=0.01,
    certificate=fallback,
  )
  for bounds, share in ((plan.selected, 1.0), (plan.agrees, 0.25)):
    shares = [part.alpha / 0.01 for part in bounds]
    np.testing.assert_allclose(shares, np.array([0.9, 0.1, 1.0]) * share)


def test_a_certificate_goes_on_with_more_votes():
  rng = np.random.default_rng(3)
  short, long = (
    plans.plan(
      SIGMAS,
      ESTIMATOR_SIGMA,
      goal='full',
      radii=(),
      n0=64,
      n=n,
      alpha=0.01,
      certificate=fallback,
      bounds=lookups.open_ended,
    )
    for n in (500, 4_000)
  )
  sure = [Line(np.random.default_rng(0), 1, pieces=2) for _ in range(4)]
  for line in sure:
    line.count = 3
  first, _ = adaptively(sure[0], sure[1:], 0.0, short, rng)
  assert decisions.is_decided(short, first)
  assert not decisions.is_decided(long, first)
  image = decisions.certification(long, first)
  votes = next(image).votes
  assert votes > 500


@pytest.mark.parametrize(('selected', 'share'), [(1, 1.0), (0, 0.25)])
def test_wrong_as_seldom_as_its_share_allows(selected, share):
  """Where the want of a majority at one level alone limits the radius.

  Class 0 is sure at level 0, which level 1 falls back on: there class 1 has no
  majority within 0.1, and not beyond. Where level 0 is selected, but hardly,
  the estimator allows that level 1 is.
  """
  rng, n, alpha, runs = np.random.default_rng(1), 400, 0.05, 40_000
  sigmas, truth = (0.25, 0.5), 0.1
  p = special.ndtr(-truth / 0.5)
  sure = np.broadcast_to([n, 0, 0], (runs, 3))
  undecided = rng.multinomial(n, [(1 - p) / 2, p, (1 - p) / 2], size=runs)
  selection = np.broadcast_to([[100, 0, 0], [30, 40, 30]], (runs, 2, 3))
  chosen = np.broadcast_to(np.eye(2, dtype=int)[selected], (runs, 2))
  found = fallback(
    Counts(
      chosen, (n // 2) * np.ones((runs, 2), int) if not selected else n * chosen
    ),
    Counts(selection, np.stack([sure, undecided], axis=1)),
    sigmas,
    1e3,
    n=n,
    alpha=alpha,
    n0=100,
  )
  wrong = (found.radius > truth).mean()
  assert wrong <= share * alpha + 3 * np.sqrt(share * alpha / runs)
  assert wrong > 0.6 * share * alpha


def test_where_its_alpha_is_attained():
  """The estimator fails with .7 alpha, C_k with .25 alpha, never both.

  Level 0 is selected. At level 1, from which a cascade would fall back on level
  0, the votes against a majority of class 1 just suffice.
  """
  n, alpha, runs, truth, wins = 400, 0.05, 40_000, 0.1, 250
  z_0, z_1 = (
    float(confidence.lower_z(n, share * alpha)[wins])
    for share in (fallback.keeps, fallback.agrees)
  )
  beyond = truth * (1 + 1e-6)  # with as many wins, the bounds are wrong
  luck = np.random.default_rng(2).random(runs)
  selects = stats.binom.ppf(luck, n, special.ndtr(z_0)).astype(int)
  for_1 = stats.binom.ppf(luck, n, special.ndtr(-z_1)).astype(int)
  selection = np.broadcast_to([[100, 0, 0], [30, 40, 30]], (runs, 2, 3))
  rest = n - for_1
  votes = np.stack([rest // 2, for_1, rest - rest // 2], axis=-1)
  sure = np.broadcast_to([n, 0, 0], (runs, 3))
  found = fallback(
    Counts(
      np.broadcast_to([9, 1], (runs, 2)),
      np.stack([selects, n - selects], axis=-1),
    ),
    Counts(selection, np.stack([sure, votes], axis=1)),
    (0.25, beyond / z_1),
    beyond / z_0,
    n=n,
    alpha=alpha,
    n0=100,
  )
  assert (found.prediction == 0).all()
  used = (fallback.keeps + fallback.agrees) * alpha
  wrong = (found.radius > truth).mean()
  error = 5 * np.sqrt(used / runs)
  assert used - error < wrong < used + error < alpha + error
