import math

import numpy as np
import pytest
from scipy import special

from dualrs_jax import base, composition
from dualrs_jax.evaluation import methods, records

N = 100


@pytest.fixture
def settings(settings):
  """As many selection votes as `counts` has."""
  return settings | {'n0': N}


def counts(*rows):
  """Selection votes equal to estimation votes."""
  votes = np.array(rows)
  return base.Counts(votes, votes)


def make(estimator, classifier, settings, label=0):
  votes = methods.fixed_votes(estimator, classifier, settings)
  return records.of_votes(votes, settings, idx=7, label=label, time=0.5)


def clopper_pearson(successes, n, alpha):
  """Lower bound, by an independent route: the beta quantile."""
  return special.betaincinv(successes, n - successes + 1, alpha)


@pytest.mark.parametrize('certificate', ['paper', 'minimum', 'agreement'])
def test_row_holds_the_float64_certificate_of_its_counts(certificate, settings):
  settings['certificate'] = certificate
  estimator = base.Counts(*(votes[0] for votes in counts([2, 95, 3])))
  classifier = counts([0, 0, 0], [90, 6, 4], [80, 15, 5])
  row = make(estimator, classifier, settings)
  rule = getattr(composition, certificate)
  expected = rule(
    estimator, classifier, settings['sigmas'], 0.5, n=N, alpha=0.01
  )
  assert row.radius == expected.radius
  assert np.asarray(expected.radius).dtype == np.float64
  assert row.predict == 0
  assert row.sigma == 0.5
  assert row.sigma_index == 1
  assert row.status == 'certified'
  assert row.classifier_selection == {1: (90, 6, 4), 2: (80, 15, 5)}
  assert row.estimator_estimation == (2, 95, 3)
  if certificate == 'paper':
    bound = clopper_pearson(90, N, 0.005)
    assert row.classifier_radius <= 0.5 * special.ndtri(bound)
    np.testing.assert_allclose(
      row.classifier_radius, 0.5 * special.ndtri(bound), rtol=1e-8
    )
  assert records.recompute(row, settings) == row


def test_plain_smoothing_reports_the_radius_of_cohen(settings):
  settings |= {'smoothing': 'single', 'sigmas': [0.5], 'certificate': None}
  row = make(counts([0]), counts([2, 97, 1]), settings)
  bound = clopper_pearson(97, N, 0.01)
  assert row.radius <= 0.5 * special.ndtri(bound)
  np.testing.assert_allclose(row.radius, 0.5 * special.ndtri(bound), rtol=1e-8)
  assert (row.predict, row.sigma, row.estimator_radius) == (1, 0.5, math.inf)
  assert row.estimator_selection == ()
  assert records.recompute(row, settings) == row


@pytest.mark.parametrize(
  ('estimator', 'classifier', 'status'),
  [
    ([40, 30, 30], [95, 3, 2], 'estimator'),
    ([95, 3, 2], [40, 30, 30], 'classifier'),
    ([40, 30, 30], [40, 30, 30], 'both'),
    ([95, 3, 2], [95, 3, 2], 'certified'),
    ([0, 0, 0], [0, 0, 0], 'both'),
  ],
)
def test_abstention_says_which_stage_was_undecided(
  estimator, classifier, status, settings
):
  settings['certificate'] = 'paper'
  row = make(
    base.Counts(np.array(estimator), np.array(estimator)),
    counts(classifier, [0, 0, 0], [0, 0, 0]),
    settings,
  )
  assert row.status == status
  if status == 'certified':
    assert row.correct == 1
  else:
    assert (row.predict, row.radius, row.correct) == (-1, 0.0, 0)
  assert records.recompute(row, settings) == row


def test_agreement_survives_an_undecided_estimator(settings):
  votes = np.array([50, 50, 0])
  row = make(
    base.Counts(votes, votes),
    counts([100, 0, 0], [100, 0, 0], [100, 0, 0]),
    settings,
  )
  assert row.status == 'certified'
  assert row.radius > 0
  assert row.estimator_radius == 0


@pytest.mark.parametrize(
  ('estimator', 'classifier', 'predict', 'level', 'status'),
  [
    ([95, 3, 2], [95, 3, 2], 0, 0, 'predicted'),
    ([40, 35, 25], [95, 3, 2], -1, -1, 'estimator'),
    ([95, 3, 2], [40, 35, 25], -1, 0, 'classifier'),
  ],
)
def test_prediction_rows(
  estimator, classifier, predict, level, status, settings
):
  settings |= {'task': 'predict', 'certificate': None}
  row = make(
    base.Counts(np.zeros(3, int), np.array(estimator)),
    base.Counts(
      np.zeros((3, 3), int), np.array([classifier, [0] * 3, [0] * 3])
    ),
    settings,
  )
  assert (row.predict, row.sigma_index, row.status) == (predict, level, status)
  assert row.radius == 0.0
  assert (row.sigma == 0.0) == (level == -1)
  assert records.recompute(row, settings) == row


def test_plain_prediction_spends_the_whole_alpha(settings):
  settings |= {
    'task': 'predict',
    'smoothing': 'single',
    'sigmas': [0.5],
    'alpha': 0.03,
  }
  votes = base.Counts(np.zeros((1, 3), int), np.array([[61, 39, 0]]))
  row = make(votes, votes, settings)  # p-value .0352 > alpha
  assert row.status == 'classifier'
  row = make(votes, votes, settings | {'alpha': 0.04})  # > alpha / 2
  assert row.status == 'predicted'
  assert records.recompute(row, settings | {'alpha': 0.04}) == row


def test_counts_that_do_not_fit_the_settings_are_refused(settings):
  row = make(
    base.Counts(*([np.array([2, 95, 3])] * 2)),
    counts([0, 0, 0], [90, 6, 4], [0, 0, 0]),
    settings,
  )
  for change in ({'num_classes': 4}, {'sigmas': [0.25]}):
    with pytest.raises(ValueError, match='do not fit'):
      records.recompute(row, settings | change)


def test_a_tampered_count_shows(settings):
  row = make(
    base.Counts(*([np.array([2, 95, 3])] * 2)),
    counts([0, 0, 0], [90, 6, 4], [0, 0, 0]),
    settings,
  )
  tampered = row._replace(classifier_estimation={1: (91, 5, 4)})
  assert records.recompute(tampered, settings) != tampered


@pytest.mark.parametrize(('alpha', 'decides'), [(0.06, False), (0.08, True)])
def test_dual_prediction_spends_half_of_alpha_on_each_stage(
  settings, alpha, decides
):
  """The p-value of 61 votes against 39 is .0352, between the two halves."""
  settings |= {'task': 'predict', 'alpha': alpha, 'sigmas': [0.25, 0.5, 1.0]}
  close, clear = [61, 39, 0], [100, 0, 0]
  for estimator, classifier, undecided in (
    (close, clear, 'estimator'),
    (clear, close, 'classifier'),
  ):
    row = make(
      base.Counts(np.zeros(3, int), np.array(estimator)),
      base.Counts(
        np.zeros((3, 3), int), np.array([classifier, [0] * 3, [0] * 3])
      ),
      settings,
    )
    assert row.status == ('predicted' if decides else undecided)


@pytest.mark.parametrize(
  ('field', 'votes'),
  [
    ('estimator_selection', (2, 19, 0)),
    ('estimator_estimation', (2, 96, 3)),
    ('classifier_selection', {1: (0, 0, 21)}),
    ('classifier_estimation', {1: (90, 6, 5)}),
    ('classifier_estimation', {1: (95, -1, 4)}),
  ],
)
def test_no_more_votes_than_were_cast(settings, field, votes):
  few, many = np.array([1, 19, 0]), np.array([2, 95, 3])
  classifier = np.zeros((2, 3, 3), int)
  classifier[0, 1], classifier[1, 1] = [18, 1, 1], [90, 6, 4]
  settings['n0'] = 20
  row = make(base.Counts(few, many), base.Counts(*classifier), settings)
  records.check(row, settings)
  changed = row._replace(**{field: votes})
  with pytest.raises(
    ValueError, match=r'image 7: the votes .* are not counts of'
  ):
    records.check(changed, settings)
