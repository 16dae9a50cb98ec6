"""Radius targets: what a certification to come might give."""

import numpy as np
import pytest
from scipy import special

from dualrs_jax import confidence, majorities
from dualrs_jax.base import Counts
from dualrs_jax.training import target_radii

SIGMAS = (0.25, 0.5, 1.0)
VOTES = 50


def signed(right, sigmas=SIGMAS, n=10_000, seed=0, of='levels', wrong=None):
  """Radius targets from votes for the true class, and for its rival."""
  right = np.asarray(right)
  counts = np.stack([right, VOTES - right if wrong is None else wrong], -1)
  to_come = target_radii.drawn(counts, votes=VOTES, n=n, seed=seed)
  return target_radii.TARGETS[of](to_come, sigmas, n=n, alpha=0.001)


def test_votes_that_were_cast_are_certified_where_no_others_are_to_come():
  counts = np.array([[40, 30, 26], [VOTES, 0, 1]])
  table = confidence.lower_z(VOTES, 0.001)
  expected = np.clip(table[counts], -table[-1], table[-1]) * SIGMAS
  np.testing.assert_allclose(signed(counts, n=VOTES), expected, rtol=1e-6)
  assert np.isfinite(expected).all()


def images_of_three_levels(count=20_000):
  """The probabilities of a right vote, and some votes."""
  rng = np.random.default_rng(0)
  share = rng.beta([1.2, 2.0, 0.8], [0.3, 1.0, 0.6], size=(count, 3))
  return share, rng.binomial(VOTES, share)


@pytest.mark.parametrize('n', [1_000, 10_000])
def test_bounds_are_as_often_large_as_those_of_certifications_to_come(n):
  share, counts = images_of_three_levels()
  wins = np.random.default_rng(1).binomial(n, share)
  table = confidence.lower_z(n, 0.001)
  certified = np.clip(table[wins], -table[-1], table[-1]) * SIGMAS
  bounds = signed(counts, n=n)
  for radius in (0.0, 0.25, 0.5, 0.75, 1.0, 2.0):
    np.testing.assert_allclose(
      (bounds > radius).mean(axis=0),
      (certified > radius).mean(axis=0),
      atol=0.02,
    )
  assert bounds.dtype == np.float32
  assert (bounds <= table[-1] * np.float32(SIGMAS)).all()


def test_luck_is_no_reason_to_choose_a_level():
  """One level is best for all images, as far as anybody can know."""
  margin = np.random.default_rng(0).normal(0.5, 0.5, (5_000, 1))
  sigmas = np.asarray(SIGMAS)
  share = special.ndtr((margin - [0.0, 0.15, 0.3]) / sigmas)
  counts = np.random.default_rng(1).binomial(VOTES, share)
  table = confidence.lower_z(10_000, 0.001)
  z = table[np.floor(share * 10_000).astype(int)]
  true = np.clip(z, -table[-1], table[-1]) * sigmas

  def agrees(bounds):
    return (bounds.argmax(-1) == true.argmax(-1)).mean()

  alone = [
    signed(counts[:, [k]], sigmas=SIGMAS[k : k + 1], seed=k) for k in range(3)
  ]
  assert agrees(signed(counts)) > agrees(np.concatenate(alone, -1)) + 0.02


def test_draws_are_those_of_a_seed():
  _, counts = images_of_three_levels(100)
  np.testing.assert_array_equal(signed(counts), signed(counts))
  assert (signed(counts) != signed(counts, seed=1)).any()


def test_a_cascade_has_the_radius_that_its_certificate_has():
  """Which takes the level that promises most, rather than the best in truth."""
  n, images, label = 400, 300, 1
  rng = np.random.default_rng(3)
  # Wide apart, so that levels win, are passed, and lose to another class.
  share = rng.dirichlet([0.3, 0.4, 0.2, 0.2], size=(images, len(SIGMAS)))
  votes = rng.multinomial(n, share)
  cast = Counts(selection=votes, estimation=votes)
  wrong = np.delete(votes, label, axis=-1).max(-1)
  counts = np.stack([votes[..., label], wrong], axis=-1)
  found = target_radii.of_cascades(counts, SIGMAS, n=n, alpha=0.01)
  ways = set()
  for start in range(len(SIGMAS)):
    levels = slice(start + 1)
    certificate = majorities.certificate_of_counts(
      Counts(cast.selection[:, levels], cast.estimation[:, levels]),
      SIGMAS[levels],
      n0=n,
      n=n,
      alpha=0.01,
    )
    right = certificate.prediction == label
    ways |= set(np.asarray(certificate.sigma_index)[right].tolist())
    own, radius = found[right, start], certificate.radius[right]
    assert (radius <= own * (1 + 1e-5)).all()
    assert np.isclose(radius, own, rtol=1e-5).mean() > 0.95
    assert (found[~right, start] <= 0).all()
    assert 20 < right.sum() < images - 20
  assert ways == {0, 1, 2}, 'levels that answered'


def test_a_rival_with_a_majority_ends_a_cascade_and_bounds_it():
  """Level 1 answers wrongly, the others rightly; level 0.5 is in doubt."""
  right = [[VOTES, 25, 2], [VOTES, 25, 20]]
  rival = [[0, 25, VOTES - 2], [0, 10, 5]]
  levels = signed(right, n=VOTES, wrong=rival)
  cascades = signed(right, n=VOTES, wrong=rival, of='cascades')
  np.testing.assert_array_equal(cascades[:, 0], levels[:, 0])
  assert (levels[:, 0] > 0).all()
  # Not passed for certain where the rival may have a majority.
  assert cascades[0, 1] <= 0 < cascades[1, 1]
  assert cascades[0, 2] < cascades[0, 1]
  assert levels[1, 2] < 0 < cascades[1, 2]
  table = confidence.lower_z(VOTES, 0.001)
  assert cascades[1, 1] == np.float32(
    min(levels[1, 0], 0.5 * table[VOTES - 10])
  )


def test_draws_leave_no_more_votes_than_there_are():
  rng = np.random.default_rng(2)
  right = rng.integers(0, VOTES + 1, (500, 3))
  counts = np.stack([right, rng.integers(0, VOTES + 1 - right)], axis=-1)
  to_come = target_radii.drawn(counts, votes=VOTES, n=1_000, seed=0)
  assert to_come.shape == counts.shape
  assert (to_come >= 0).all()
  assert (to_come.sum(-1) <= 1_000).all()
  assert target_radii.drawn(counts, votes=VOTES, n=VOTES, seed=0) is counts


def test_a_draw_that_favours_the_true_class_does_not_favour_its_rival():
  counts = np.full((2_000, 1, 2), [30, 20])
  to_come = target_radii.drawn(counts, votes=VOTES, n=10_000, seed=0)
  right, rival = to_come[:, 0].T
  assert np.corrcoef(right, rival)[0, 1] < -0.9
