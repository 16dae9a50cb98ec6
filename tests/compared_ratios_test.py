"""Ratios to the envelope of single levels, and what a dual loses."""

import numpy as np
import pytest

from benchmarks import compared_ratios, compared_rules, forecasts
from benchmarks.compared_rules import Adaptive, Answer, Method
from benchmarks.compared_votes import RecordedImage, Recording
from dualrs_jax import metrics

RNG = np.random.default_rng(3)
#: Two levels at three radii on 80 images; neither is best everywhere.
LEVELS = RNG.random((2, 3, 80)) < np.array(
  [[[0.8], [0.5], [0.1]], [[0.6], [0.5], [0.4]]]
)


def test_the_ratio_at_a_radius_is_that_of_the_reports():
  hits = RNG.random((1, 3, 80)) < 0.5
  [found] = compared_ratios.ratios(hits, LEVELS)
  for at, estimate in enumerate(found.at):
    other = metrics.paired_bootstrap_ratio(hits[0, at], LEVELS[:, at], seed=0)
    np.testing.assert_allclose(estimate, other, rtol=1e-5)


def test_means_are_of_ratios_and_less_the_best_constant():
  shares = LEVELS.mean(-1)
  constants = (shares / shares.max(0)).mean(1)
  hits = np.concatenate([LEVELS, LEVELS.any(0)[None]])
  first, second, either = compared_ratios.ratios(hits, LEVELS)
  assert first.mean.value == pytest.approx(constants[0])
  assert second.mean.value == pytest.approx(constants[1])
  assert max(first.ahead.value, second.ahead.value) == pytest.approx(
    0, abs=1e-6
  )
  assert min(first.ahead.value, second.ahead.value) == pytest.approx(
    constants.min() - constants.max(), rel=1e-5
  )
  # Each is behind the best constant of every resample, or it.
  assert max(first.ahead.high, second.ahead.high) <= 1e-6
  expected = (LEVELS.any(0).mean(-1) / shares.max(0)).mean()
  assert either.mean.value == pytest.approx(expected)
  assert either.ahead.low > 0
  assert either.mean.low < either.mean.value < either.mean.high


def test_what_is_lost_adds_up():
  best, selected = LEVELS.any(0), LEVELS[0]
  dual = selected & (RNG.random(selected.shape) < 0.7)
  parts = compared_ratios.lost(best, selected, dual)
  np.testing.assert_allclose(
    best.mean(-1) - sum(parts.values()), dual.mean(-1), atol=1e-12
  )
  assert parts['the level'].min() > 0
  assert parts['certainty'].min() > 0


def test_tables():
  votes = np.zeros((3, 30), np.int16)
  votes[0, 10:] = 1  # selection votes for level 0
  images = [RecordedImage(0, np.nan, votes), RecordedImage(1, np.nan, votes)]
  found = Recording(images, 10, 20, (0.5, 1.0), 1.0, 3, 9, None, (1.0, 1.0))

  def answers(*radii):
    return [Answer(k, radius, 1) for k, radius in enumerate(radii)]

  results = {
    Method('level 0.5', '', None): answers(0.5, 0.0),
    Method('level 1', '', None): answers(1.0, 1.0),
    **{
      Method(f'dual, `{rule}`', '', None): answers(0.25, 0.0)
      for rule in ('paper', 'minimum', 'agreement', 'fallback')
    },
  }
  text = compared_ratios.markdown(found, results, (0.0, 0.5), 0.001)
  assert '| level 0.5 | 1.00 [1.00, 1.00] | 0.50 [' in text
  assert '| level 1 | 1.00 [1.00, 1.00] | 1.00 [1.00, 1.00] | 1.00 [' in text
  assert '| `agreement`: lost by the level | 0.0 | 50.0 |' in text
  assert '| `agreement`: lost by certainty | 0.0 | 50.0 |' in text
  # 20 unanimous votes are a radius of 0.27 at level 0.5 and 0.55 at level 1.
  assert (
    '| certified by the cascade from the best level per image | 50.0 | 50.0 |'
    in text
  )
  assert '| `fallback`: lost by the level | 0.0 | 50.0 |' in text
  assert '| `fallback`: lost by certainty | 0.0 | 0.0 |' in text
  assert text.endswith('Levels selected: 0.5 for 100.0%, 1 for 0.0%.')
  lines = compared_ratios.table_of_radii(found, results).splitlines()
  assert lines[0].startswith('level 0.5,level 1,dual `paper`')
  assert lines[1:] == ['0.5,1,0.25,0.25,0.25,0.25', '0,1,0,0,0,0']
  none = compared_ratios.markdown(found, results, (0.0, 2.0), 0.001)
  assert none == 'No level certifies an image at r = 2: there are no ratios.'


def test_what_is_decided_adaptively_is_compared_with_levels_decided_so():
  votes = np.zeros((3, 30), np.int16)
  images = [RecordedImage(0, np.nan, votes), RecordedImage(1, np.nan, votes)]
  found = Recording(images, 10, 20, (0.5, 1.0), 1.0, 3, 9, None, (1.0, 1.0))

  def answers(*radii):
    return [
      Answer(k, 0.0, 1, adaptive=Adaptive(k, radius, 5, 0))
      for k, radius in enumerate(radii)
    ]

  results = {
    Method('level 0.5', '', None): answers(0.5, 0.0),
    Method('level 1', '', None): answers(0.0, 0.5),
    Method('cascade', '', None): answers(0.5, 0.5),
    Method('of a fixed number alone', '', None): [Answer(0, 1.0, 1)] * 2,
  }
  text = compared_ratios.adaptively(found, results, (0.0, 0.5))
  assert '| level 1 | 100.0 | 50.0 |' in text
  assert '| best level per image | 100.0 | 100.0 |' in text
  assert '| cascade | 1.00 [1.00, 1.00] | 2.00 [' in text
  assert 'fixed' not in text


def test_a_part_of_the_votes_is_forecast():
  votes = np.zeros((3, 110), np.int16)
  votes[0, 60:] = 1
  votes[2, 10:35] = 2
  votes[2, 35:60] = 3  # invalid
  found = Recording(
    [RecordedImage(1, np.nan, votes)],
    *(10, 100, (0.25, 0.5), 1.0, 3, 9, None, (1.0, 1.0)),
  )
  part = forecasts.few(found, 0, 50)
  assert part.labels.tolist() == [1]
  assert part.estimator.tolist() == [[50, 0]]
  assert part.classifier.tolist() == [[[50, 0, 0], [0, 0, 25]]]
  assert forecasts.few(found, 50, 50).estimator.tolist() == [[0, 50]]


def test_a_cascade_of_some_levels_reads_their_votes():
  votes = RNG.integers(0, 3, (5, 1_100)).astype(np.int16)
  votes[4, :900] = 2  # of the largest level, which is left out
  votes[2, :1_000] = 1
  recorded = RecordedImage(1, np.nan, votes)
  found = Recording(
    [recorded], 100, 1_000, (0.25, 0.5, 0.7, 1.0), 1.0, 3, 9, None, (1.0, 1.0)
  )
  named = {m.name: m for m in compared_rules.methods(found, [(0.25, 0.5)])}
  assert 'level by distance' not in named
  every = named['cascade'].answer(found, recorded, 0.001, (0.0, 0.25))
  two = named['cascade of 0.25, 0.5'].answer(
    found, recorded, 0.001, (0.0, 0.25)
  )
  assert every.predict == 2
  assert two.predict == 1
  assert two.radius > 0.5
  assert two.classifier == 2 * 100 + 1_000  # the first level answers
  assert 0 < two.adaptive.classifier < 2 * 100 + 1_000
