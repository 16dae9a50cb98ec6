"""The comparison of certificates, on votes that are made up."""

import numpy as np
import pytest
from scipy import special, stats

from benchmarks import (
  compare_certificates,
  compared_quorum,
  compared_rules,
  compared_votes,
)
from benchmarks.compared_rules import Answer, Method
from benchmarks.compared_votes import RecordedImage, Recording
from dualrs_jax import composition, smoothing
from dualrs_jax.distance_levels import DistanceLevel

N0, N, ALPHA = 50, 1_000, 0.001
GRID = (0.0, 0.25, 0.5)


@pytest.fixture(scope='module')
def found():
  """Nine images, the classifier surer at small levels."""
  rng = np.random.default_rng(0)
  images = []
  for image in range(9):
    label = image % 3
    rows = [rng.choice(3, N0 + N, p=[0.9, 0.07, 0.03])]
    for chance in (0.99, 0.9, 0.4 + 0.05 * image, 0.9):
      wrong = rng.integers(0, 4, N0 + N)  # 3 is invalid
      rows.append(np.where(rng.random(N0 + N) < chance, label, wrong))
    images.append(RecordedImage(label, 2.0 + image / 10, np.array(rows)))
  level = DistanceLevel(0.5, 0.05, 2.4, 5)
  return Recording(
    images, N0, N, (0.25, 0.5, 1.0), 0.5, 3, 100, level, (1e-5, 2e-5)
  )


def test_every_method_answers(found):
  results = compare_certificates.answers(found, ALPHA, GRID)
  by_name = {method.name: answers for method, answers in results.items()}
  assert len(by_name) == 12
  for answers in by_name.values():
    assert len(answers) == 9
    for answer in answers:
      assert answer.radius >= 0
      assert (answer.predict >= 0) or not answer.radius
  for image, recorded in enumerate(found.images):
    plain = smoothing.certificate_of_counts(
      found.counts(recorded, 2), 0.5, n=N, alpha=ALPHA
    )
    assert by_name['level 0.5'][image].radius == plain.radius
    published = by_name['dual, `paper`'][image]
    assert by_name['dual, `minimum`'][image].radius >= published.radius
    best = by_name['best level per image'][image]
    assert by_name['cascade'][image].radius <= max(
      by_name[f'level {sigma}'][image].radius for sigma in (0.25, 0.5, 1)
    )
    assert best.radius >= plain.radius


def test_votes_are_split_as_they_were_cast(found):
  recorded = found.images[0]
  counts = found.counts(recorded, 1)
  assert counts.selection.sum() <= N0
  assert counts.estimation.sum() <= N
  assert counts.selection[0] == np.sum(recorded.votes[1][:N0] == 0)
  assert found.levels(recorded).estimation.shape == (3, 3)


def test_costs(found):
  recorded = found.images[0]
  answer = compared_rules.cascade(found, recorded, ALPHA, GRID)
  assert answer.classifier in [3 * N0 + visited * N for visited in (1, 2, 3)]
  assert answer.estimator == 0
  assert sum(answer.adaptive[2:]) <= answer.classifier
  lone = compared_rules.single(found, recorded, ALPHA, GRID, level=0)
  assert 0 < lone.adaptive.classifier < N0 + N
  assert lone.adaptive.estimator == 0


def test_a_quorum_of_one_half_is_the_cascade(found):
  for recorded in found.images:
    plain = compared_rules.cascade(found, recorded, ALPHA, GRID)
    half = compared_quorum.method({1.0: 0.5, 0.5: 0.5}).answer(
      found, recorded, ALPHA, GRID
    )
    assert half.radius == pytest.approx(plain.radius, abs=1e-12)
    assert (half.predict, half.classifier) == (plain.predict, plain.classifier)


@pytest.mark.parametrize('share', [0.55, 0.7, 0.95])
def test_a_quorum_is_kept_where_a_level_answers_and_where_it_passes(share):
  """Two levels: by hand, from the bounds of both."""
  n, alpha, sigmas = 1_000, 0.001, (0.5, 1.0)
  needed = special.ndtri(share)

  def bound(wins):
    return special.ndtri(stats.beta.ppf(alpha, wins, n - wins + 1))

  for leading in (600, 800, 990):
    rows = np.zeros((3, 100 + n), np.int16)
    rows[1, 100:150] = 2  # level 0.5: class 0 has 950 of 1,000
    rows[2] = np.arange(100 + n) % 100 >= leading // 10  # level 1
    recorded = RecordedImage(0, np.nan, rows)
    found = Recording([recorded], 100, n, sigmas, 1.0, 3, 9, None, (1.0, 1.0))
    answer = compared_quorum.answer(
      found, recorded, alpha, GRID, quorums={1.0: share}
    )
    rival = bound(leading) + needed  # what class 1 lacks at level 1
    expected = max(
      1.0 * (bound(leading) - needed), min(rival, 0.5 * bound(950)), 0.0
    )
    assert answer.radius == pytest.approx(expected, abs=1e-9)
    assert answer.predict == 0


def test_a_quorum_is_a_share_above_one_half(found):
  with pytest.raises(ValueError, match='at least 1/2 and below 1'):
    compared_quorum.answer(
      found, found.images[0], ALPHA, GRID, quorums={1.0: 0.4}
    )
  assert compared_quorum.method({1.0: 0.55}).name == (
    'cascade with 0.55 of the votes at 1'
  )


def test_what_limits_is_the_smaller_part(found):
  for recorded in found.images:
    for answer in (
      compared_rules.cascade(found, recorded, ALPHA, GRID),
      compared_rules.dual(
        found, recorded, ALPHA, GRID, rule=composition.minimum
      ),
    ):
      assert answer.radius == min(answer.first, answer.last)


def test_row_by_row(found):
  plain = Answer(0, 0.5, 1)
  results = {
    Method('dual, `agreement`', '', None): [
      plain._replace(radius=0.75, first=0.75),
      plain._replace(first=0.5, last=0.6),
      plain,
    ],
    Method('cascade', '', None): [
      plain._replace(first=0.5, last=0.9),
      plain._replace(radius=0.625),
      plain,
    ],
  }
  [text] = compare_certificates._row_by_row(results)
  assert 'on 1 of 3 images, by 0.250 on average; on 1 of these' in text
  assert 'The other has it on 1, by 0.125; on 1 of these' in text


def test_table_and_figure(found, tmp_path):
  results = compare_certificates.answers(found, ALPHA, GRID)
  table = compare_certificates.markdown(found, results, GRID, ALPHA)
  lines = [line for line in table.splitlines() if line.startswith('|')]
  assert len(lines) == 2 + 13
  assert len({line.count('|') for line in lines}) == 1
  assert 'not established' in table
  compare_certificates.draw(found, results, tmp_path / 'figure.png')
  assert (tmp_path / 'figure.png').stat().st_size > 10_000


def test_votes_that_may_be_others_are_refused(tmp_path):
  file = tmp_path / '0.npz'
  compared_votes.claim(tmp_path, {'split': 'test'})
  np.savez(file, votes=np.zeros((5, 60)), label=1, seconds=[1.0, 1.0])
  compared_votes.claim(tmp_path, {'split': 'test'})
  assert compared_votes.read(file, (5, 60))[0] == 1
  with pytest.raises(SystemExit, match=r'\(5, 60\) in place of \(5, 70\)'):
    compared_votes.read(file, (5, 70))
  with pytest.raises(SystemExit, match='of another kind'):
    compared_votes.claim(tmp_path, {'split': 'train'})
  (tmp_path / 'settings.json').unlink()
  with pytest.raises(SystemExit, match='is gone: put that file back'):
    compared_votes.claim(tmp_path, {'split': 'test'})
  file.write_bytes(file.read_bytes()[:99])
  with pytest.raises(SystemExit, match='0.npz is damaged .*: remove it'):
    compared_votes.read(file, (5, 60))
