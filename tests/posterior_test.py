"""What votes leave open: against images whose probabilities are known."""

import numpy as np
import pytest

from dualrs_jax import posterior


def images(a, b, cast, count=4_000, seed=0):
  rng = np.random.default_rng(seed)
  share = rng.beta(a, b, count)
  return share, rng.binomial(cast, share), rng


@pytest.mark.parametrize(('a', 'b'), [(2.0, 0.5), (0.3, 0.15), (1.0, 3.0)])
def test_the_prior_is_that_of_the_images(a, b):
  _, wins, _ = images(a, b, 64)
  found = posterior.fit(wins, 64)
  assert found.a == pytest.approx(a, rel=0.15)
  assert found.b == pytest.approx(b, rel=0.15)


@pytest.mark.parametrize('cast', [16, 64, 200])
def test_so_many_unanimous_images_are_certain_as_is_drawn(cast):
  """Each group of images by its votes has the probabilities that are drawn."""
  share, wins, rng = images(1.2, 0.3, cast, count=40_000)
  drawn = posterior.fit(wins, cast).draw(wins, cast, rng)
  for group in (wins == cast, wins == cast - 1, wins < cast / 2):
    for threshold in (0.5, 0.9, 0.99, 0.999):
      assert (drawn[group] > threshold).mean() == pytest.approx(
        (share[group] > threshold).mean(), abs=0.03
      )


def test_shares_would_take_luck_for_certainty():
  share, wins, rng = images(1.2, 0.6, 64)
  drawn = posterior.fit(wins, 64).draw(wins, 64, rng)
  true = (share > 0.999).mean()
  assert (wins == 64).mean() > 4 * true
  assert (drawn > 0.999).mean() == pytest.approx(true, abs=0.02)


def test_images_that_are_all_alike():
  for wins in (np.full(50, 64), np.zeros(50, int), np.full(1, 32)):
    prior = posterior.fit(wins, 64)
    drawn = prior.draw(wins, 64, np.random.default_rng(0), (3,))
    assert drawn.shape == (3, *wins.shape)
    assert np.isfinite(drawn).all()
    assert abs(drawn.mean() - wins.mean() / 64) < 0.1


def test_quantiles_are_those_of_what_is_drawn():
  prior = posterior.Prior(1.5, 0.4)
  wins = np.array([0, 40, 63, 64])
  drawn = prior.draw(wins, 64, np.random.default_rng(0), (20_000,))
  for at in (0.1, 0.5, 0.9):
    np.testing.assert_allclose(
      prior.quantile(wins, 64, np.full(4, at)),
      np.quantile(drawn, at, axis=0),
      atol=0.005,
    )
