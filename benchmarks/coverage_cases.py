"""Cases of a simulation, and the exact probability that one goes wrong.

Two stages see the same noise, opposite noise (u and 1 - u), or independent
noise. `exact_either` follows the failures of both, vote by vote; it has
nothing in common with the program that made the boundaries.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special, stats

from dualrs_jax import boundaries, sequential
from dualrs_jax.lookups import Lookup

ALPHA = 0.05
N = 256
N0 = 128
LOOKS = sequential.default_looks(N)
NOISES = ('shared', 'antithetic', 'independent')
#: Of the interval that an exact probability leaves, on either side.
FALSE_ALARM = 1e-6
#: The truth lies this far below a point of the grid, and the radius that is
#: asked for in between.
BELOW = 1e-6
#: In standard deviations: to give up only what cannot be reached.
ENDLESS = 1e4


@dataclasses.dataclass(frozen=True)
class Case:
  """What is simulated, and how often it has to go wrong.

  Attributes:
    name: What is done.
    noise: That of the two stages, or '' where there is one.
    event: From a generator and a number of images, which of them were given a
      wrong certificate.
    exact: The probability of that, if it is known.
    kind: 'equal' and 'not above' say how it compares with `exact`; 'caught'
      that it exceeds ALPHA, too, by more than chance.
    effort: A multiple of the usual number of images.
  """

  name: str
  noise: str
  event: Callable[[np.random.Generator, int], Any]
  exact: float | None
  kind: str = 'equal'
  effort: int = 1

  def interval(self, images: int) -> tuple[int, int]:
    """How many wrong certificates pass."""
    low, high = 0, images
    if self.exact is not None:
      low, high = explained(images, self.exact)
    if self.kind == 'not above':
      low = 0
    if self.kind == 'caught':
      low = max(low, explained(images, ALPHA)[1] + 1)
    return low, high


def explained(images: int, probability: float) -> tuple[int, int]:
  law = stats.binom(images, probability)
  return int(law.ppf(FALSE_ALARM)), int(law.isf(FALSE_ALARM))


# Exact probabilities. A limit is the largest number of failures, for a look,
# after which the bound is above the truth.


def limits_of(table, z):
  return [
    np.count_nonzero(table.lower_z(k, n - np.arange(n + 1)) > z) - 1
    for k, n in enumerate(table.looks)
  ]


def exact_one(looks, limits, z):
  """P[failures within the limit of some look], at the truth z."""
  fail = special.ndtr(-z)
  law = np.zeros(looks[-1] + 1)
  law[0] = 1
  limit = dict(zip(looks, limits, strict=True))
  for vote in range(1, looks[-1] + 1):
    law[1 : vote + 1] = law[1 : vote + 1] * (1 - fail) + law[:vote] * fail
    law[0] *= 1 - fail
    law[: limit.get(vote, -1) + 1] = 0
  return 1 - law.sum()


def exact_either(looks, limits, z, noise):
  """P[the failures of either stage are within a limit of theirs].

  Both stages have the truth z, and limits of their own.
  """
  fail = special.ndtr(-z)
  both = {
    'shared': fail,
    'antithetic': max(2 * fail - 1, 0.0),
    'independent': fail**2,
  }[noise]
  law = np.zeros((looks[-1] + 1,) * 2)
  law[0, 0] = 1
  limit = dict(zip(looks, zip(*limits, strict=True), strict=True))
  for vote in range(1, looks[-1] + 1):
    old = law[:vote, :vote].copy()
    law[:vote, :vote] *= 1 - 2 * fail + both
    law[1 : vote + 1, :vote] += (fail - both) * old
    law[:vote, 1 : vote + 1] += (fail - both) * old
    law[1 : vote + 1, 1 : vote + 1] += both * old
    first, second = limit.get(vote, (-1, -1))
    law[: first + 1] = 0
    law[:, : second + 1] = 0
  return 1 - law.sum()


def exact_both(looks, limits, z, noise):
  single = sum(exact_one(looks, own, z) for own in limits)
  return single - exact_either(looks, limits, z, noise)


@functools.cache
def worst_truth(*tables, near=0.5, points=64):
  """Of some points, the one below which the tables fail most often."""
  looks = tables[0].looks
  grid = boundaries.grid(looks[-1], ALPHA)
  grid = grid[np.searchsorted(grid, near) :][: 4 * points : 4]
  wrong = [
    sum(exact_one(looks, limits_of(table, z), z) for table in tables)
    for z in grid - BELOW
  ]
  return float(grid[np.argmax(wrong)] - BELOW)


@functools.cache
def table_of(lookup):
  """The table of planned bounds."""
  assert isinstance(lookup, Lookup)
  return lookup.table


def share(part):
  """The bounds that a share of alpha gives."""
  return sequential.table(N, part * ALPHA)


# Simulated votes.


def draw(generator, images, z, noise, votes=N):
  """For each of two stages, which votes are won: Phi(z) of them."""
  first = second = generator.random((images, votes))
  if noise == 'antithetic':
    second = 1 - first
  if noise == 'independent':
    second = generator.random((images, votes))
  return first < special.ndtr(z[0]), second < special.ndtr(z[1])


def at_looks(won, looks=LOOKS):
  """Wins among the first votes, for each look."""
  parts = np.add.reduceat(won, [0, *looks[:-1]], axis=1, dtype=np.int64)
  return parts.cumsum(axis=1)


def best(table, wins):
  """The largest bound of all looks."""
  return table.lower_z(np.arange(len(table.looks)), wins).max(axis=1)
