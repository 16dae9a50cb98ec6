"""Lower bounds on a vote probability that hold at every look.

A bound for a fixed number of votes may be used once. Whoever looks at the
votes in between, and stops when the bound is good enough, needs bounds that
hold at all looks together: those of a `SequentialTable`. Any rule may then
decide when to stop, in one stage or across several; only votes beyond the
last look cannot be added. docs/sequential.md has the theorem and its proof.
"""

import dataclasses
import functools
import hashlib
import math
import operator
import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from dualrs_jax import boundaries, confidence, table_cache

#: Changes whenever the same arguments give other bounds, or another file.
_VERSION = 1

_Numbers = int | np.integer | Int[np.ndarray, '...']
_Bounds = np.floating | Float[np.ndarray, '...']


@dataclasses.dataclass(frozen=True, eq=False)
class SequentialTable:
  """Bounds on a probability, for every look and vote count.

  Guarantee: let votes be independent wins with probability p, and W_k the wins
  among the first `looks[k]`. With probability at least 1 - `alpha`, all k at
  once have `lower_z(k, W_k)` = -inf or Phi(lower_z(k, W_k)) < p. The same holds
  for the upper bounds by themselves. It follows that the best bound so far, a
  maximum over looks, is a bound too.

  Attributes:
    looks: The numbers of votes after which the bounds hold.
    alpha: The failure probability of all lower bounds together.
    bounds: Lower bounds as z-scores by failure count, one look after another:
      looks[k] + 1 entries each.
  """

  looks: tuple[int, ...]
  alpha: float
  bounds: Float[np.ndarray, 'entries']

  def lower_z(self, look: _Numbers, wins: _Numbers) -> _Bounds:
    """Lower bounds on the probability of a win, as z-scores.

    Args:
      look: The number of the look, counted from 0.
      wins: Votes for the class so far; an invalid vote is none. Broadcasts
        against `look`.

    Raises:
      IndexError: If there is no such look or no such number of wins.
    """
    votes = self._votes(look)
    return self._bound(look, votes - np.asarray(wins))

  def upper_z(self, look: _Numbers, wins: _Numbers) -> _Bounds:
    """Upper bounds on the probability of a win, as z-scores.

    Args:
      look: The number of the look, counted from 0.
      wins: Votes for the class so far, *with* all invalid votes. Broadcasts
        against `look`.

    Raises:
      IndexError: If there is no such look or no such number of wins.
    """
    return -self._bound(look, np.asarray(wins))

  def _bound(self, look, failures):
    votes = self._votes(look)
    if np.any((failures < 0) | (failures > votes)):
      raise IndexError('A vote count is negative or exceeds its look.')
    return self.bounds[self._starts[look] + failures]

  def _votes(self, look):
    if np.any((np.asarray(look) < 0) | (np.asarray(look) >= len(self.looks))):
      raise IndexError(f'Looks are numbered from 0 to {len(self.looks) - 1}.')
    return self._looks[look]

  @functools.cached_property
  def _looks(self):
    return np.array(self.looks, np.int64)

  @functools.cached_property
  def _starts(self):
    return np.concatenate([[0], np.cumsum(self._looks + 1)[:-1]])


def default_looks(n: int) -> tuple[int, ...]:
  """32 sqrt(2)^k, rounded to multiples of 32, below n; then n.

  Example:
    >>> default_looks(300)
    (32, 64, 96, 128, 192, 256, 300)
  """
  if n < 1:
    raise ValueError(f'n must be at least 1, not {n}.')
  steps = range(2 * n.bit_length())
  rounded = {32 * math.floor(2 ** (k / 2) + 0.5) for k in steps}
  return (*sorted(look for look in rounded if look < n), n)


def spending(looks: int, final_share: float) -> tuple[float, ...]:
  """The shares of alpha that each look adds to what may be spent.

  What a look does not use remains for the later ones.

  Args:
    looks: The number of looks.
    final_share: The share of the last one; the others divide the rest evenly.
      One half suits the question whether a given radius is certified, three
      quarters the largest radius that all votes give.

  Returns:
    Shares that sum to 1.
  """
  if looks < 1:
    raise ValueError(f'There must be at least one look, not {looks}.')
  if not 0 < final_share < 1:
    raise ValueError(
      f'final_share is a share of alpha in (0, 1), not {final_share!r}.'
    )
  if looks == 1:
    return (1.0,)
  early = (1 - final_share) / (looks - 1)
  return (early,) * (looks - 1) + (final_share,)


def table(
  n: int,
  alpha: float,
  *,
  looks: Sequence[int] | None = None,
  final_share: float = 0.5,
  weights: Sequence[float] | None = None,
  folder: str | os.PathLike | None = None,
) -> SequentialTable:
  """The bounds for up to n votes, with looks in between.

  Guarantee: see `SequentialTable`. A single look at n gives the bounds of
  Clopper and Pearson (`confidence.lower_z`), rounded down to a grid.

  Everything but `folder` must be fixed before the votes are seen.

  Args:
    n: The number of votes at the last look, at which the bounds end.
    alpha: Failure probability, of all lower bounds together.
    looks: Increasing numbers of votes that end with n; `default_looks(n)` if
      None.
    final_share: See `spending`.
    weights: Positive shares of alpha for each look that sum to 1, in place of
      those that `final_share` gives.
    folder: Where computed tables are kept; see `table_cache.default_folder`.

  Raises:
    ValueError: If an argument is outside its range.

  Example:
    >>> bounds = table(100, 0.001)
    >>> print(bounds.lower_z(3, np.array([50, 80, 100])).round(4))
    [-0.4141  0.3828  1.5   ]
  """
  confidence.check_probability(alpha)
  looks = default_looks(n) if looks is None else tuple(map(int, looks))
  _check_looks(looks, n)
  if weights is None:
    weights = spending(len(looks), final_share)
  weights = tuple(map(float, weights))
  _check_weights(weights, len(looks))
  place = None if folder is None else os.fspath(folder)
  return _table(looks, float(alpha), weights, place)


def can_certify(
  n: int,
  alpha: float,
  *,
  looks: Sequence[int] | None = None,
  final_share: float = 0.5,
  weights: Sequence[float] | None = None,
) -> bool:
  """Whether n unanimous votes bound the probability of a win above 1/2.

  Where the table of the same arguments does not, n is too small, or alpha so
  small that what is counted as numerical error exceeds it (`boundaries`), which
  further votes do not change. It takes no table.
  """
  z = boundaries.grid(n, alpha)
  end = int(np.searchsorted(z, 0, side='right'))
  if end == len(z):
    return False
  # A bound needs all rejections below it, and errors are largest near 1/2.
  near = z[np.unique(np.linspace(end // 2, end, 16).astype(int))]
  looks = default_looks(n) if looks is None else tuple(looks)
  if weights is None:
    weights = spending(len(looks), final_share)
  limits = boundaries.boundaries(near, looks, alpha, tuple(weights))
  return bool((limits[-1] >= 0).all())


@functools.lru_cache(maxsize=64)
def _table(looks, alpha, weights, folder) -> SequentialTable:
  grid = boundaries.grid(looks[-1], alpha)
  key = {
    'version': _VERSION,
    'grid': hashlib.sha256(grid.tobytes()).hexdigest(),
    'looks': list(looks),
    'alpha': alpha.hex(),
    'weights': [weight.hex() for weight in weights],
  }
  compute = lambda: boundaries.lower_bounds(looks, alpha, weights)
  bounds = table_cache.cached(key, compute, folder=folder)
  return SequentialTable(looks, alpha, bounds)


def _check_looks(looks: tuple[int, ...], n: int) -> None:
  if not looks or looks[0] < 1 or looks[-1] != n:
    raise ValueError(
      f'looks must be positive numbers of votes that end with n = {n}, not'
      f' {looks}.'
    )
  if not all(map(operator.lt, looks, looks[1:])):
    raise ValueError(f'looks must increase, which {looks} do not.')


def _check_weights(weights: tuple[float, ...], looks: int) -> None:
  if len(weights) != looks:
    raise ValueError(
      f'There must be one weight for each of the {looks} looks, not'
      f' {len(weights)}.'
    )
  total = math.fsum(weights)
  if not (all(weight > 0 for weight in weights) and abs(total - 1) < 1e-9):
    raise ValueError(
      f'weights must be positive and sum to 1, which {weights} do not.'
    )
