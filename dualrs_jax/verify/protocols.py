"""How many votes a stage may have cast, and what bounds these give."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dualrs_jax.verify import bounds, looks, mixture
from dualrs_jax.verify.schedules import SCHEDULES, Schedule

#: Of a classifier's part of alpha, what bounds the strongest competitor when
#: votes are looked at in between.
_COMPETITOR = 0.1
#: Votes of a stage to which others may be added, at most.
_MOST_VOTES = 10_000_000


class Fixed(NamedTuple):
  """All votes are cast, and bounded once.

  Attributes:
    n: How many bound a stage.
    selects_all: Whether stages select that are then not visited, as the levels
      of a cascade do.
  """

  n: int
  selects_all: bool = False

  #: Whether votes may be added to a row, which is then written once more.
  grows = False

  def bound(self, wins: int, cast: int, alpha: float) -> np.ndarray:
    """The bound on a probability; all n count, whatever became of them."""
    del cast
    return bounds.fixed(wins, self.n, alpha)

  def bound_class(
    self, votes: Sequence[int], label: int, cast: int, alpha: float
  ) -> np.ndarray:
    """The bound on how far a class is ahead, in standard deviations."""
    return self.bound(votes[label], cast, alpha)

  def is_last(self, cast: int) -> bool:
    """Whether a stage had all its votes."""
    del cast
    return True

  def misses(self, name: str, cast: Sequence[int], n0: int) -> Iterator[str]:
    """Says where numbers of votes are none that a stage ends with."""
    first, second = cast
    wanted = {(0, 0), (n0, self.n)} | ({(n0, 0)} if self.selects_all else set())
    if (first, second) not in wanted:
      yield f'{name} is {first},{second}, where {n0},{self.n} votes are cast'


class Planned(NamedTuple):
  """Votes are looked at in between, at looks that are planned.

  Attributes:
    schedule: These.
  """

  schedule: Schedule

  grows = False

  def bound(self, wins: int, cast: int, alpha: float) -> np.ndarray:
    """See `Fixed`."""
    return looks.bound(self.schedule, cast, cast - wins, alpha)

  def bound_class(
    self, votes: Sequence[int], label: int, cast: int, alpha: float
  ) -> np.ndarray:
    """See `Fixed`; in the runner-up form of docs/theory.md."""
    return _ahead(self, votes, label, cast, alpha)

  def is_last(self, cast: int) -> bool:
    """See `Fixed`."""
    return cast == self.schedule.looks[-1]

  def misses(self, name: str, cast: Sequence[int], n0: int) -> Iterator[str]:
    """See `Fixed`."""
    yield from _selects(name, cast, n0)
    if cast[1] and cast[1] not in self.schedule.looks:
      yield (
        f'{name} has {cast[1]} estimation votes, and these are looked at after'
        f' {", ".join(map(str, self.schedule.looks))} alone'
      )


class Open(NamedTuple):
  """Votes are bounded at every number of them, and others may be added."""

  grows = True

  def bound(self, wins: int, cast: int, alpha: float) -> np.ndarray:
    """See `Fixed`."""
    return mixture.bound(cast, wins, alpha)

  def bound_class(
    self, votes: Sequence[int], label: int, cast: int, alpha: float
  ) -> np.ndarray:
    """See `Planned`."""
    return _ahead(self, votes, label, cast, alpha)

  def is_last(self, cast: int) -> bool:
    """Always, as far as votes were asked for."""
    del cast
    return True

  def misses(self, name: str, cast: Sequence[int], n0: int) -> Iterator[str]:
    """See `Fixed`."""
    yield from _selects(name, cast, n0)
    if not 0 <= cast[1] <= _MOST_VOTES:
      yield (
        f'{name} has {cast[1]} estimation votes, and there are'
        f' {_MOST_VOTES:,} at most'
      )


#: What a run can be.
Protocol = Fixed | Planned | Open


def name(settings: Mapping[str, Any]) -> str:
  """The name of the protocol of a run: 'fixed', 'planned' or 'open'."""
  if settings.get('protocol') == 'open':
    return 'open'
  return 'fixed' if settings['goal'] is None else 'planned'


def of(settings: Mapping[str, Any]) -> Protocol:
  """The protocol of a run."""
  return _MAKERS[name(settings)](settings)


def _planned(settings: Mapping[str, Any]) -> Planned:
  aim = settings['goal']
  if settings['task'] == 'predict':
    aim = 'class'
  elif settings.get('tolerance'):
    aim = 'nearly full'
  return Planned(SCHEDULES[aim](settings['n']))


_MAKERS = {
  'fixed': lambda settings: Fixed(
    settings['n'], settings['smoothing'] == 'cascade'
  ),
  'planned': _planned,
  'open': lambda settings: Open(),
}


def _ahead(
  protocol: Planned | Open,
  votes: Sequence[int],
  label: int,
  cast: int,
  alpha: float,
) -> np.ndarray:
  """Half the distance between a class and its strongest competitor."""
  others = [*votes[:label], *votes[label + 1 :]]
  ours = protocol.bound(votes[label], cast, (1 - _COMPETITOR) * alpha)
  # Not for the strongest competitor; an invalid vote is for everybody.
  against = sum(votes) - max(others, default=0)
  rest = protocol.bound(against, cast, _COMPETITOR * alpha)
  return np.maximum(ours, (ours + rest) / 2)


def _selects(name: str, cast: Sequence[int], n0: int) -> Iterator[str]:
  if not 0 <= cast[0] <= n0:
    yield f'{name} has {cast[0]} selection votes, and there are {n0} at most'
