"""Radius targets from a few votes: what a certification to come might give.

A certificate from few votes would be capped far below what a full budget
reaches, and would hide which level is best for an easy image; its share of
votes in place of a probability would take luck for certainty. So probabilities
are drawn from what the votes at a level leave open, under a prior that fits all
images there (`posterior`), and from them the votes of a certification to come.
All draws are at the same quantiles at all levels of an image: the luck of one
level is not to look like a reason to choose it.

These are targets for training: no guarantee is attached to them.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from dualrs_jax import confidence, posterior
from dualrs_jax.training import losses

#: Votes for the true class, and for the wrong one that has most.
Counts = Int[np.ndarray, 'examples levels 2']
#: Signed radii in pixel units; negative where the true class would have to gain
#: before it is the answer.
Radii = Float[np.ndarray, 'examples levels']


def drawn(counts: Counts, *, votes: int, n: int, seed: int) -> Counts:
  """The votes of a certification to come, or some that it might have.

  Args:
    counts: votes that were cast.
    votes: how many there were per image and level.
    n: votes of the certification to come; if it is `votes`, those that were
      cast are taken, and nothing is drawn.
    seed: of the draws. What is luck for the true class is none for the other.
  """
  if n == votes:
    return counts
  of_image, of_votes = np.random.default_rng(seed).random((2, len(counts)))
  levels = []
  for right, wrong in np.moveaxis(counts, 0, -1):
    share = posterior.fit(right, votes).quantile(right, votes, of_image)
    rival = posterior.fit(wrong, votes).quantile(wrong, votes, 1 - of_image)
    rival = np.minimum(rival, 1 - share)
    wins = stats.binom.ppf(of_votes, n, share)
    against = stats.binom.ppf(1 - of_votes, n, rival)
    levels.append(np.stack([wins, np.minimum(against, n - wins)], axis=-1))
  return np.stack(levels, axis=1).astype(np.int64)


def of_levels(
  counts: Counts, sigmas: Sequence[float], *, n: int, alpha: float
) -> Radii:
  """The radius of each level on its own.

  Args:
    counts: votes of a certification.
    sigmas: the noise levels.
    n: how many votes it casts per image and level.
    alpha: its failure probability.
  """
  return _radii(counts[..., 0], sigmas, n=n, alpha=alpha)


def of_cascades(
  counts: Counts, sigmas: Sequence[float], *, n: int, alpha: float
) -> Radii:
  """The radius of a cascade that starts at each level, see `fallbacks`.

  The true class is the answer of a cascade while it has the majority at the
  start, and beyond that, while no other class has one there and the cascade
  from the next level below has this answer.

  Args:
    counts: see `of_levels`, as are the others.
    sigmas: the noise levels in increasing order.
    n: votes per image and level.
    alpha: failure probability.
  """
  own, passed = (
    _radii(votes, sigmas, n=n, alpha=alpha)
    for votes in (counts[..., 0], n - counts[..., 1])
  )
  radii = [own[:, 0]]
  for level in range(1, len(sigmas)):
    below = np.minimum(radii[-1], passed[:, level])
    radii.append(np.maximum(own[:, level], below))
  return np.stack(radii, axis=-1)


def _radii(
  votes: Int[np.ndarray, 'examples levels'],
  sigmas: Sequence[float],
  *,
  n: int,
  alpha: float,
) -> Radii:
  """Within which these votes keep more than half of the probability."""
  table = confidence.lower_z(n, alpha)
  z = np.clip(table[votes], -table[n], table[n])
  return (z * np.asarray(sigmas)).astype(np.float32)


def describe(bounds: Radii, sigmas: Sequence[float]) -> str:
  """How many images can be certified at all, and at which level best."""
  shares = losses.best_level_frequencies(bounds)
  best = ', '.join(
    f'{sigma:g} for {share:.1%}'
    for sigma, share in zip(sigmas, shares, strict=True)
  )
  certified = (bounds > 0).any(-1).mean()
  return (
    f'{certified:.1%} of {len(bounds)} images can be certified; of these the'
    f' best sigma is {best}'
  )


#: What a target is the radius of, by its name in configurations.
TARGETS: dict[str, Callable[..., Radii]] = {
  'levels': of_levels,
  'cascades': of_cascades,
}
