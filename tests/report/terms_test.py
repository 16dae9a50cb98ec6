import math

import numpy as np
import pytest
from scipy import stats

from dualrs_jax import composition
from dualrs_jax.composition import Bounds
from dualrs_jax.report import guarantee, terms


def scores(votes, n):
  """Quantiles of shares that are nowhere 0 or 1."""
  return stats.norm.ppf(np.clip(np.asarray(votes) / n, 1e-300, 1 - 1e-16))


@pytest.mark.parametrize('rule', ['agreement', 'minimum', 'paper'])
def test_the_radius_is_that_of_the_rule_with_shares_for_bounds(rule, run_of):
  run = run_of(40, certificate=rule)
  finite = 0
  for row in run.rows:
    found = terms.observe(row, run.settings)
    n, level = run.settings['n'], row.sigma_index
    votes = np.array(row.estimator_estimation)
    z, avoids = scores(votes, n), scores(n - votes, n)
    selected = row.classifier_estimation[level][found.answer]
    known = guarantee.rule(run.settings)
    nothing = np.full(3, -np.inf)
    radii = composition.compose(
      Bounds(
        np.array(z[level]),
        np.array(avoids) if known.avoids else nothing,
        np.array(scores(selected, n)),
        nothing,
      ),
      np.int64(level),
      run.settings['sigmas'],
      run.settings['estimator_sigma'],
    )
    smallest = min(radii.estimator, radii.classifier)
    stage = 'classifier' if smallest == radii.classifier else 'estimator'
    if selected == votes[level] == n:
      assert found.radius == np.inf
      assert found.limit.startswith('votes of')
      continue
    finite += 1
    np.testing.assert_allclose(found.radius, radii.radius, rtol=1e-6, atol=1e-9)
    assert (found.limit, found.complete) == (stage, True)
  assert finite > 20


def unanimous(run, estimator, classifier):
  """A row all of whose votes agree, so many of either stage."""
  votes = {1: (classifier, 0, 0, 0)}
  return run.rows[0]._replace(
    label=0,
    sigma_index=1,
    estimator_selection=(0, 20, 0),
    estimator_estimation=(0, estimator, 0),
    estimator_cast=(20, estimator),
    classifier_selection={1: (20, 0, 0, 0)},
    classifier_estimation=votes,
    classifier_cast={1: (20, classifier)},
  )


@pytest.mark.parametrize('goal', [None, 'full'])
@pytest.mark.parametrize('rule', ['agreement', 'minimum'])
def test_votes_that_all_agree_limit_no_radius(rule, goal, run):
  settings = {**run.settings, 'certificate': rule, 'goal': goal}
  row = unanimous(run, 100, 30)
  assert terms.observe(row, settings) == (0, math.inf, 'votes of classifier', 1)
  row = unanimous(run, 30, 100)
  assert terms.observe(row, settings) == (0, math.inf, 'votes of estimator', 1)
  # another stage rules out what it is not sure of
  doubt = row._replace(classifier_estimation={1: (90, 10, 0, 0)})
  found = terms.observe(doubt, settings)
  assert found.limit == 'classifier'
  np.testing.assert_allclose(found.radius, 0.5 * stats.norm.ppf(0.9))
  doubt = row._replace(estimator_estimation=(0, 27, 3))
  found = terms.observe(doubt, settings)
  assert found.limit == 'estimator'
  np.testing.assert_allclose(found.radius, 0.5 * stats.norm.ppf(0.9))


def test_one_level_has_only_the_votes_of_the_classifier(run):
  settings = {**run.settings, 'smoothing': 'single', 'certificate': None}
  settings['sigmas'] = [0.5]
  row = unanimous(run, 0, 0)._replace(
    sigma_index=0,
    estimator_cast=(0, 0),
    classifier_selection={0: (20, 0, 0, 0)},
    classifier_estimation={0: (40, 0, 0, 0)},
    classifier_cast={0: (20, 40)},
  )
  assert terms.observe(row, settings) == (0, math.inf, 'votes of classifier', 1)


def test_a_stage_without_votes_makes_a_radius_an_upper_limit(run):
  row = unanimous(run, 100, 0)._replace(classifier_cast={1: (20, 0)})
  found = terms.observe(row, run.settings)
  assert (found.radius, found.complete) == (math.inf, False)


def test_shares_promise_no_less_than_a_certificate(run):
  for row in run.rows:
    if row.predict >= 0:
      assert terms.observe(row, run.settings).radius >= row.radius


def test_a_level_that_agrees_replaces_the_estimator(run):
  """Where every level gives the answer, the choice of level costs nothing."""
  settings = run.settings
  row = run.rows[0]._replace(
    sigma_index=1,
    estimator_selection=(4, 12, 4),
    estimator_estimation=(40, 60, 0),
    classifier_selection={1: (20, 0, 0, 0)},
    classifier_estimation={0: (100, 0, 0, 0), 1: (99, 1, 0, 0)},
    classifier_cast={0: (0, 100), 1: (20, 100)},
  )
  alone = row._replace(classifier_cast={1: (20, 100)})
  found = terms.observe(row, settings)
  assert found.radius > terms.observe(alone, settings).radius
  assert terms.observe(alone, settings).limit == 'estimator'
  assert (found.limit, found.answer) == ('classifier', 0)
