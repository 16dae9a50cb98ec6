"""Dual randomized smoothing: the noise level is itself a smoothed decision.

A variance estimator h over K noise levels, smoothed at `estimator_sigma`,
selects a level g_e(x); the classifier f, smoothed at that level, answers:
G(x) = g(x, sigmas[g_e(x)]). Three composition rules certify G:

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

import functools
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray

from dualrs_jax import confidence, smoothing, validation, voting
from dualrs_jax import noise as noise_lib
from dualrs_jax.base import (
  ABSTAIN,
  Classifier,
  Counts,
  DualCertificate,
  DualPrediction,
)

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
  levels = np.arange(np.shape(sigmas)[-1])

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
    sigmas, confidence.lookup(confidence.lower_z(n, agrees), votes)
  )

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


#: Rules that never look beyond the selected level: no other one is sampled.
_SELECTED_LEVEL_ONLY = frozenset({paper, minimum})


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


def certify_dual(
  estimator: Classifier,
  classifier: Classifier | Sequence[Classifier],
  image: Float[Array | np.ndarray, '*image'],
  sigmas: Float[Array | np.ndarray, 'levels'] | Sequence[float],
  estimator_sigma: Float[Array | np.ndarray, ''] | float,
  key: PRNGKeyArray,
  *,
  n0: int,
  n: int,
  alpha: float,
  certificate: CompositionRule,
  chunk_size: int,
  noise: Any = noise_lib.gaussian,
  mesh: Mesh | None = None,
) -> DualCertificate:
  """Certifies the dual smoothed classifier at one image.

  Guarantee: with probability at least 1 - alpha over the noise, either this
  abstains, or G returns `prediction` at every point whose l2 distance to the
  image is below `radius`; see the composition rule for what else holds.

  Levels other than the selected one are sampled only where the rule's radius
  could grow by it. Under `vmap` such a choice cannot save work: there, rules
  that look at other levels compute all of them, and experts are all computed.

  Args:
    estimator: The variance estimator h: a classifier over the K levels.
    classifier: The classifier f, or one expert per level as a sequence. The
      expert is chosen by index, so levels may repeat.
    image: One image in [0, 1], shape [*image].
    sigmas: The K noise levels, in pixel units; may be traced.
    estimator_sigma: The noise level of the estimator; may be traced.
    key: The key of this image, see `noise.image_key`.
    n0: Number of selection votes per stage and level.
    n: Number of estimation votes per stage and level.
    alpha: Failure probability of the whole certificate.
    certificate: The composition rule: `paper`, `minimum` or `agreement`.
    chunk_size: Noisy copies per device and forward pass.
    noise: The sampler of noisy images.
    mesh: Spreads the votes over its devices; without one, they are computed
      where the caller is. Neither changes the counts.

  Returns:
    The certificate; radii in pixel units, float32 rounded down.

  Raises:
    ValueError: If an argument is invalid, the width of the estimator or the
      number of experts differs from K, or n votes can never certify at alpha.
  """
  validation.check_votes(n0, n, alpha, chunk_size)
  validation.check_levels(sigmas, estimator_sigma)
  if certificate is paper and np.shape(sigmas)[0] > 1:
    confidence.check_possible(n, alpha / 2)
  if certificate is agreement and np.shape(sigmas)[0] > 1:
    confidence.check_possible(n, alpha * AGREEMENT_SHARES[0])
  experts = _checked_experts(estimator, classifier, image, sigmas, key)
  dtype = jnp.result_type(image)
  return _certify_dual(
    voting.as_pytree(estimator),
    experts,
    jnp.asarray(image),
    jnp.asarray(sigmas, dtype),
    jnp.asarray(estimator_sigma, dtype),
    key,
    voting.as_pytree(noise),
    n0=n0,
    n=n,
    alpha=alpha,
    certificate=certificate,
    chunk_size=chunk_size,
    mesh=mesh,
  )


def _checked_experts(
  estimator, classifier, image, sigmas, key
) -> tuple[Classifier, ...]:
  """Checks what both entry points share; returns one classifier, or K."""
  validation.check_image(image)
  validation.check_key(key)
  levels = np.shape(sigmas)[0]
  width = voting.num_classes(estimator, image)
  if width != levels:
    raise ValueError(
      f'The estimator chooses among {width} noise levels, but sigmas holds'
      f' {levels}.'
    )
  if not isinstance(classifier, tuple | list):
    return (voting.as_pytree(classifier),)
  experts = tuple(voting.as_pytree(expert) for expert in classifier)
  if len(experts) != levels:
    raise ValueError(
      f'There are {len(experts)} experts for {levels} noise levels; give one'
      ' per level, or a single classifier for all.'
    )
  widths = {voting.num_classes(expert, image) for expert in experts}
  if len(widths) > 1:
    raise ValueError(
      'The experts must share their classes, but their widths are'
      f' {sorted(widths)}.'
    )
  return experts


@functools.partial(
  jax.jit,
  static_argnames=('n0', 'n', 'alpha', 'certificate', 'chunk_size', 'mesh'),
)
def _certify_dual(
  estimator,
  experts,
  image,
  sigmas,
  estimator_sigma,
  key,
  noise,
  *,
  n0,
  n,
  alpha,
  certificate,
  chunk_size,
  mesh,
) -> DualCertificate:
  count = functools.partial(
    voting.count_votes,
    n0=n0,
    n=n,
    chunk_size=chunk_size,
    noise=noise,
    mesh=mesh,
  )
  levels = sigmas.shape[0]
  classes = voting.num_classes(experts[0], image)
  estimator_counts = count(estimator, image, estimator_sigma, key)
  selected = jnp.argmax(estimator_counts.selection)

  def count_level(level) -> Counts:
    return _count_expert(experts, level, count, image, sigmas[level], key)

  def compose(classifier_counts: Counts) -> DualCertificate:
    return certificate(
      estimator_counts,
      classifier_counts,
      sigmas,
      estimator_sigma,
      n=n,
      alpha=alpha,
    )

  def unsampled(classes_or_levels):
    return jnp.zeros(classes_or_levels, jnp.int32)

  counts = Counts(*(unsampled((levels, classes)) for _ in range(2)))
  if certificate in _SELECTED_LEVEL_ONLY:
    return compose(_put(counts, selected, count_level(selected)))

  def may_help(counts: Counts, level, waiting):
    """Whether unanimous votes at this level could enlarge the radius."""
    label = jnp.argmax(counts.selection[selected])
    best = jax.nn.one_hot(label, classes, dtype=jnp.int32)
    hope = Counts(
      *(
        jnp.where(waiting[:, None], votes * best, split)
        for votes, split in zip((n0, n), counts, strict=True)
      )
    )
    without = _put(hope, level, Counts(unsampled(classes), unsampled(classes)))
    return compose(hope).radius > compose(without).radius

  def visit(carry, level):
    counts, waiting = carry
    needed = (level == selected) | may_help(counts, level, waiting)
    sampled = lax.cond(
      needed,
      count_level,
      lambda _: Counts(unsampled(classes), unsampled(classes)),
      level,
    )
    return (_put(counts, level, sampled), waiting.at[level].set(False)), None

  # The selected level first, then the others in their own order.
  order = jnp.argsort(jnp.arange(levels) != selected, stable=True)
  (counts, _), _ = lax.scan(visit, (counts, jnp.ones(levels, bool)), order)
  return compose(counts)


def _count_expert(experts, level, count, image, sigma, key) -> Counts:
  """Votes at one level: of the only classifier, or of the level's expert."""
  if len(experts) == 1:
    return count(experts[0], image, sigma, key)
  return lax.switch(
    level,
    [functools.partial(count, expert) for expert in experts],
    image,
    sigma,
    key,
  )


def _put(counts: Counts, level, row: Counts) -> Counts:
  return jax.tree.map(lambda table, new: table.at[level].set(new), counts, row)


def predict_dual(
  estimator: Classifier,
  classifier: Classifier | Sequence[Classifier],
  image: Float[Array | np.ndarray, '*image'],
  sigmas: Float[Array | np.ndarray, 'levels'] | Sequence[float],
  estimator_sigma: Float[Array | np.ndarray, ''] | float,
  key: PRNGKeyArray,
  *,
  n: int,
  alpha: float,
  chunk_size: int,
  noise: Any = noise_lib.gaussian,
  mesh: Mesh | None = None,
) -> DualPrediction:
  """Predicts with the dual smoothed classifier, without a radius.

  PREDICT for the estimator, then for the classifier at the predicted level,
  at alpha / 2 each: PREDICT selects on its own votes, so the theorem of the
  full alpha does not apply. An undecided estimator abstains.

  Guarantee: with probability at least 1 - alpha over the noise, this abstains
  or returns G at the image.

  Args:
    estimator: The variance estimator h: a classifier over the K levels.
    classifier: The classifier f, or one expert per level as a sequence.
    image: One image in [0, 1], shape [*image].
    sigmas: The K noise levels, in pixel units; may be traced.
    estimator_sigma: The noise level of the estimator; may be traced.
    key: The key of this image, see `noise.image_key`.
    n: Number of votes of each stage.
    alpha: Failure probability.
    chunk_size: Noisy copies per device and forward pass.
    noise: The sampler of noisy images.
    mesh: Spreads the votes over its devices.

  Raises:
    ValueError: If an argument is invalid, see `certify_dual`.
  """
  validation.check_chunk_size(chunk_size)
  validation.check_levels(sigmas, estimator_sigma)
  share = alpha if np.shape(sigmas)[0] == 1 else alpha / 2
  smoothing.check_prediction_possible(n, share)
  experts = _checked_experts(estimator, classifier, image, sigmas, key)
  dtype = jnp.result_type(image)
  return _predict_dual(
    voting.as_pytree(estimator),
    experts,
    jnp.asarray(image),
    jnp.asarray(sigmas, dtype),
    jnp.asarray(estimator_sigma, dtype),
    key,
    voting.as_pytree(noise),
    n=n,
    alpha=share,
    chunk_size=chunk_size,
    mesh=mesh,
  )


@functools.partial(
  jax.jit, static_argnames=('n', 'alpha', 'chunk_size', 'mesh')
)
def _predict_dual(
  estimator,
  experts,
  image,
  sigmas,
  estimator_sigma,
  key,
  noise,
  *,
  n,
  alpha,
  chunk_size,
  mesh,
) -> DualPrediction:
  count = functools.partial(
    voting.count_votes,
    n0=0,
    n=n,
    chunk_size=chunk_size,
    noise=noise,
    mesh=mesh,
  )
  level_votes = count(estimator, image, estimator_sigma, key).estimation
  level = smoothing.prediction_of_counts(
    level_votes, n=n, alpha=alpha
  ).prediction
  if sigmas.shape[0] == 1:
    level = jnp.zeros_like(level)
  usable = jnp.maximum(level, 0)
  votes = _count_expert(
    experts, usable, count, image, sigmas[usable], key
  ).estimation
  label = smoothing.prediction_of_counts(votes, n=n, alpha=alpha).prediction
  return DualPrediction(
    jnp.where(level == ABSTAIN, ABSTAIN, label), level, level_votes, votes
  )
