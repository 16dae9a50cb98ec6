"""A cascade whose levels answer only with more than a share of the votes.

A level passes an image on unless a class has more than its quorum q >= 1/2. Of
two classes at most one has, and the proof of theorem 5 goes through with
Phi^-1(p) - Phi^-1(q) in place of Phi^-1(p) at that level: what is certified
there has to stay above the quorum, and what others lack is counted from it.
With q = 1/2 it is the cascade.
"""

import functools
from collections.abc import Sequence

import numpy as np
from scipy import special

from benchmarks.compared_rules import ABSTAIN, Answer, Method
from dualrs_jax import majorities
from dualrs_jax.majorities import Bounds


def method(quorums: Sequence[tuple[float, float]]) -> Method:
  """A line of the comparison.

  Args:
    quorums: Pairs of a noise level and its quorum, at least 1/2; other levels
      have 1/2.
  """
  parts = [f'{share:g} of the votes at {sigma:g}' for sigma, share in quorums]
  return Method(
    f'cascade with {", ".join(parts)}',
    'certificate',
    functools.partial(cascade, quorums=tuple(map(tuple, quorums))),
  )


def cascade(found, recorded, alpha, grid, *, quorums) -> Answer:
  """The cascade of all levels under quorums, for a fixed number of votes."""
  del grid
  quorum = dict(quorums)
  if not all(0.5 <= share < 1 for share in quorum.values()):
    raise ValueError(f'a quorum is at least 1/2 and below 1: {quorums}')
  needed = [[special.ndtri(quorum.get(sigma, 0.5))] for sigma in found.sigmas]
  counts = found.levels(recorded)
  likely = majorities.likely_z(counts.selection, found.n0) - needed
  level, label, _ = majorities.choose(likely, found.sigmas)
  wins, loses = majorities.fixed_bounds(
    counts.estimation, n=found.n, alpha=alpha
  )
  bounds = Bounds(_down(wins - needed), _down(loses + needed))
  place = majorities.visits(np.asarray(found.sigmas))
  visited = place <= place[level]
  here, earlier = majorities.radii(bounds, level, label, found.sigmas)
  radius = max(0.0, float(min(here, earlier)))
  return Answer(
    int(label) if radius else ABSTAIN,
    radius,
    len(found.sigmas) * found.n0 + int(visited.sum()) * found.n,
    first=max(0.0, float(earlier)),
    last=max(0.0, float(here)),
  )


def _down(z):
  return np.nextafter(z, -np.inf)
