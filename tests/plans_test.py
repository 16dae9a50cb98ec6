"""The certificate that counts amount to, and what a plan refuses.

The reference of the certificate is written from its definition, one term at a
time, and reads the tables of bounds as plain lists.
"""

import math

import numpy as np
import pytest

from dualrs_jax import ABSTAIN, Counts, budgets, lookups, plans, sequential
from dualrs_jax.base import Cast
from dualrs_jax.composition import agreement, minimum, paper
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


def reference(plan, rule, alpha, share, drawn):
  """R, the smallest A_k, B_i, the level i and the class y, as defined."""
  of_estimator, of_levels, estimator_cast, level_cast = drawn
  looks = sequential.default_looks(plan.n)

  def bound(part, failures, cast):
    """Of the probability that a vote is none of the failures."""
    if not cast:
      return -math.inf
    table = sequential.table(plan.n, alpha * part, final_share=share)
    rows = table.bounds.tolist()
    before = sum(look + 1 for look in looks[: looks.index(cast)])
    return rows[before + failures]

  def agrees(k, y, part):
    """B_k: the smallest of the radii to each competitor."""
    votes, cast = (
      of_levels.estimation[k].tolist(),
      int(level_cast.estimation[k]),
    )
    invalid = cast - sum(votes)
    own = bound(part * 0.9, cast - votes[y], cast)
    rivals = [v for j, v in enumerate(votes) if j != y] or [0]
    gaps = [own + bound(part * 0.1, v + invalid, cast) for v in rivals]
    return plan.sigmas[k] * min(max(own, gap / 2) for gap in gaps)

  chosen = of_estimator.selection.tolist()
  i = chosen.index(max(chosen))
  answers = of_levels.selection[i].tolist()
  y = answers.index(max(answers))
  single = len(plan.sigmas) == 1
  radius = classifier = agrees(i, y, 1.0 if single else rule.selected)
  keeps = math.inf
  votes, cast = of_estimator.estimation.tolist(), estimator_cast.estimation
  for k in range(len(votes)):
    if k == i:
      continue
    sure = bound(rule.keeps, cast - votes[i], cast)
    term = plan.estimator_sigma * sure
    if rule is agreement:
      not_k = bound(rule.avoids, votes[k] + cast - sum(votes), cast)
      term = max(term, plan.estimator_sigma / 2 * (sure + not_k))
    keeps = min(keeps, term)
    if rule is agreement:
      term = max(term, agrees(k, y, rule.agrees))
    radius = min(radius, term)
  return radius, keeps, classifier, i, y


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize('levels', [1, 2, 3])
def test_certificates_are_their_definition(rule, levels):
  generator = np.random.default_rng(levels)
  options = {'sigmas': LEVELS[:levels], 'level_sigma': 0.7}
  full = make_plan(rule, 'full', **options)
  grid = make_plan(rule, 'grid', GRID, **options)
  certified, without_majority = [], 0
  for row in range(120):
    drawn = random_counts(generator, full, classes=1 + row % 4)
    *radii, level, label = reference(full, rule, 0.01, 0.75, drawn)
    found = plans.certificate_of_counts(*drawn, full)
    assert found.sigma_index == level
    assert found.prediction == (label if radii[0] > 0 else ABSTAIN)
    stages = (found.radius, found.estimator_radius, found.classifier_radius)
    for own, expected in zip(stages, np.maximum(radii, 0), strict=True):
      assert own <= expected
      assert own == pytest.approx(expected, rel=1e-12)
    certified.append(found.radius > 0)
    wins, cast = drawn[1].estimation[level, label], drawn[3].estimation
    without_majority += found.classifier_radius > 0 and 2 * wins < cast[level]

    radius, *_ = reference(grid, rule, 0.01, 0.5, drawn)
    passed = [r for r in GRID if radius > 0 and r <= radius]
    found = plans.certificate_of_counts(*drawn, grid)
    assert found.prediction == (label if passed else ABSTAIN)
    assert found.radius == (passed[-1] if passed else 0)
  assert 0.1 < np.mean(certified) < 0.9
  # The runner-up form is at work.
  assert without_majority > 0


def test_invalid_votes_count_for_every_competitor():
  """180 of 200 for the class; the others for a rival, or for nobody."""
  plan = make_plan(minimum, 'full', sigmas=(0.5,))

  def radius(*votes):
    counts = np.array([votes])
    return plans.certificate_of_counts(
      Counts(np.zeros(1, int), np.zeros(1, int)),
      Counts(counts, counts),
      Cast(0, 0),
      Cast(np.array([40]), np.array([200])),
      plan,
    ).radius

  assert radius(180, 20, 0) == radius(180, 0, 0) == radius(180, 0, 20) > 0
  assert radius(180, 10, 10) > radius(180, 5, 5) > radius(180, 0, 0)


def test_votes_between_looks_are_no_certificate():
  drawn = random_counts(np.random.default_rng(0), make_plan(paper, 'full'))
  moved = drawn[2]._replace(estimation=150)
  with pytest.raises(ValueError, match='150 votes are not one of the looks'):
    plans.certificate_of_counts(
      *drawn[:2], moved, drawn[3], make_plan(paper, 'full')
    )


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'goal': 'best'}, "one of radius, grid, full, not 'best'"),
    ({'goal': 'radius'}, r"'radius' takes one radius, not \(\)"),
    ({'goal': 'radius', 'radii': (0.1, 0.2)}, "'radius' takes one radius"),
    ({'goal': 'grid'}, r"'grid' takes radii, not \(\)"),
    ({'goal': 'full', 'radii': (0.5,)}, "'full' takes no radii"),
    ({'goal': 'grid', 'radii': (0.5, 0.25)}, 'radii must increase'),
    ({'goal': 'grid', 'radii': (0.5, 0.5)}, 'radii must increase'),
    ({'goal': 'radius', 'radii': (-0.5,)}, 'increase from 0 or more'),
    ({'goal': 'radius', 'radii': (math.nan,)}, 'increase from 0 or more'),
    ({'goal': 'radius', 'radii': (math.inf,)}, 'increase from 0 or more'),
    ({'n': 0}, '^n must be at least 1, not 0'),
    ({'n': -1}, '^n must be at least 1, not -1'),
    ({'alpha': 4e-308}, '^alpha = 4e-308 is too small to compute with'),
    ({'n': 6}, 'n = 6 votes can never certify at alpha = 0.01, not even'),
    ({'n': 1}, 'with `minimum` it takes at least 7 votes.'),
    ({'n': 40, 'alpha': 1e-15}, 'with `minimum` it takes alpha = 1e-11.'),
    ({'alpha': 1.5}, r'failure probability in \(0, 1\), not 1.5'),
  ],
)
def test_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    make_plan(minimum, **({'goal': 'full'} | changes))


@pytest.mark.parametrize(
  ('n', 'alpha'), [(10, 0.001), (40, 1e-12), (50, 1e-20), (300, 1e-12)]
)
@pytest.mark.parametrize('taken', [0.0, 8e-12])
def test_what_the_message_asks_for_certifies(n, alpha, taken):
  """Small alphas are beyond the arithmetic of tables, and no n helps there."""
  with pytest.raises(budgets.NeverCertifies) as caught:
    make_plan(agreement, 'full', n=n, alpha=alpha)
  told = str(caught.value.of(alpha + taken, taken, caught.value.fewest))
  assert f'alpha = {alpha + taken!r}' in told
  assert ('of which the noise takes 8e-12' in told) == bool(taken)
  advice = told.partition(' it takes ')[2].removesuffix('.')
  wanted = [text.split() for text in advice.split(' or ')]
  assert wanted
  for words in wanted:
    changed = {'n': n, 'alpha': alpha}
    if words[0] == 'alpha':
      changed['alpha'] = float(words[-1]) - taken
    else:
      changed['n'] = int(words[2])
    made = make_plan(agreement, 'full', **changed)
    assert made.keeps.final[0] > 0
    assert made.selected[0].final[0] > 0


@pytest.mark.parametrize('n', [1, 5, 11, 32, 100])
@pytest.mark.parametrize(
  ('kind', 'goal'),
  [
    (lookups.planned, 'grid'),
    (lookups.planned, 'full'),
    (lookups.planned, 'nearly full'),
    (lookups.deciding, 'radius'),
  ],
)
def test_what_can_certify_is_what_its_table_certifies(n, kind, goal):
  """Neither refused too early nor promised in vain, for tiny alpha too."""
  for power in np.arange(0.3, 15, 0.37):
    table = kind.make(n, 10**-power, goal)
    assert kind.possible(n, 10**-power, goal) == (table.best > 0), power


def test_a_tolerance_is_refused_where_its_own_bounds_are():
  """And not where those of `full` are, whose weights are others."""
  options = {'n0': 10, 'n': 200, 'alpha': 10**-11.5 / 0.9}
  options |= {'sigmas': (0.5,), 'level_sigma': 0.5}
  made = make_plan(minimum, 'full', tolerance=0.02, **options)
  assert made.selected[0].best > 0
  with pytest.raises(budgets.NeverCertifies):
    make_plan(minimum, 'full', **options)
  with pytest.raises(budgets.NeverCertifies):
    make_plan(minimum, 'full', tolerance=0.02, **options | {'alpha': 1e-12})
