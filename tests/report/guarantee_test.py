import pytest

from dualrs_jax.evaluation import run_plans
from dualrs_jax.report import details, guarantee, subject, terms
from tests.report.conftest import SETTINGS


def text(**changes):
  found = guarantee.of({**SETTINGS, **changes})
  assert found.known
  return ' '.join([found.sentence, *found.notes])


def test_a_certificate_names_alpha_the_ball_and_the_classifier():
  said = text()
  for part in ('1 − α = 0.99 ', 'dual smoothed', 'closer', 'ℓ₂', '[0, 1]'):
    assert part in said
  assert 'smoothed at σ = 0.5' in text(
    smoothing='single', certificate=None, sigmas=[0.5]
  )


def test_each_rule_says_what_holds_of_the_stages():
  assert '0.75α' in text()
  assert 'not jointly' in text(certificate='minimum')
  assert 'hold jointly' in text(certificate='paper')
  assert 'hold jointly' not in text(certificate='agreement')
  single = text(smoothing='single', certificate=None, sigmas=[0.5])
  assert 'jointly' not in single


def test_each_goal_says_what_a_radius_is():
  assert 'up to n votes' in text(goal='full')
  assert 'largest of 0, 0.5' in text(goal='grid', radii=[0.0, 0.5])
  assert 'Only the radius 0.5' in text(goal='radius', radii=[0.5])
  assert 'what n votes give' in text()


def test_a_prediction_certifies_no_distance():
  adaptive = {'certificate': 'agreement', 'goal': 'radius', 'radii': [0.0]}
  for method in ({'certificate': None}, adaptive):
    said = text(task='predict', **method)
    assert 'no distance is certified' in said
    assert 'radius' not in said


@pytest.mark.parametrize(
  'changes',
  [
    {'certificate': 'cascade'},
    {'goal': 'open'},
    {'task': 'attack'},
    {'smoothing': 'triple'},
    {'noise': 'uniform'},
    {'certificate': None},
    {'smoothing': 'single'},
  ],
)
def test_of_an_unknown_method_nothing_is_claimed(changes, run):
  settings = {**run.settings, **changes}
  found = guarantee.of(settings)
  assert not found.known
  assert found.sentence.startswith('No guarantee is stated')
  assert 'robability' not in found.sentence
  assert terms.observe(run.rows[0], settings) is None
  about = subject.make(run._replace(settings=settings))
  right = next(row for row in run.rows if row.predict >= 0)
  assert 'certified' not in details.answer(about, right, None)
  assert 'probability' not in details.level(about, right)


def test_the_rules_that_are_known_are_among_those_of_certification():
  assert set(guarantee._RULES) == set(run_plans.RULES)
