"""How often certificates are wrong: as often as they may, and no more.

Each simulation is at a point where the stated failure probability is attained,
so a lost factor shows. Counts are drawn directly and go through the NumPy
rules. The number of wrong certificates has to lie in the binomial interval of
the exact probability (false alarm 1e-6 per side); `TRIALS` is large enough
that a true error of .06 at a nominal .05 is found with probability .99, as is
one of .04 below it.

The negative controls break a rule of docs/theory.md, section 6. They have to
leave the same interval, which shows that the harness would notice.
"""

import numpy as np
import pytest
from scipy import stats

from dualrs_jax import Counts, confidence, smoothing
from dualrs_jax.composition import agreement, minimum, paper
from tests import oracles

TRIALS = 40_000
N = 100
ALPHA = 0.05
LEVEL_SIGMA = 1.0


def check(wrong, exact):
  """The observed number of wrong certificates fits the exact probability."""
  low, high = oracles.binomial_limits(TRIALS, exact)
  assert low <= int(wrong.sum()) <= high, wrong.mean()


def refuse(wrong, true):
  """A negative control: more wrong certificates than ALPHA explains."""
  limit = oracles.binomial_limits(TRIALS, ALPHA)[1]
  assert oracles.binomial_power(TRIALS, ALPHA, true) > 0.99
  assert int(wrong.sum()) > limit, wrong.mean()


def test_power():
  assert oracles.binomial_power(TRIALS, ALPHA, 0.06) > 0.99
  low, _ = oracles.binomial_limits(TRIALS, ALPHA)
  assert stats.binom.cdf(low - 1, TRIALS, 0.04) > 0.99
  # So many trials tell a true error of .075, or of .10, from the nominal one.
  for trials, true, limit in ((4_564, 0.075, 301), (1_312, 0.10, 106)):
    assert stats.binom.sf(limit, trials, ALPHA) < 1e-6
    assert stats.binom.sf(limit, trials, true) > 0.985


def boundary(alpha, critical=80):
  """A z at which bounds of level alpha fail from `critical` votes on.

  Just below the bound of `critical` votes, so the failure probability is
  alpha up to the margin of the tables.
  """
  z = confidence.lower_z(N, alpha)[critical] - 1e-6
  exact = stats.binom.sf(critical - 1, N, stats.norm.cdf(z))
  assert exact == pytest.approx(alpha, rel=1e-4)
  return z


def draw(generator, *thresholds):
  """Common-noise votes: counts of u < p for each p, or u > 1 - p for p < 0."""
  uniform = generator.random((TRIALS, N), np.float32)
  return [
    np.sum(uniform < p if p > 0 else uniform > 1 + p, axis=1, dtype=np.int32)
    for p in thresholds
  ]


def two_way(wins, of=N):
  return np.stack([wins, of - wins], axis=-1)


def decided(estimation):
  """Counts whose selection votes are all for category 0."""
  selection = np.zeros_like(estimation)
  selection[..., 0] = 10
  return Counts(selection, estimation)


def plain_wrong(counts, z, alpha=ALPHA):
  """Certificates at sigma = 1 of a two-class problem, true z of class 0."""
  found = smoothing.certificate_of_counts(counts, 1.0, n=N, alpha=alpha)
  truth = np.where(found.prediction == 0, z, -z)
  return (found.radius > 0) & (found.radius > truth)


def test_plain_smoothing():
  z = boundary(ALPHA)
  (wins,) = draw(np.random.default_rng(0), stats.norm.cdf(z))
  check(plain_wrong(decided(two_way(wins)), z), ALPHA)


def test_plain_smoothing_with_its_own_selection():
  """At p = 1/2 either class may be selected; claiming any radius is wrong."""
  generator = np.random.default_rng(1)
  selection = two_way(generator.binomial(11, 0.5, TRIALS), 11)
  (wins,) = draw(generator, 0.5)
  fewest = np.argmax(confidence.lower_z(N, ALPHA) > 0)
  exact = stats.binom.sf(fewest - 1, N, 0.5)
  assert 0.03 < exact <= ALPHA
  check(plain_wrong(Counts(selection, two_way(wins)), 0.0), exact)


def test_invalid_votes_do_not_help():
  """A third of what is not for class 0 is invalid: still alpha, not more."""
  generator = np.random.default_rng(2)
  z = boundary(ALPHA)
  (wins,) = draw(generator, stats.norm.cdf(z))
  losses = generator.binomial(N - wins, 2 / 3)
  check(plain_wrong(decided(np.stack([wins, losses], axis=-1)), z), ALPHA)


def dual_wrong(rule, estimator, first, second, sigmas, truth, alpha=ALPHA):
  """Wrong certificates of a rule at two levels, true radius `truth`."""
  found = rule(
    decided(two_way(estimator)),
    decided(np.stack([two_way(first), two_way(second)], axis=1)),
    sigmas,
    LEVEL_SIGMA,
    n=N,
    alpha=alpha,
  )
  return (found.radius > truth) & (found.prediction == 0)


@pytest.mark.parametrize(
  ('rule', 'level'), [(minimum, ALPHA), (paper, ALPHA / 2)]
)
@pytest.mark.parametrize('limits', ['estimator', 'classifier', 'both'])
def test_smaller_of_two_radii(rule, level, limits):
  """`minimum` attains alpha, `paper` half of it: one stage limits.

  Where both stages limit with common noise, both bounds fail together.
  """
  z = boundary(level)
  p = stats.norm.cdf(z)
  estimator, classifier = draw(
    np.random.default_rng(3),
    1.0 if limits == 'classifier' else p,
    1.0 if limits == 'estimator' else p,
  )
  wrong = dual_wrong(rule, estimator, classifier, classifier, (1.0, 1.0), z)
  check(wrong, level)


@pytest.mark.parametrize(
  ('rule', 'level'), [(minimum, ALPHA), (agreement, ALPHA), (paper, ALPHA / 2)]
)
def test_rules_with_their_own_selection(rule, level):
  """Both classes at p = 1/2, one of them selected: any radius is wrong."""
  generator = np.random.default_rng(9)
  selection = two_way(generator.binomial(11, 0.5, TRIALS), 11)
  (wins,) = draw(generator, 0.5)
  found = rule(
    decided(two_way(np.full(TRIALS, N, np.int32))),
    Counts(*(np.stack([c] * 2, axis=1) for c in (selection, two_way(wins)))),
    (1.0, 1.0),
    LEVEL_SIGMA,
    n=N,
    alpha=ALPHA,
  )
  fewest = np.argmax(confidence.lower_z(N, level) > 0)
  check(found.radius > 0, stats.binom.sf(fewest - 1, N, 0.5))


def test_smaller_of_two_radii_with_antithetic_noise():
  """Both bounds never fail together here: no wrong claim at all."""
  z = boundary(ALPHA)
  p = stats.norm.cdf(z)
  estimator, classifier = draw(np.random.default_rng(4), p, -p)
  wrong = dual_wrong(minimum, estimator, classifier, classifier, (1.0, 1.0), z)
  assert wrong.mean() < 0.005


def attained():
  """The case in which the agreement certificate spends its alpha.

  A_k is one-sided (two levels), A_k = B_k, votes are antithetic, and both
  probabilities are on a Clopper-Pearson boundary of their share. B_i is far
  away. Returns sigma_k, the true radius, p_i and p_k.
  """
  keeps, agrees = agreement.keeps * ALPHA, agreement.agrees * ALPHA
  z_i, z_k = boundary(keeps), boundary(agrees)
  truth = LEVEL_SIGMA * z_i
  sigma = float(np.float32(truth / z_k))
  # float32 moved sigma by 1e-8, the boundary is 1e-6 away.
  return sigma, truth, stats.norm.cdf(z_i), stats.norm.cdf(truth / sigma)


def test_agreement_where_its_alpha_is_attained():
  """A_k fails with .7 alpha, B_k with .25 alpha, hardly ever both."""
  sigma, truth, p_i, p_k = attained()
  estimator, other = draw(np.random.default_rng(5), p_i, -p_k)
  sure = np.full(TRIALS, N, np.int32)
  wrong = dual_wrong(agreement, estimator, sure, other, (100.0, sigma), truth)
  used = agreement.keeps + agreement.agrees
  assert oracles.binomial_power(TRIALS, used * ALPHA, 0.06) > 0.99
  check(wrong, used * ALPHA)


def test_agreement_with_the_two_sided_form():
  """Three levels, the third agrees: A_k = es / 2 * (z_i - z_k) limits.

  Slack by nature, as two bounds rarely fail in the same votes: not above
  alpha is all that can be said.
  """
  generator = np.random.default_rng(6)
  wrong = []
  for p_i, p_k in ((0.5, 0.1), (0.45, 0.2), (0.6, 0.35)):
    truth = LEVEL_SIGMA / 2 * (stats.norm.ppf(p_i) - stats.norm.ppf(p_k))
    votes = generator.multinomial(
      N, [p_i, p_k, 1 - p_i - p_k], size=TRIALS
    ).astype(np.int32)
    agreeing = np.broadcast_to(
      np.int32([[N, 0], [0, N], [N, 0]]), (TRIALS, 3, 2)
    )
    selection = np.broadcast_to(np.int32([10, 0, 0]), votes.shape)
    found = agreement(
      Counts(selection, votes),
      decided(agreeing),
      (100.0, 100.0, 100.0),
      LEVEL_SIGMA,
      n=N,
      alpha=ALPHA,
    )
    wrong.append(np.mean(found.radius > truth))
  limit = oracles.binomial_limits(TRIALS, ALPHA)[1] / TRIALS
  assert np.all(np.array(wrong) <= limit)


@pytest.mark.parametrize('binding', [0, 1])
def test_agreement_where_one_bound_limits(binding):
  """B_i alone attains alpha; A_k alone, without agreement, half of it."""
  generator = np.random.default_rng(7)
  sure, never = np.full(TRIALS, N, np.int32), np.zeros(TRIALS, np.int32)
  if binding == 0:
    z = boundary(ALPHA)
    (first,) = draw(generator, stats.norm.cdf(z))
    wrong = dual_wrong(agreement, sure, first, sure, (0.5, 1.0), 0.5 * z)
    check(wrong, ALPHA)
  else:
    z = boundary(ALPHA * agreement.keeps)
    (estimator,) = draw(generator, stats.norm.cdf(z))
    wrong = dual_wrong(agreement, estimator, sure, never, (9.0, 1.0), z)
    check(wrong, ALPHA * agreement.keeps)


def test_predict():
  """PREDICT at p = 1/2: returning class 1 is an error in half of the cases.

  A tie is the worst point: each class is returned with the two-sided level.
  """
  (wins,) = draw(np.random.default_rng(8), 0.5)
  found = smoothing.prediction_of_counts(two_way(wins), n=N, alpha=ALPHA)
  fewest = int(confidence.fewest_wins(N, ALPHA)[N])
  exact = 2 * stats.binom.sf(fewest - 1, N, 0.5)
  assert 0.03 < exact <= ALPHA
  check(found.prediction >= 0, exact)


# Negative controls: each of these is invalid, and has to be caught.


def test_control_selection_on_the_estimation_votes():
  (wins,) = draw(np.random.default_rng(10), 0.5)
  votes = two_way(wins)
  wrong = plain_wrong(Counts(votes, votes), 0.0)
  fewest = np.argmax(confidence.lower_z(N, ALPHA) > 0)
  refuse(wrong, 2 * stats.binom.sf(fewest - 1, N, 0.5))


def test_control_selection_of_the_level_on_the_estimation_votes():
  """The level whose bound came out best, out of two of equal truth."""
  z = boundary(ALPHA)
  p = stats.norm.cdf(z)
  first, second = draw(np.random.default_rng(11), p, -p)
  best = decided(two_way(np.maximum(first, second)))
  refuse(plain_wrong(best, z), 0.0975)


def test_control_estimation_inside_the_pilot_of_another_stage():
  """The first half of the noise chose the level, and bounds it as well."""
  z = boundary(ALPHA)
  p = stats.norm.cdf(z)
  uniform = np.random.default_rng(18).random((TRIALS, N), np.float32)
  levels = np.stack([uniform < p, uniform > 1 - p])
  pilot = levels[:, :, : N // 2].sum(axis=2)
  votes = np.take_along_axis(
    levels.sum(axis=2), np.argmax(pilot, axis=0)[None], axis=0
  )[0]
  refuse(plain_wrong(decided(two_way(votes)), z), 0.07)


def test_control_fixed_bound_at_a_stopping_time():
  """Looking at 40, 60, 80 and 100 votes, and stopping when it certifies."""
  generator = np.random.default_rng(12)
  throws = generator.random((TRIALS, N)) < 0.5
  wrong = np.zeros(TRIALS, bool)
  for n in (40, 60, 80, 100):
    votes = two_way(throws[:, :n].sum(axis=1), n)
    found = smoothing.certificate_of_counts(
      decided(votes), 1.0, n=n, alpha=ALPHA
    )
    wrong |= found.radius > 0
  refuse(wrong, 0.08)


def test_control_best_of_several_seeds():
  z = boundary(ALPHA)
  generator = np.random.default_rng(13)
  wrong = np.zeros(TRIALS, bool)
  for _ in range(3):
    (wins,) = draw(generator, stats.norm.cdf(z))
    wrong |= plain_wrong(decided(two_way(wins)), z)
  refuse(wrong, 1 - 0.95**3)


def test_control_publishing_both_stage_radii_as_jointly_true():
  """Of `minimum`, each stage radius holds by itself; both do not."""
  z = boundary(ALPHA)
  p = stats.norm.cdf(z)
  estimator, classifier = draw(np.random.default_rng(14), p, -p)

  def joint(rule):
    found = rule(
      decided(two_way(estimator)),
      decided(np.stack([two_way(classifier)] * 2, axis=1)),
      (1.0, 1.0),
      LEVEL_SIGMA,
      n=N,
      alpha=ALPHA,
    )
    return (found.estimator_radius > z) | (found.classifier_radius > z)

  refuse(joint(minimum), 0.0975)
  # With alpha / 2 each, as in `paper`, they do.
  assert joint(paper).mean() < ALPHA


def test_control_raising_the_level_of_an_unused_share():
  """Where B_k does not reach A_k, A_k at the full alpha instead: .0625."""
  z_i, z_k = boundary(ALPHA), boundary(ALPHA * agreement.agrees)
  truth = LEVEL_SIGMA * z_i
  sigma = float(np.float32(truth / z_k))
  estimator, other = draw(
    np.random.default_rng(15),
    stats.norm.cdf(z_i),
    -stats.norm.cdf(truth / sigma),
  )
  sure, never = np.full(TRIALS, N, np.int32), np.zeros(TRIALS, np.int32)
  sigmas = (100.0, sigma)
  # `minimum` on the same votes is A_k at the full alpha: B_i is far away.
  raised = dual_wrong(minimum, estimator, sure, never, sigmas, truth)
  spent = dual_wrong(agreement, estimator, sure, other, sigmas, truth)
  check(raised, ALPHA)
  assert spent.mean() < ALPHA
  refuse(raised | spent, 0.06)


def test_control_each_part_at_the_full_alpha():
  """max(A_k, B_k) with both at alpha: a union, not an intersection, of .10."""
  z = boundary(ALPHA)
  p = stats.norm.cdf(z)
  estimator, other = draw(np.random.default_rng(16), p, -p)
  table = confidence.lower_z(N, ALPHA)
  wrong = np.maximum(table[estimator], table[other]) > z
  refuse(wrong, 0.0975)


def test_control_dividing_by_the_valid_votes_only():
  """Leaving invalid votes out of n: 20 of 100 votes vanish."""
  generator = np.random.default_rng(17)
  z = boundary(ALPHA)
  (wins,) = draw(generator, stats.norm.cdf(z))
  valid = N - np.minimum(generator.binomial(N - wins, 0.5), N - wins)
  bounds = np.array(
    [
      confidence.lower_z(int(m), ALPHA)[w]
      for w, m in zip(wins[:4_000], valid[:4_000], strict=True)
    ]
  )
  limit = oracles.binomial_limits(4_000, ALPHA)[1]
  assert np.sum(bounds > z) > limit
