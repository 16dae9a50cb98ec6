"""Predictions that stop, of half-spaces whose smoothed answers are known."""

import collections
from unittest import mock

import jax
import numpy as np
import pytest
from scipy import special

import dualrs_jax as drs
from dualrs_jax import lookups, noise, pursuit, sequential
from dualrs_jax.evaluation import certify_source, tsv
from dualrs_jax.lookups import Lookup
from dualrs_jax.predicting import predict_images
from dualrs_jax.runtime import settings as settings_lib
from tests import oracles
from tests.evaluation import conftest

PIXELS = 16
SIGMAS = (0.25, 0.5)
OPTIONS = {'n0': 64, 'n': 2_000, 'alpha': 0.01, 'chunk_size': 512}
DIRECTION = np.full(PIXELS, PIXELS**-0.5)
KEY = jax.random.key(2)


@pytest.fixture(autouse=True, scope='module')
def _own_cache(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('DUALRS_JAX_CACHE', str(tmp_path_factory.mktemp('cache')))
    yield


def at(*along):
  """Images whose coordinate in the direction is this."""
  return [
    (index, np.full(PIXELS, value * PIXELS**-0.5, np.float32))
    for index, value in enumerate(along)
  ]


def predict(classifier, examples, sigmas, estimator=None, **changes):
  level = None if estimator is None else 0.5
  found = predict_images(
    estimator,
    classifier,
    examples,
    sigmas,
    level,
    KEY,
    **({'certificate': drs.minimum} | OPTIONS | changes),
  )
  return dict(sorted(found))


def cast(answer):
  return sum(answer.estimator_cast) + int(np.sum(answer.classifier_cast))


def test_one_level():
  """Easy images are decided by the first look, hard ones later or never."""
  sigma, offset = 0.25, 2.0
  shares = np.array([0.9999999, 0.9, 0.7, 0.6, 0.4, 0.02])
  along = offset - sigma * special.ndtri(shares)
  answers = predict(
    oracles.half_space(DIRECTION, offset), at(*along, offset), [sigma]
  )
  predicted = [answer.prediction for answer in answers.values()]
  assert predicted == [0, 0, 0, 0, 1, 1, drs.ABSTAIN]
  assert {answer.radius for answer in answers.values()} == {0.0}
  votes = [cast(answer) for answer in answers.values()]
  assert votes[0] == 16 + 16
  assert votes[0] < votes[1] < votes[2] < votes[3] < 1_500
  assert votes[-1] <= 2_064


@pytest.mark.parametrize('rule', [drs.minimum, drs.agreement, drs.paper])
def test_two_levels(rule):
  """G, by the level that the estimator has for each image."""
  answers = [[0, 1], [2, 1]]
  classifier = oracles.half_spaces(
    [DIRECTION, DIRECTION], [1.0, 1.1], answers, SIGMAS
  )
  estimator = oracles.half_space(DIRECTION, 0.5)  # of two levels
  along = [0.0, 0.3, 0.9, 1.5, 2.0]
  found = predict(classifier, at(*along), SIGMAS, estimator, certificate=rule)
  levels = [int(value > 0.5) for value in along]
  points = np.stack([image for _, image in at(*along)])
  expected = oracles.half_spaces_class(
    [DIRECTION, DIRECTION], [1.0, 1.1], answers, levels, points
  )
  assert [f.prediction for f in found.values()] == expected.tolist()
  assert len(set(expected.tolist())) == 3
  assert max(map(cast, found.values())) < 1_000  # a fixed n casts 4,128


def test_an_image_that_is_not_decided_by_n_is_an_abstention():
  """With all the patience in the world, unless no luck would help any more."""
  examples = at(*[1.0] * 20)
  with mock.patch.object(pursuit, '_PATIENCE', 1e4):
    found = predict(oracles.half_space(DIRECTION, 1.0), examples, [0.25], n=300)
  given_up = [f for f in found.values() if f.prediction == drs.ABSTAIN]
  assert len(given_up) > 15
  votes = [int(f.classifier_cast.estimation[0]) for f in given_up]
  assert set(votes) <= {256, 300}
  assert np.mean(np.equal(votes, 300)) > 0.5


def _fixed_at_every_look():
  """A mistake: bounds for a fixed number of votes at each of the looks."""

  def make(n, alpha, goal):
    looks, _ = lookups._deciding_shape(n, goal)
    rows = [drs.confidence.lower_z(look, alpha)[::-1] for look in looks]
    return Lookup(
      sequential.SequentialTable(looks, alpha, np.concatenate(rows))
    )

  return lookups.Kind('wrong', make, lookups.deciding.possible)


@pytest.mark.parametrize('kind', ['valid', 'control'])
def test_answers_to_a_tie_are_at_most_alpha(kind):
  """1,000 images with half of the votes for either class: any answer is wrong.

  Were the rate 0.12 in place of at most 0.05, it would be noticed with
  probability 0.999; false alarms are one in a million.
  """
  images, alpha = 1_000, 0.05
  bounds = lookups.deciding if kind == 'valid' else _fixed_at_every_look()
  with mock.patch.object(pursuit, '_PATIENCE', 1e4):
    found = predict(
      oracles.half_space(DIRECTION, 1.0),
      at(*[1.0] * images),
      [0.25],
      n=128,
      n0=16,
      alpha=alpha,
      bounds=bounds,
    )
  counts = collections.Counter(f.prediction for f in found.values())
  wrong = images - counts[drs.ABSTAIN]
  _, most = oracles.binomial_limits(images, alpha)
  assert (wrong <= most) == (kind == 'valid')
  if kind == 'valid':
    assert wrong > 0.5 * alpha * images  # the bounds are not idle


def test_rows_of_predictions(tmp_path):
  """`task=predict` is the same, and its rows are derived again."""
  settings = conftest.SETTINGS | {
    'task': 'predict',
    'goal': 'radius',
    'radii': [0.0],
    'n': 2_000,
  }
  source = conftest.make_source(12)
  networks = (
    conftest.network(conftest.PATTERNS[3:]),
    conftest.network(conftest.PATTERNS[:3]),
  )
  rows = certify_source.certify_source(
    *networks,
    source,
    tmp_path,
    settings=settings,
    seed=1,
    chunk_size=40,
    positions=np.arange(12),
    report_radii=(0.0,),
  )
  recorded = settings_lib.read(tmp_path / 'settings.json')
  read = tsv.read(tmp_path / 'rows.tsv', recorded)
  assert {row.idx: row._replace(time=0) for row in read} == {
    row.idx: row._replace(time=0) for row in rows
  }
  examples = [
    (int(source.indices[i]), np.float32(source.images[i] / np.float32(255)))
    for i in range(12)
  ]
  found = dict(
    predict_images(
      *networks,
      examples,
      settings['sigmas'],
      settings['estimator_sigma'],
      jax.random.key(1),
      n0=settings['n0'],
      n=2_000,
      alpha=settings['alpha'],
      certificate=drs.agreement,
      chunk_size=40,
      noise=noise.gaussian,
    )
  )
  for row in rows:
    assert row.predict == found[row.idx].prediction
    assert row.estimator_cast == tuple(found[row.idx].estimator_cast)
  assert any(row.estimator_cast[1] == 16 for row in rows)
