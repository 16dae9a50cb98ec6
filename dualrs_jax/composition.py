"""How the votes of both stages become one certificate.

With i the selected noise level and y the class selected there, from selection
votes alone, three rules compose the bounds on the estimation votes:

* `paper`: min(R_e, R_c), each radius at alpha / 2.
* `minimum`: the same at full alpha each. The smaller true radius is one fixed
  number, and only its own bound can make the claim wrong.
* `agreement`: the level may change within the ball, if the classifier at the
  other level gives the same answer there.

docs/theory.md has the theorems and their proofs.

References:
  Sun, Mao and Vechev (2026), Dual randomized smoothing,
  https://arxiv.org/abs/2512.01782
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from dualrs_jax import confidence
from dualrs_jax.base import ABSTAIN, Counts, DualCertificate

#: How `agreement` spends alpha: the selected level's lower bound and another
#: level's upper bound in the estimator, the classifier at that other level.
#: They must sum to 1.
AGREEMENT_SHARES = (0.5, 0.05, 0.45)


@runtime_checkable
class CompositionRule(Protocol):
  """How the votes of both stages become one certificate."""

  def __call__(
    self,
    estimator_counts: Counts,
    classifier_counts: Counts,
    sigmas: Any,
    estimator_sigma: Any,
    *,
    n: int,
    alpha: float,
  ) -> DualCertificate:
    """Composes a certificate.

    NumPy counts are evaluated in float64, JAX counts in float32; both round
    down.

    Args:
      estimator_counts: Arrays of shape [..., K].
      classifier_counts: Arrays of shape [..., K, classes], all zero at a level
        that was not sampled.
      sigmas: The K noise levels, in pixel units.
      estimator_sigma: The noise level of the estimator.
      n: Number of estimation votes of every sampled stage and level.
      alpha: Failure probability of the composed certificate.
    """
    ...


def paper(
  estimator_counts, classifier_counts, sigmas, estimator_sigma, *, n, alpha
) -> DualCertificate:
  """The certificate of Sun et al. (2026): min(R_e, R_c), alpha / 2 each.

  Guarantee: with probability at least 1 - alpha, G returns `prediction`
  within `radius`, `sigma_index` is the level of the smoothed estimator within
  `estimator_radius`, and both stage radii hold jointly. With a single level
  there is nothing to estimate, and the classifier has the whole alpha.
  """
  single = np.shape(sigmas)[-1] == 1
  return _smaller_radius(
    estimator_counts,
    classifier_counts,
    sigmas,
    estimator_sigma,
    n=n,
    alpha=alpha if single else alpha / 2,
  )


def minimum(
  estimator_counts, classifier_counts, sigmas, estimator_sigma, *, n, alpha
) -> DualCertificate:
  """min(R_e, R_c), each at the full alpha (docs/theory.md, theorem 2).

  Guarantee: with probability at least 1 - alpha, G returns `prediction`
  within `radius`. Each stage radius holds at alpha by itself, not jointly.
  """
  return _smaller_radius(
    estimator_counts,
    classifier_counts,
    sigmas,
    estimator_sigma,
    n=n,
    alpha=alpha,
  )


def _smaller_radius(
  estimator_counts, classifier_counts, sigmas, estimator_sigma, *, n, alpha
):
  xp = confidence.namespace(estimator_counts.estimation)
  z = confidence.lookup(
    confidence.lower_z(n, alpha), estimator_counts.estimation
  )
  sigmas = confidence.level_like(sigmas, z)
  level, label = _selected(estimator_counts, classifier_counts)
  estimator_radius = confidence.scale_down(
    confidence.level_like(estimator_sigma, z), _at(z, level)
  )
  if np.shape(sigmas)[-1] == 1:
    estimator_radius = xp.full_like(estimator_radius, xp.inf)
  votes = _at(_votes_for(classifier_counts, label), level)
  classifier_radius = confidence.scale_down(
    sigmas[level], confidence.lookup(confidence.lower_z(n, alpha), votes)
  )
  return _certificate(
    xp.minimum(estimator_radius, classifier_radius),
    level,
    label,
    estimator_radius,
    classifier_radius,
    estimator_counts,
    classifier_counts,
  )


def agreement(
  estimator_counts, classifier_counts, sigmas, estimator_sigma, *, n, alpha
) -> DualCertificate:
  """R = min(B_i, min over k != i of max(A_k, B_k)) (docs/theory.md, theorem 3).

  With i the selected level and y its class: within A_k the estimator cannot
  prefer level k to i, and within B_k the classifier at level k answers y.
  A_k = estimator_sigma / 2 * (z_i - z_k) from a lower bound of p_i and an
  upper bound of p_k.

  Guarantee: with probability at least 1 - alpha, G returns `prediction` at
  every point of the open ball of `radius`. `sigma_index` is then the level
  that was used, *not* certified to be that of the smoothed estimator.
  `estimator_radius` is min_k A_k and `classifier_radius` is B_i.

  On the same votes the radius is never below that of `paper`.
  """
  xp = confidence.namespace(estimator_counts.estimation)
  keeps, other, agrees = (share * alpha for share in AGREEMENT_SHARES)
  level, label = _selected(estimator_counts, classifier_counts)
  votes = estimator_counts.estimation
  z_i = confidence.lookup(confidence.lower_z(n, keeps), _at(votes, level))[
    ..., None
  ]
  sigmas = confidence.level_like(sigmas, z_i)
  estimator_sigma = confidence.level_like(estimator_sigma, z_i)
  # Invalid votes count for every competitor. By the symmetry of the bounds,
  # -z_k is the lower bound of the votes that are not for k.
  invalid = (n - votes.sum(axis=-1))[..., None]
  minus_z_k = confidence.lookup(
    confidence.lower_z(n, other), n - (votes + invalid)
  )
  gap = confidence.scale_down(1, z_i + minus_z_k)
  keeps_from_k = xp.maximum(  # A_k; z_k = -z_i gives the one-sided form
    confidence.scale_down(estimator_sigma, z_i),
    confidence.scale_down(estimator_sigma / 2, gap),
  )

  votes = _votes_for(classifier_counts, label)
  selected_radius = confidence.scale_down(  # B_i
    sigmas[level],
    confidence.lookup(confidence.lower_z(n, alpha), _at(votes, level)),
  )
  agrees_at_k = confidence.scale_down(  # B_k
    xp.broadcast_to(sigmas, votes.shape),
    confidence.lookup(confidence.lower_z(n, agrees), votes),
  )

  levels = np.broadcast_to(np.arange(votes.shape[-1]), votes.shape)
  is_selected = levels == level[..., None]
  radius = xp.minimum(
    selected_radius,
    xp.where(is_selected, xp.inf, xp.maximum(keeps_from_k, agrees_at_k)).min(
      axis=-1
    ),
  )
  return _certificate(
    radius,
    level,
    label,
    xp.where(is_selected, xp.inf, keeps_from_k).min(axis=-1),
    selected_radius,
    estimator_counts,
    classifier_counts,
  )


def _selected(estimator_counts: Counts, classifier_counts: Counts):
  """The level i and the class y, from selection votes alone."""
  xp = confidence.namespace(estimator_counts.selection)
  level = xp.argmax(estimator_counts.selection, axis=-1)
  labels = xp.argmax(classifier_counts.selection, axis=-1)
  return level, _at(labels, level)


def _votes_for(classifier_counts: Counts, label):
  """Estimation votes of each level for one class, shape [..., K]."""
  xp = confidence.namespace(classifier_counts.estimation)
  return xp.take_along_axis(
    classifier_counts.estimation, label[..., None, None], axis=-1
  )[..., 0]


def _at(values, index):
  """values[..., index], with a batch of indices."""
  xp = confidence.namespace(values)
  return xp.take_along_axis(values, index[..., None], axis=-1)[..., 0]


def _certificate(
  radius,
  level,
  label,
  estimator_radius,
  classifier_radius,
  estimator_counts,
  classifier_counts,
) -> DualCertificate:
  """Abstains unless the radius is positive, which a NaN is not."""
  xp = confidence.namespace(radius)

  def positive(value):
    return xp.where(value > 0, value, xp.zeros_like(value))

  return DualCertificate(
    prediction=xp.where(radius > 0, label, ABSTAIN),
    radius=positive(radius),
    sigma_index=level,
    estimator_radius=positive(estimator_radius),
    classifier_radius=positive(classifier_radius),
    estimator_counts=estimator_counts,
    classifier_counts=classifier_counts,
  )
