"""Lower bounds on a vote probability that hold at every number of votes.

A `sequential` table ends at its last look. The bounds here have no last one:
they hold at all numbers of votes at once, so that votes may be added at any
time, for any reason. They are those of a betting argument: the likelihood of
the votes so far, averaged over all p above a hypothesis, against that of the
hypothesis (Krichevsky and Trofimov's mixture, on one side). docs/sequential.md,
section 8, has the proof, and what this costs.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from dualrs_jax import confidence

#: The largest number of votes for which the numerical margins were measured.
MOST_VOTES = 10_000_000

#: By how much the logarithm of the evidence has to exceed what is needed: a
#: hundred times its largest error, up to `MOST_VOTES`.
_LOG_MARGIN = 1e-5
#: Relative margin of a bound, that of `confidence`.
_MARGIN = 1e-10
#: Bounds below it are of no use to anyone and reported as -inf; none is above.
_LOWEST_Z, _HIGHEST_Z = -3.0, 12.0
#: Of that interval, until it is shorter than 1e-8.
_HALVINGS = 31

_Numbers = int | np.integer | Int[np.ndarray, '...']
_Values = float | np.floating | Float[np.ndarray, '...']


def lower_z(n: _Numbers, wins: _Numbers, alpha: float) -> _Values:
  """Lower bounds on the probability of a win, as z-scores.

  Guarantee: let votes be independent wins with probability p, and W_n the wins
  among the first n. With probability at least 1 - alpha, *all* n up to
  `MOST_VOTES` have lower_z(n, W_n, alpha) = -inf or
  Phi(lower_z(n, W_n, alpha)) < p.

  Args:
    n: Numbers of votes.
    wins: Votes for the class among them; an invalid vote is none. Broadcasts
      against `n`.
    alpha: Failure probability, of all of them together.

  Raises:
    ValueError: If alpha is outside (0, 1), or n above `MOST_VOTES`.
    IndexError: If wins are negative or more than n.

  Example:
    >>> votes, wins = np.array([100, 10_000]), np.array([99, 9_900])
    >>> print(np.round(lower_z(votes, wins, 0.001), 4))
    [1.2377 2.1732]
  """
  confidence.check_alpha(alpha)
  n, wins = np.broadcast_arrays(np.asarray(n), np.asarray(wins))
  if np.any((wins < 0) | (wins > n)):
    raise IndexError('A vote count is negative or exceeds its votes.')
  if np.any(n > MOST_VOTES):
    raise ValueError(
      f'These bounds are for at most {MOST_VOTES:,} votes, not {n.max():,}.'
    )
  won, lost = wins.astype(np.float64), (n - wins).astype(np.float64)
  needed = -np.log(alpha) + _LOG_MARGIN
  low = np.full(n.shape, _LOWEST_Z)
  high = np.full(n.shape, _HIGHEST_Z)
  usable = _rejected(low, won, lost, needed)
  for _ in range(_HALVINGS):
    middle = (low + high) / 2
    rejected = _rejected(middle, won, lost, needed)
    low = np.where(rejected, middle, low)
    high = np.where(rejected, high, middle)
  bound = low - _MARGIN * np.maximum(np.abs(low), 1.0)
  return np.where(usable, bound, -np.inf)


def upper_z(n: _Numbers, wins: _Numbers, alpha: float) -> _Values:
  """Upper bounds on the probability of a win, as z-scores.

  Guarantee: that of `lower_z`, with the signs reversed.

  Args:
    n: Numbers of votes.
    wins: Votes for the class among them, *with* all invalid votes. Broadcasts
      against `n`.
    alpha: Failure probability, of all of them together.

  Raises:
    ValueError: See `lower_z`.
    IndexError: See `lower_z`.
  """
  return -lower_z(n, np.asarray(n) - np.asarray(wins), alpha)


def log_evidence(z: _Values, won: _Values, lost: _Values) -> _Values:
  """The logarithm of the evidence against p <= Phi(z).

  Under every such p, its exponential is a supermartingale that starts at 1.

  Args:
    z: Thresholds.
    won: Wins so far.
    lost: The other votes so far.
  """
  fails = special.ndtr(-z)
  angle = np.arctan2(np.sqrt(fails), np.sqrt(special.ndtr(z)))
  with np.errstate(divide='ignore'):  # no mass above z: no evidence
    above = np.log(special.betainc(lost + 0.5, won + 0.5, fails))
  average = special.betaln(won + 0.5, lost + 0.5) + above - np.log(2 * angle)
  return average - won * special.log_ndtr(z) - lost * special.log_ndtr(-z)


def _rejected(z, won, lost, needed):
  """Whether p <= Phi(z) is rejected, and with it every smaller probability.

  To the left of a point that depends on the votes the evidence falls as z
  grows; beyond it nothing is claimed.
  """
  fails, succeeds = special.ndtr(-z), special.ndtr(z)
  angle = np.arctan2(np.sqrt(fails), np.sqrt(succeeds))
  tangent = np.sqrt(fails / succeeds)
  falls = 2 * (won * tangent - lost / tangent) * angle > 1 + _MARGIN
  return falls & (log_evidence(z, won, lost) >= needed)
