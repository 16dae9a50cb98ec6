import numpy as np
import pytest

from dualrs_jax import composition
from dualrs_jax.composition import Bounds
from dualrs_jax.report import guarantee, terms


@pytest.mark.parametrize('rule', ['agreement', 'minimum', 'paper'])
def test_the_radius_is_that_of_the_rule_with_shares_for_bounds(rule, run_of):
  run = run_of(40, certificate=rule)
  for row in run.rows:
    found = terms.observe(row, run.settings)
    n, level = run.settings['n'], row.sigma_index
    votes = np.array(row.estimator_estimation)
    z = [terms.z_score(int(count), n) for count in votes]
    avoids = [terms.z_score(int(n - count), n) for count in votes]
    selected = row.classifier_estimation[level][found.answer]
    known = guarantee.rule(run.settings)
    nothing = np.full(3, -np.inf)
    radii = composition.compose(
      Bounds(
        np.array(z[level]),
        np.array(avoids) if known.avoids else nothing,
        np.array(terms.z_score(selected, n)),
        nothing,
      ),
      np.int64(level),
      run.settings['sigmas'],
      run.settings['estimator_sigma'],
    )
    np.testing.assert_allclose(found.radius, radii.radius, rtol=1e-6, atol=1e-9)
    smallest = min(radii.estimator, radii.classifier)
    stage = 'classifier' if smallest == radii.classifier else 'estimator'
    unanimous = {
      'classifier': selected == n,
      'estimator': votes[level] == n,
    }[stage]
    assert found.limit == ('votes' if unanimous else stage)


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
  assert (found.limit, found.answer) == ('votes', 0)
