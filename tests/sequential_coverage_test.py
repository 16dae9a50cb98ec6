"""How often adaptive certificates are wrong: as often as they may, not more.

The cases, and the votes that are drawn for them, are those of
benchmarks/coverage.py, which draws many more. Each number of wrong
certificates has to lie in the binomial interval of the exact probability
(false alarm 1e-6 per side). What decides one radius and never gives up early
is wrong as often as its bounds; what stops as it likes is not wrong more
often. The mistakes have to leave the interval of the nominal level.
"""

import itertools

import jaxtyping
import numpy as np
import pytest
from scipy import special, stats

from benchmarks import (
  coverage,
  coverage_bounds,
  coverage_cascade,
  coverage_cases,
  coverage_coroutines,
  coverage_mistakes,
)
from tests import crossing, oracles

#: For bounds and mistakes, and for coroutines, which cost more.
IMAGES = 20_000
COROUTINES = 1_312


@pytest.fixture(autouse=True, scope='module')
def _own_cache(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('DUALRS_JAX_CACHE', str(tmp_path_factory.mktemp('cache')))
    yield


@pytest.fixture(autouse=True, scope='module')
def _unchecked_types():
  """Checks take ten times as long as the coroutines, and others make them."""
  jaxtyping.config.update('jaxtyping_disable', True)
  yield
  jaxtyping.config.update('jaxtyping_disable', False)


def check(case, images, seed):
  if case.kind != 'caught':
    assert case.exact <= coverage_cases.ALPHA
  low, high = case.interval(images)
  wrong = coverage.count(case.event, seed, images)
  assert low <= wrong <= high, (case.name, case.noise, case.exact, wrong)


def test_power():
  """Twice the level is found by all of them, 1.25 times by `IMAGES`."""
  alpha = coverage_cases.ALPHA
  assert coverage_cases.FALSE_ALARM == oracles.FALSE_ALARM
  assert oracles.binomial_power(COROUTINES, alpha, 2 * alpha) > 0.99
  assert oracles.binomial_power(4_564, alpha, 1.5 * alpha) > 0.985
  assert oracles.binomial_power(IMAGES, alpha, 1.25 * alpha) > 0.99
  low, _ = oracles.binomial_limits(IMAGES, alpha)
  assert stats.binom.cdf(low - 1, IMAGES, 0.75 * alpha) > 0.99


@pytest.mark.parametrize('z', [-0.4, 0.3, 1.2])
def test_exact_probability_of_one_stage(z):
  looks, limits = (3, 8, 30, 90), (0, 1, 4, 25)
  found = coverage_cases.exact_one(looks, limits, z)
  expected = crossing.crossing_probability(looks, limits, z)
  assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('noise', coverage_cases.NOISES)
@pytest.mark.parametrize('z', [-0.4, 0.8])
def test_exact_probabilities_of_two_stages(noise, z):
  """Against all sequences of the cells into which noise falls."""
  looks, limits = (2, 4, 5), ((0, 1, 2), (-1, 0, 1))
  p = special.ndtr(z)
  # Cells of the unit interval, or square, with what each stage votes there.
  cuts = {
    'shared': [(p, 0, 0), (1 - p, 1, 1)],
    'antithetic': [
      (abs(2 * p - 1), *((0, 0) if p > 0.5 else (1, 1))),
      (min(p, 1 - p), 0, 1),
      (min(p, 1 - p), 1, 0),
    ],
    'independent': [
      (np.prod([(p, 1 - p)[a], (p, 1 - p)[b]]), a, b)
      for a in (0, 1)
      for b in (0, 1)
    ],
  }[noise]
  cells = np.array(cuts)
  assert cells[:, 0].sum() == pytest.approx(1)
  paths = cells[list(itertools.product(range(len(cells)), repeat=looks[-1]))]
  failures = np.cumsum(paths[:, :, 1:], axis=1)[:, np.array(looks) - 1]
  crossed = np.any(failures <= np.transpose(limits), axis=1)
  weight = np.prod(paths[:, :, 0], axis=1)
  for found, event in (
    (coverage_cases.exact_either, crossed.any(axis=1)),
    (coverage_cases.exact_both, crossed.all(axis=1)),
  ):
    expected = weight[event].sum()
    assert 1e-4 < expected < 1 or noise == 'antithetic'
    assert found(looks, limits, z, noise) == pytest.approx(expected, abs=1e-12)


def test_bounds_are_wrong_as_often_as_they_may():
  """Under each rule and noise, where a claim at any look counts."""
  cases = list(coverage_bounds.bounds_cases())
  assert len(cases) == 13
  for seed, case in enumerate(cases):
    assert case.kind == 'equal'
    check(case, IMAGES, seed)
  # Most of alpha is attained, and the shares of `agreement` sum to .95.
  attained = {(case.name, case.noise): case.exact for case in cases}
  assert attained['single stage', ''] > 0.99 * coverage_cases.ALPHA
  two = attained['agreement, A_k = B_k', 'antithetic']
  assert 0.92 * coverage_cases.ALPHA < two < 0.95 * coverage_cases.ALPHA


@pytest.mark.parametrize(
  ('name', 'noise', 'images'),
  [
    ('single stage', '', COROUTINES),
    ('minimum, both limit', 'shared', COROUTINES),
    ('agreement, A_k = B_k', 'antithetic', 4_564),
  ],
)
def test_the_coroutine_is_wrong_as_often_as_its_bounds(name, noise, images):
  """As long as it goes on while the radius can be reached."""
  case = coverage_coroutines.coroutine_case(
    name, 'radius', noise, coverage_cases.ENDLESS
  )
  assert case.kind == 'equal'
  check(case, images, 20)


@pytest.mark.parametrize(
  ('name', 'noise', 'goal'),
  [
    ('single stage', '', 'full'),
    ('agreement, A_k = B_k', 'antithetic', 'grid'),
    ('agreement, A_k = B_k', 'antithetic', 'full'),
  ],
)
def test_stopping_is_not_wrong_more_often(name, noise, goal):
  case = coverage_coroutines.coroutine_case(name, goal, noise)
  assert case.kind == 'not above'
  check(case, COROUTINES, 21)


def test_mistakes_are_caught():
  """They exceed the nominal level, by as much as is computed for them."""
  cases = list(coverage_mistakes.mistakes())
  assert [case.kind for case in cases] == ['equal', *['caught'] * 9]
  for seed, case in enumerate(cases):
    is_coroutine = 'coroutine' in case.name
    images = 2 * COROUTINES if is_coroutine else IMAGES
    check(case, images, 30 + seed)
    if case.exact and case.kind == 'caught':
      limit = oracles.binomial_limits(images, coverage_cases.ALPHA)[1]
      assert stats.binom.sf(limit, images, case.exact) > 0.99


@pytest.mark.parametrize('noise', coverage_cases.NOISES)
def test_cascade_coroutine(noise):
  case = coverage_cascade.coroutine_case(
    'radius', noise, coverage_cases.ENDLESS
  )
  check(case, COROUTINES, seed=5)


def test_cascade_bounds_and_mistakes():
  listed = list(coverage_cascade.valid_cases())
  listed = [case for case in listed if case.name.startswith('bounds')]
  for case in [*listed, *coverage_cascade.mistakes()]:
    check(case, IMAGES, seed=6)
