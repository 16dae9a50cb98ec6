"""A cascade whose levels answer only with more than a share of the votes.

A level passes an image on unless a class has more than its quorum q >= 1/2. Of
two classes at most one has, and the proof of theorem 5 goes through with
Phi^-1(p) - Phi^-1(q) in place of Phi^-1(p) at that level: what is certified
there has to stay above the quorum, and what others lack is counted from it.
With q = 1/2 it is the cascade.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from benchmarks.compared_rules import ABSTAIN, Answer, Method
from dualrs_jax import majorities
from dualrs_jax.base import Counts
from dualrs_jax.majorities import Bounds


class Certified(NamedTuple):
  """What votes amount to.

  Attributes:
    predict: The class, or -1.
    level: The level that is to answer it.
    here: The radius within which it does, at least 0.
    earlier: The one within which no earlier level answers another class.
  """

  predict: Int[np.ndarray, '...']
  level: Int[np.ndarray, '...']
  here: Float[np.ndarray, '...']
  earlier: Float[np.ndarray, '...']

  @property
  def radius(self) -> Float[np.ndarray, '...']:
    """That of the prediction; 0 for an abstention."""
    return np.minimum(self.here, self.earlier)


def certify(
  counts: Counts,
  sigmas: Sequence[float],
  quorums: Mapping[float, float],
  *,
  n0: int,
  n: int,
  alpha: float,
) -> Certified:
  """The certificate of a fixed number of votes, see `majorities`.

  Args:
    counts: Arrays of shape [..., K, classes].
    sigmas: The K noise levels.
    quorums: Of noise levels, each at least 1/2; other levels have 1/2.
    n0: Number of selection votes at every level.
    n: Number of estimation votes.
    alpha: Failure probability.

  Raises:
    ValueError: For a quorum below 1/2, which two classes may have, or of 1.
  """
  if not all(0.5 <= share < 1 for share in quorums.values()):
    raise ValueError(
      f'a quorum is at least 1/2 and below 1, unlike {dict(quorums)}'
    )
  shares = [quorums.get(sigma, 0.5) for sigma in sigmas]
  needed = np.asarray(special.ndtri(shares))[:, None]
  likely = np.asarray(majorities.likely_z(counts.selection, n0)) - needed
  level, label, _ = majorities.choose(likely, sigmas)
  wins, loses = majorities.fixed_bounds(counts.estimation, n=n, alpha=alpha)
  bounds = Bounds(
    _down(np.asarray(wins) - needed), _down(np.asarray(loses) + needed)
  )
  here, earlier = (
    np.maximum(part, 0.0)
    for part in majorities.radii(bounds, level, label, sigmas)
  )
  sure = np.minimum(here, earlier) > 0
  return Certified(np.where(sure, label, ABSTAIN), level, here, earlier)


def _down(z):
  return np.nextafter(z, -np.inf)


def method(quorums: Mapping[float, float]) -> Method:
  """A line of the comparison."""
  parts = [
    f'{share:g} of the votes at {sigma:g}' for sigma, share in quorums.items()
  ]
  return Method(
    f'cascade with {", ".join(parts)}',
    'certificate',
    functools.partial(answer, quorums=quorums),
  )


def answer(found, recorded, alpha, grid, *, quorums) -> Answer:
  """The cascade of all levels under quorums, for a fixed number of votes."""
  del grid
  certified = certify(
    found.levels(recorded),
    found.sigmas,
    quorums,
    n0=found.n0,
    n=found.n,
    alpha=alpha,
  )
  place = majorities.visits(np.asarray(found.sigmas))
  visited = int((place <= place[certified.level]).sum())
  return Answer(
    int(certified.predict),
    float(certified.radius),
    len(found.sigmas) * found.n0 + visited * found.n,
    first=float(certified.earlier),
    last=float(certified.here),
  )
