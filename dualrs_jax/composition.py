"""How the votes of both stages become one certificate.

With i the selected noise level and y the class selected there, from selection
votes alone,

    R = min( B_i,  min over k != i of max(A_k, B_k) )

where within A_k the estimator cannot prefer level k to i, and within B_k the
classifier at level k answers y. Three rules spend alpha on these bounds:

* `paper`: A_k from p_i alone and B_i, at alpha / 2 each; B_k is not asked for,
  so that R = min(R_e, R_c).
* `minimum`: the same at full alpha each. The smaller true radius is one fixed
  number, and only its own bound can make the claim wrong.
* `agreement`: the level may change within the ball, if the classifier at the
  other level gives the same answer there.

`fallbacks` has a rule for another classifier, of cascades. docs/theory.md has
the theorems and their proofs.

References:
  Sun, Mao and Vechev (2026), Dual randomized smoothing,
  https://arxiv.org/abs/2512.01782
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from dualrs_jax import confidence
from dualrs_jax.base import ABSTAIN, Counts, DualCertificate


class Bounds(NamedTuple):
  """Lower bounds, as z-scores, of which a radius is composed.

  Attributes:
    keeps: Of p_i, the probability that the estimator votes for the selected
      level, shape [...].
    avoids: Of 1 - p_k for each level k, shape [..., K].
    selected: For the classifier at the selected level, in units of its sigma:
      of the probability of y, or half the distance to the runner-up. Shape
      [...].
    agrees: The same at each level, shape [..., K].
  """

  keeps: Float[Array | np.ndarray, '*batch']
  avoids: Float[Array | np.ndarray, '*batch levels']
  selected: Float[Array | np.ndarray, '*batch']
  agrees: Float[Array | np.ndarray, '*batch levels']


class Radii(NamedTuple):
  """A radius and its parts, in pixel units; no certificate unless positive.

  Attributes:
    radius: R, shape [...].
    estimator: The smallest A_k, infinite for a single level.
    classifier: B_i.
  """

  radius: Float[Array | np.ndarray, '*batch']
  estimator: Float[Array | np.ndarray, '*batch']
  classifier: Float[Array | np.ndarray, '*batch']


@dataclasses.dataclass(frozen=True)
class CompositionRule:
  """How alpha is spent, as shares of it.

  The binding term of R is one fixed index, so what is spent on one term need
  not be shared with the others: `keeps + avoids + agrees` and `selected` are
  at most 1 each in a rule whose stage radii need not hold jointly.

  Attributes:
    name: The name of the rule.
    keeps: For the lower bound of p_i.
    selected: For B_i.
    avoids: For the upper bound of each p_k; 0 leaves A_k one-sided.
    agrees: For each B_k; 0 where other levels are not asked.
    falls_back: Whether smaller levels answer where the selected one has no
      majority, see `fallbacks`; of the class, not of a rule.
  """

  name: str
  keeps: float
  selected: float
  avoids: float = 0.0
  agrees: float = 0.0

  falls_back: ClassVar[bool] = False

  def __post_init__(self):
    spent = (self.keeps + self.avoids + self.agrees, self.selected)
    shares = (self.keeps, self.selected, self.avoids, self.agrees)
    if min(shares) < 0 or not min(self.keeps, self.selected) > 0:
      raise ValueError(f'the shares of a rule must be positive: {self!r}')
    if max(spent) > 1 + 1e-12:
      raise ValueError(
        'a rule may spend alpha once on the estimator together with the other'
        f' levels, and once on the selected level: {self!r}'
      )

  def smallest_share(self, levels: int) -> float:
    """The least share of a bound without which there is no certificate."""
    selected = self.selected_share(levels)
    return selected if levels == 1 else min(self.keeps, selected)

  def selected_share(self, levels: int) -> float:
    """The share for B_i: all of alpha, if there is only one level."""
    return 1.0 if levels == 1 else self.selected

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

    NumPy counts are evaluated in float64, JAX counts in float32; both round
    down.

    Guarantee: with probability at least 1 - alpha, G returns `prediction` at
    every point of the open ball of `radius`. See each rule for what else
    holds.

    Args:
      estimator_counts: Arrays of shape [..., K].
      classifier_counts: Arrays of shape [..., K, classes], all zero at a level
        that was not sampled.
      sigmas: The K noise levels, in pixel units.
      estimator_sigma: The noise level of the estimator.
      n: Number of estimation votes of every sampled stage and level.
      alpha: Failure probability of the composed certificate.
      n0: Number of selection votes of a level; see `fallbacks`.
    """
    del n0
    level, label = selection(estimator_counts, classifier_counts)
    bounds = self._fixed_bounds(
      estimator_counts.estimation,
      take(classifier_counts.estimation, label[..., None]),  # for y, per level
      level,
      n=n,
      alpha=alpha,
    )
    radii = compose(bounds, level, sigmas, estimator_sigma)
    return certificate(radii, level, label, estimator_counts, classifier_counts)

  def _fixed_bounds(self, levels, votes, level, *, n, alpha) -> Bounds:
    """Clopper-Pearson bounds of votes for levels, and for y at each level."""
    keeps, avoids = self.estimator_bounds(levels, level, n=n, alpha=alpha)
    selected = self.selected_share(levels.shape[-1])
    return Bounds(
      keeps=keeps,
      avoids=avoids,
      selected=_lower(take(votes, level), n, selected * alpha),
      agrees=_lower(votes, n, self.agrees * alpha),
    )

  def estimator_bounds(self, levels: Any, level: Any, *, n: int, alpha: float):
    """The same of the votes for levels alone: `keeps` and `avoids`."""
    # Invalid votes count for every competitor. By the symmetry of the bounds,
    # -z_k is the lower bound of the votes that are not for k.
    invalid = (n - levels.sum(axis=-1))[..., None]
    return (
      _lower(take(levels, level), n, self.keeps * alpha),
      _lower(n - (levels + invalid), n, self.avoids * alpha),
    )


def _lower(wins, n: int, part: float):
  xp = confidence.namespace(wins)
  if part == 0:
    return xp.full(wins.shape, -xp.inf, xp.result_type(float))
  return confidence.lookup(confidence.lower_z(n, part), wins)


#: The certificate of Sun et al. (2026): min(R_e, R_c), alpha / 2 each. Both
#: stage radii hold jointly, and `sigma_index` is the level of the smoothed
#: estimator within `estimator_radius`.
paper = CompositionRule('paper', keeps=0.5, selected=0.5)

#: min(R_e, R_c), each at the full alpha (docs/theory.md, theorem 2). Each
#: stage radius holds at alpha by itself, not jointly.
minimum = CompositionRule('minimum', keeps=1.0, selected=1.0)

#: R above, with all its terms (docs/theory.md, theorem 3). `sigma_index` is the
#: level that was used, *not* certified to be that of the smoothed estimator.
#: `keeps` is above that of `paper`, so that on the same fixed number of votes
#: the radius is never below it; with looks in between, hardly ever.
agreement = CompositionRule(
  'agreement', keeps=0.7, selected=1.0, avoids=0.05, agrees=0.25
)


def check_rule(rule: Any) -> None:
  """Raises ValueError unless this is a composition rule."""
  if not isinstance(rule, CompositionRule):
    raise ValueError(
      'certificate is a composition rule such as dualrs_jax.paper, not'
      f' {rule!r}.'
    )


def compose(
  bounds: Bounds, level: Any, sigmas: Any, estimator_sigma: Any
) -> Radii:
  """R of the formula above, each step rounded down.

  Args:
    bounds: Lower bounds of both stages.
    level: The selected level i, integers of shape [...].
    sigmas: The K noise levels, in pixel units.
    estimator_sigma: The noise level of the estimator.
  """
  xp = confidence.namespace(bounds.selected)
  down = confidence.scale_down
  sigmas = confidence.level_like(sigmas, bounds.selected)
  return join(
    bounds.keeps,
    bounds.avoids,
    down(sigmas[level], bounds.selected),
    down(xp.broadcast_to(sigmas, bounds.agrees.shape), bounds.agrees),
    level,
    estimator_sigma,
  )


def join(
  keeps: Any,
  avoids: Float[Array | np.ndarray, '*batch levels'],
  selected: Any,
  agrees: Float[Array | np.ndarray, '*batch levels'],
  level: Any,
  estimator_sigma: Any,
) -> Radii:
  """The same of B_i and B_k in pixel units, and of both bounds of levels."""
  xp = confidence.namespace(selected)
  down = confidence.scale_down
  estimator_sigma = confidence.level_like(estimator_sigma, selected)
  keeps = keeps[..., None]
  # A_k = estimator_sigma / 2 (z_i - z_k); z_k = -z_i gives the one-sided form.
  gap = down(1, keeps + avoids)
  keeps_from_k = xp.maximum(
    down(estimator_sigma, keeps), down(estimator_sigma / 2, gap)
  )
  levels = np.broadcast_to(np.arange(gap.shape[-1]), gap.shape)
  is_selected = levels == level[..., None]
  others = xp.where(is_selected, xp.inf, xp.maximum(keeps_from_k, agrees))
  return Radii(
    radius=xp.minimum(selected, others.min(axis=-1)),
    estimator=xp.where(is_selected, xp.inf, keeps_from_k).min(axis=-1),
    classifier=selected,
  )


def selection(estimator_counts: Counts, classifier_counts: Counts):
  """The level i and the class y, from selection votes alone."""
  xp = confidence.namespace(estimator_counts.selection)
  level = xp.argmax(estimator_counts.selection, axis=-1)
  labels = xp.argmax(classifier_counts.selection, axis=-1)
  return level, take(labels, level)


def take(values, index):
  """values[..., index], with a batch of indices."""
  xp = confidence.namespace(values)
  return xp.take_along_axis(values, index[..., None], axis=-1)[..., 0]


def certificate(
  radii: Radii, level, label, estimator_counts, classifier_counts
) -> DualCertificate:
  """Abstains unless the radius is positive, which a NaN is not."""
  xp = confidence.namespace(radii.radius)

  def positive(value):
    return xp.where(value > 0, value, xp.zeros_like(value))

  return DualCertificate(
    prediction=xp.where(radii.radius > 0, label, ABSTAIN),
    radius=positive(radii.radius),
    sigma_index=level,
    estimator_radius=positive(radii.estimator),
    classifier_radius=positive(radii.classifier),
    estimator_counts=estimator_counts,
    classifier_counts=classifier_counts,
  )
