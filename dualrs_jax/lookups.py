"""Bounds as a plan reads them: by the number of votes, one at a time.

Both kinds hold at all of their numbers of votes together. Those of a
`sequential` table are planned up to n votes and end there; those of a `mixture`
have no end, so that votes can be added to what was cast.
"""

import bisect
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dualrs_jax import mixture, sequential
from dualrs_jax.sequential import SequentialTable

#: Of alpha at the last looks, where a radius may do that is nearly that of all
#: votes: most of it is in reach with half of them.
_LAST = (0.3, 0.4, 0.15, 0.05)
#: Looks that come before the others where a few votes may do.
_FIRST = (16, 24)

#: Looks, and of alpha what each adds to what may be spent.
Shape = tuple[tuple[int, ...], tuple[float, ...]]

#: Bounds that are computed at a time: for neighbouring vote counts.
_BLOCK = 16


class Lookup:
  """The bounds of a table, which are planned: at its looks, and not beyond."""

  #: Whether votes may be added beyond the last look.
  grows = False

  def __init__(self, table: SequentialTable):
    self.table = table
    self.looks, self.alpha = table.looks, table.alpha
    ends = np.cumsum(np.array(table.looks) + 1)
    # Lists are faster than arrays one entry at a time.
    rows = np.split(table.bounds, ends[:-1])
    self._rows = dict(zip(table.looks, (r.tolist() for r in rows), strict=True))
    self.final = self._rows[table.looks[-1]]

  @property
  def best(self) -> float:
    """The bound that all votes give if they agree."""
    return self.final[0]

  def lower_z(self, cast: int, wins: Any) -> Any:
    """Lower bounds after so many votes; ValueError between two looks."""
    return self.table.lower_z(self._look(cast), wins)

  def upper_z(self, cast: int, wins: Any) -> Any:
    """Upper bounds after so many votes; ValueError between two looks."""
    return self.table.upper_z(self._look(cast), wins)

  def present(self, cast: int, failures: int) -> float:
    """The bound now."""
    return self._rows[cast][failures] if cast else -math.inf

  def hoped(self, cast: int, failures: int, sure: float) -> float:
    """The bound after all votes, if `sure` deviations of luck are granted."""
    if not cast:
      return self.best
    at_end = self.final[_hoped_failures(cast, failures, self.looks[-1], sure)]
    return max(at_end, self._rows[cast][failures])

  def _look(self, cast):
    if cast not in self.looks:
      raise ValueError(f'{cast} votes are not one of the looks {self.looks}.')
    return self.looks.index(cast)


class OpenLookup:
  """The bounds of a mixture: at any number of votes.

  The looks, up to n, are where the bounds are read, which saves work: nothing
  of a bound depends on them.
  """

  grows = True

  def __init__(self, n: int, alpha: float):
    self.looks, self.alpha = sequential.default_looks(n), alpha

  @property
  def best(self) -> float:
    """The bound that all n votes give if they agree."""
    return self.present(self.looks[-1], 0)

  def lower_z(self, cast: int, wins: Any) -> Any:
    """Lower bounds after so many votes."""
    failures = cast - np.asarray(wins)
    if np.any((failures < 0) | (failures > cast)):
      raise IndexError('A vote count is negative or exceeds its votes.')
    bounds = [
      self.present(cast, number) for number in failures.ravel().tolist()
    ]
    return np.array(bounds).reshape(failures.shape)[()]

  def upper_z(self, cast: int, wins: Any) -> Any:
    """Upper bounds after so many votes."""
    return -self.lower_z(cast, cast - np.asarray(wins))

  def present(self, cast: int, failures: int) -> float:
    """The bound now."""
    if not cast:
      return -math.inf
    block, place = divmod(failures, _BLOCK)
    return _open_bounds(cast, block, self.alpha)[place]

  def hoped(self, cast: int, failures: int, sure: float) -> float:
    """The bound after n votes, if `sure` deviations of luck are granted."""
    if not cast:
      return self.best
    n = max(cast, self.looks[-1])
    at_end = self.present(n, _hoped_failures(cast, failures, n, sure))
    return max(at_end, self.present(cast, failures))


#: Bounds of either kind.
AnyLookup = Lookup | OpenLookup


@functools.lru_cache(maxsize=2**16)
def _open_bounds(cast: int, block: int, alpha: float) -> list[float]:
  first = block * _BLOCK
  failures = np.arange(first, min(first + _BLOCK, cast + 1))
  bounds = mixture.lower_z(cast, cast - failures, alpha)
  return np.asarray(bounds).tolist()


def _hoped_failures(cast: int, failures: int, n: int, sure: float) -> int:
  """The fewest failures of n votes that are no great luck."""
  left = n - cast
  expected = failures * left / cast
  luck = sure**2 * (1 + left / cast) / 4
  fewest = (math.sqrt(expected + luck) - math.sqrt(luck)) ** 2
  return min(failures + math.floor(fewest), n)


@dataclasses.dataclass(frozen=True)
class Kind:
  """A kind of bounds, from which a plan takes all of its own.

  Attributes:
    name: What it is called.
    make: The bounds, from the largest number of votes for now, the failure
      probability of all lower bounds together, and what is to be decided: a
      goal, or 'nearly full' for that to a tolerance.
    possible: Of the same: whether unanimous votes give a bound above 1/2.
  """

  name: str
  make: Callable[[int, float, str], Lookup | OpenLookup]
  possible: Callable[[int, float, str], bool]


def _shape(n: int, goal: str) -> Shape:
  """The looks of planned bounds, and of alpha what each spends."""
  looks = sequential.default_looks(n)
  if goal == 'nearly full' and len(looks) > len(_LAST):
    early = len(looks) - len(_LAST)
    return looks, ((1 - sum(_LAST)) / early,) * early + _LAST
  # The radius that all votes give spends more on the last look.
  whole = goal in ('full', 'nearly full')
  return looks, sequential.spending(len(looks), 0.75 if whole else 0.5)


def _deciding_shape(n: int, goal: str) -> Shape:
  """The same where only a class is to be decided, mostly by the first votes."""
  del goal
  looks = sequential.default_looks(n)
  looks = (*(look for look in _FIRST if look < looks[0]), *looks)
  return looks, sequential.spending(len(looks), 0.25)


def _kind(shape: Callable[[int, str], Shape]) -> Kind:
  """Bounds of a shape that is planned."""

  def make(n: int, alpha: float, goal: str) -> Lookup:
    looks, weights = shape(n, goal)
    return Lookup(sequential.table(n, alpha, looks=looks, weights=weights))

  def possible(n: int, alpha: float, goal: str) -> bool:
    looks, weights = shape(n, goal)
    return sequential.can_certify(n, alpha, looks=looks, weights=weights)

  return Kind('planned', make, possible)


def _open(n: int, alpha: float, goal: str) -> OpenLookup:
  del goal
  return OpenLookup(n, alpha)


def _open_possible(n: int, alpha: float, goal: str) -> bool:
  del goal
  return bool(mixture.lower_z(n, n, alpha) > 0)


#: Bounds up to n votes of each stage: the tightest there are.
planned = _kind(_shape)

#: The same for a class alone, which a few votes may decide.
deciding = _kind(_deciding_shape)

#: Bounds at any number of votes, of which n are asked for at present.
open_ended = Kind('open', _open, _open_possible)


def next_look(looks: tuple[int, ...], cast: int) -> int | None:
  """The first look beyond so many votes, or None."""
  place = bisect.bisect_right(looks, cast)
  return looks[place] if place < len(looks) else None
