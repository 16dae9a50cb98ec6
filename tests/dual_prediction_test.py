"""Predictions of the dual smoothed classifier against half-spaces."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from dualrs_jax import ABSTAIN, predict_dual, voting
from tests import oracles

IMAGE = jnp.float32([0.5, 0.5])
X = np.asarray(IMAGE, np.float64)
SIGMAS = (0.25, 0.5)
KEY = jax.random.key(0)
A = np.array([1.0, 0.0])
W = np.array([0.6, 0.8])


def estimator(radius):
  """Selects level 0 within `radius` of the image, in one direction."""
  return oracles.half_space(A, A @ X + radius)


def classifier(radius, other):
  """Class 0 at level 0 within `radius`, class `other` at level 1."""
  return oracles.half_spaces(
    [W, W],
    [W @ X + radius, 1e3],
    [[0, 1], [other, other]],
    SIGMAS,
  )


def predicted(first, second, sigmas=SIGMAS, **options):
  options = {'n': 500, 'alpha': 0.001, 'chunk_size': 500} | options
  return predict_dual(first, second, IMAGE, sigmas, 0.5, KEY, **options)


def test_predict_dual():
  sure = predicted(estimator(0.6), classifier(0.3, other=2))
  assert (sure.sigma_index, sure.prediction) == (0, 0)
  assert sure.estimator_counts.sum() == sure.classifier_counts.sum() == 500
  other = predicted(estimator(-0.6), classifier(0.3, other=2))
  assert (other.sigma_index, other.prediction) == (1, 2)


def test_predict_dual_never_guesses_a_level():
  """Even where every level gives the same answer."""
  found = predicted(estimator(0.0), classifier(9.0, other=0))
  assert (found.sigma_index, found.prediction) == (ABSTAIN, ABSTAIN)
  unsure = predicted(estimator(0.6), classifier(0.0, other=0))
  assert (unsure.sigma_index, unsure.prediction) == (0, ABSTAIN)


def test_predict_dual_spends_half_of_alpha_on_each_stage():
  """A stage with a p-value between alpha / 2 and alpha: it abstains."""

  def p_value(stage):
    votes = voting.count_votes(
      stage, IMAGE, 0.5, KEY, n0=0, n=500, chunk_size=500
    ).estimation
    return stats.binomtest(int(votes[0]), 500).pvalue

  stages = [estimator(offset) for offset in np.linspace(0, 0.15, 60)]
  values = np.array([p_value(stage) for stage in stages])
  between = stages[np.flatnonzero((values > 0.0005) & (values < 0.001))[0]]
  below = stages[np.flatnonzero(values < 0.0005)[0]]
  same = classifier(9.0, other=0)
  assert predicted(between, same).sigma_index == ABSTAIN
  assert predicted(below, same).sigma_index == 0
  # With one level there is one stage, and it has all of alpha.
  alone = predicted(oracles.constant([0.0]), between, sigmas=(0.5,))
  assert (alone.sigma_index, alone.prediction) == (0, 0)
