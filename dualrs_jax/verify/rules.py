"""How the bounds of two stages become one radius, from docs/theory.md.

With i the selected level, y the class selected there, s the noise levels and
s_e that of the estimator,

    R   = min( B_i,  min over k != i of max(A_k, B_k) )
    B_k = s_k z(y at level k)
    A_k = s_e max( z(i), (z(i) + z(not k)) / 2 )

where z is Phi^-1 of a lower bound. A rule says which part of alpha each bound
has; a bound without a part is not there, and its z is -infinity.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dualrs_jax.verify.bounds import NOTHING


class Shares(NamedTuple):
  """Parts of alpha.

  Attributes:
    keeps: Of the bound of i.
    selected: Of that of y at level i; all of alpha, where there is no choice.
    avoids: Of each bound of what is not k.
    agrees: Of each bound of y at another level.
  """

  keeps: float
  selected: float
  avoids: float = 0.0
  agrees: float = 0.0


#: The shares of alpha of each rule, by its name.
RULES: Mapping[str, Shares] = {
  'paper': Shares(keeps=1 / 2, selected=1 / 2),
  'minimum': Shares(keeps=1, selected=1),
  'agreement': Shares(keeps=0.7, selected=1, avoids=0.05, agrees=0.25),
  'fallback': Shares(keeps=0.7, selected=1, avoids=0.05, agrees=0.25),
}

#: The rules with the radius of a cascade in place of that of a level.
OF_CASCADES = ('fallback',)


class Stages(NamedTuple):
  """Radii in pixel units, each from the least to the most; shape [2].

  Attributes:
    radius: What is certified.
    estimator: Within it the estimator keeps its level.
    classifier: Within it the classifier there keeps its class.
  """

  radius: np.ndarray
  estimator: np.ndarray
  classifier: np.ndarray


def compose(
  keeps: np.ndarray,
  avoids: Mapping[int, np.ndarray],
  agrees: Mapping[int, np.ndarray],
  level: int,
  sigmas: list[float],
  estimator_sigma: float,
) -> Stages:
  """The formula of the module.

  Args:
    keeps: z(i), as all bounds from the least to the most, shape [2].
    avoids: z(not k), for the levels that have such a bound.
    agrees: B_k, the selected one among them.
    level: i.
    sigmas: s, as the noise was sampled.
    estimator_sigma: s_e.
  """
  selected = agrees[level]
  estimator = radius = np.full(2, np.inf)
  for k in range(len(sigmas)):
    if k != level:
      two_sided = (keeps + avoids.get(k, NOTHING)) / 2
      stays = estimator_sigma * np.maximum(keeps, two_sided)
      agreed = agrees.get(k, NOTHING)
      estimator = np.minimum(estimator, stays)
      radius = np.minimum(radius, np.maximum(stays, agreed))
  return Stages(np.minimum(radius, selected), estimator, selected)
