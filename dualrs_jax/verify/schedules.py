"""When votes are looked at, and what of alpha may be spent by then.

From docs/sequential.md, section 1. All of it is fixed by what is asked for,
before any vote.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

#: Of alpha at the last looks, where nearly the radius of all votes may do.
_NEARLY = (0.3, 0.4, 0.15, 0.05)
#: Looks before the others, where a class alone is asked for.
_EARLIEST = (16, 24)


class Schedule(NamedTuple):
  """Looks, and what may be spent at them.

  Attributes:
    looks: Numbers of votes, the last of them n.
    spendable: W_1, ..., W_K: the share of alpha up to each look.
  """

  looks: tuple[int, ...]
  spendable: tuple[float, ...]


def numbers(n: int) -> tuple[int, ...]:
  """The looks: 32 sqrt(2)^k, rounded to multiples of 32, below n; then n."""
  early = set()
  k = 0
  while 32 * 2 ** (k / 2) < 2 * n:
    early.add(32 * math.floor(2 ** (k / 2) + 0.5))
    k += 1
  return (*sorted(look for look in early if look < n), n)


def spendable(looks: int, at_the_end: float) -> np.ndarray:
  """An even part of alpha at each look but the last one, which has the rest.

  Args:
    looks: How many there are.
    at_the_end: The share of alpha that is kept for the last one.
  """
  if looks == 1:
    return np.ones(1)
  even = np.arange(1, looks) / (looks - 1)
  return np.append((1 - at_the_end) * even, 1.0)


def _even(n: int, at_the_end: float) -> Schedule:
  return _schedule(numbers(n), at_the_end)


def _for_a_class(n: int) -> Schedule:
  looks = numbers(n)
  first = (look for look in _EARLIEST if look < looks[0])
  return _schedule((*first, *looks), 0.25)


def _nearly_full(n: int) -> Schedule:
  looks = numbers(n)
  early = len(looks) - len(_NEARLY)
  if early < 1:
    return _even(n, 0.75)
  before = 1 - sum(_NEARLY)
  first = before * np.arange(1, early + 1) / early
  late = before + np.cumsum(_NEARLY)
  return Schedule(looks, (*first.tolist(), *late[:-1].tolist(), 1.0))


def _schedule(looks: tuple[int, ...], at_the_end: float) -> Schedule:
  return Schedule(looks, tuple(spendable(len(looks), at_the_end).tolist()))


#: By what is asked: a goal, that of all votes to a tolerance, or a class.
SCHEDULES: Mapping[str, Callable[[int], Schedule]] = {
  'radius': functools.partial(_even, at_the_end=0.5),
  'grid': functools.partial(_even, at_the_end=0.5),
  'full': functools.partial(_even, at_the_end=0.75),
  'nearly full': _nearly_full,
  'class': _for_a_class,
}
