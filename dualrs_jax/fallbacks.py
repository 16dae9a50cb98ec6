"""Where the selected level has no majority, a smaller one answers.

The level that the estimator selects is where a cascade (`majorities`) starts:
of the levels from there down, the first at which a class has a majority
answers, and the smallest where none has one. For a class y, and a level m that
is to answer it from level k,

    C_k = min( B_m,  min over the levels j from k down to before m of E_j )

takes the place of B_k in a composition rule: within C_k the cascade from level
k answers y. docs/theory.md, section 8, has the proof.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Array, Float, Int

from dualrs_jax import composition, confidence, majorities
from dualrs_jax.base import Counts, DualCertificate
from dualrs_jax.composition import CompositionRule
from dualrs_jax.majorities import Bounds


@dataclasses.dataclass(frozen=True)
class FallbackRule(CompositionRule):
  """A composition rule with C_k in place of B_k, see `CompositionRule`.

  The classifier that it certifies, from level i = g_e(x) down, answers with the
  first level at which a class has a majority, or else with the smallest. Each
  term of R is a bound of one stage, or the larger one of two, so that alpha is
  spent as it is there.

  Attributes:
    falls_back: True.
  """

  falls_back: ClassVar[bool] = True

  def __post_init__(self):
    super().__post_init__()
    if not (self.agrees > 0 and self.avoids > 0):
      raise ValueError(
        f'a rule that falls back has bounds at all levels: {self!r}'
      )

  def __call__(
    self,
    estimator_counts: Counts,
    classifier_counts: Counts,
    sigmas: Any,
    estimator_sigma: Any,
    *,
    n: int,
    alpha: float,
    n0: int | None = None,
  ) -> DualCertificate:
    """Composes the certificate of a fixed number of votes.

    The arguments are those of `CompositionRule`; `sigma_index` of the answer is
    the level that was selected, from which on levels were visited.

    Raises:
      ValueError: Without n0.
    """
    if n0 is None:
      raise ValueError('the rule `fallback` has to know n0')
    votes = classifier_counts.estimation
    level, label, answering = selection(
      estimator_counts, classifier_counts, sigmas, n0
    )

    def of_cascades(share):
      bounds = majorities.fixed_bounds(votes, n=n, alpha=share * alpha)
      return radii(bounds, label, answering, sigmas)

    levels = estimator_counts.estimation
    keeps, avoids = self.estimator_bounds(levels, level, n=n, alpha=alpha)
    found = composition.join(
      keeps,
      avoids,
      composition.take(
        of_cascades(self.selected_share(levels.shape[-1])), level
      ),
      of_cascades(self.agrees),
      level,
      estimator_sigma,
    )
    return composition.certificate(
      found, level, label, estimator_counts, classifier_counts
    )


#: The shares of alpha of `agreement`.
fallback = FallbackRule(
  'fallback', keeps=0.7, selected=1.0, avoids=0.05, agrees=0.25
)


def selection(
  estimator_counts: Counts,
  classifier_counts: Counts,
  sigmas: Any,
  n0: Any,
  *,
  runner_up: bool = False,
):
  """Level, class and answering levels, from selection votes alone.

  Args:
    estimator_counts: Votes for the levels.
    classifier_counts: Votes for the classes, at each level.
    sigmas: The K noise levels.
    n0: How many selection votes were cast, at each level or at all.
    runner_up: See `majorities.choose`.
  """
  xp = confidence.namespace(estimator_counts.selection)
  level = xp.argmax(estimator_counts.selection, axis=-1)
  likely = majorities.likely_z(classifier_counts.selection, n0)
  return level, *choose(likely, level, sigmas, runner_up=runner_up)


def choose(
  likely: Float[Array | np.ndarray, '*batch levels classes'],
  level: Any,
  sigmas: Any,
  *,
  runner_up: bool = False,
) -> tuple[Any, Int[Array | np.ndarray, '*batch levels']]:
  """Which class to certify, and which level is to answer it from each level.

  Any choice by selection votes is valid; these promise the largest radii.

  Args:
    likely: z-scores of the probabilities of classes, see `majorities.likely_z`.
    level: The level that is selected, integers of shape [...].
    sigmas: The K noise levels, in pixel units.
    runner_up: See `majorities.choose`.

  Returns:
    label: y, what the cascade from the selected level promises.
    answering: m, for the cascade from each level k.
  """
  xp = confidence.namespace(likely)
  promise = functools.partial(
    majorities.choose, likely, sigmas, runner_up=runner_up
  )
  _, label, _ = promise(start=level)
  answering = [
    promise(start=xp.full_like(level, k), label=label)[0]
    for k in range(likely.shape[-2])
  ]
  return label, xp.stack(answering, axis=-1)


def radii(
  bounds: Bounds,
  label: Any,
  answering: Int[Array | np.ndarray, '*batch levels'],
  sigmas: Any,
) -> Float[Array | np.ndarray, '*batch levels']:
  """C_k for the cascade from each level, in pixel units, rounded down.

  Args:
    bounds: Of all levels and classes; infinitely low where nothing is known.
    label: y, integers of shape [...].
    answering: m, for the cascade from each level.
    sigmas: The K noise levels, in pixel units.
  """
  xp = confidence.namespace(bounds.wins)
  found = []
  for k in range(answering.shape[-1]):
    here = answering[..., k]
    parts = majorities.radii(
      bounds, here, label, sigmas, start=xp.full_like(here, k)
    )
    found.append(xp.minimum(*parts))
  return xp.stack(found, axis=-1)


def visited(start: int, answering: int, sigmas: tuple[float, ...]) -> list[int]:
  """The levels that a cascade visits before the one that answers."""
  place = majorities.visits(np.asarray(sigmas))
  between = (place[start] <= place) & (place < place[answering])
  return np.flatnonzero(between).tolist()
