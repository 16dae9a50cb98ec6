"""Dual randomized smoothing: the noise level is itself a smoothed decision.

A variance estimator h over K noise levels, smoothed at `estimator_sigma`,
selects a level g_e(x); the classifier f, smoothed at that level, answers:
G(x) = g(x, sigmas[g_e(x)]). How the votes of both stages become a certificate
of G is a composition rule, see `composition`.

References:
  Sun, Mao and Vechev (2026), Dual randomized smoothing,
  https://arxiv.org/abs/2512.01782
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray

from dualrs_jax import (
  classifiers,
  compilers,
  composition,
  confidence,
  validation,
  voting,
)
from dualrs_jax import experts as experts_lib
from dualrs_jax import noise as noise_lib
from dualrs_jax.base import Classifier, Counts, DualCertificate
from dualrs_jax.composition import CompositionRule


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
  A rule that falls back samples all levels.

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
    certificate: The composition rule: `paper`, `minimum` or `agreement`; or
      `fallback`, whose G answers otherwise, see `fallbacks`.
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
  composition.check_rule(certificate)
  image = validation.as_array(image, 'The image')
  sigmas = validation.as_array(sigmas, 'sigmas')
  estimator_sigma = validation.as_array(estimator_sigma, 'estimator_sigma')
  n0, n = validation.as_votes('n0', n0), validation.as_votes('n', n)
  chunk_size = validation.as_votes('chunk_size', chunk_size)
  alpha = validation.as_alpha(alpha)
  validation.check_selection(n0)
  validation.check_votes_number('n', n)
  validation.check_chunk_size(chunk_size)
  validation.check_levels(sigmas, estimator_sigma)
  levels = np.shape(sigmas)[0]
  share = certificate.smallest_share(levels)
  confidence.check_possible(n, alpha, share=share)
  experts = checked_experts(
    estimator, classifier, image, sigmas, key, chunk_size
  )
  voting.check_noise(noise, image, sigmas)
  voting.check_noise(noise, image, estimator_sigma)
  return _certify_dual(
    classifiers.as_pytree(estimator),
    experts,
    jnp.asarray(image, jnp.float32),
    jnp.asarray(sigmas, jnp.float32),
    jnp.asarray(estimator_sigma, jnp.float32),
    key,
    classifiers.as_pytree(noise),
    n0=n0,
    n=n,
    alpha=alpha,
    certificate=certificate,
    chunk_size=chunk_size,
    mesh=mesh,
  )


def checked_experts(
  estimator, classifier, image, sigmas, key, chunk_size
) -> tuple[Classifier, ...]:
  """Checks what all doors of the dual share; returns one classifier, or K."""
  validation.check_image(image)
  validation.check_key(key)
  levels = np.shape(sigmas)[0]
  width = classifiers.num_classes(estimator, image, batch=chunk_size)
  if width != levels:
    raise ValueError(
      f'The estimator chooses among {width} noise levels, but sigmas holds'
      f' {levels}.'
    )
  return experts_lib.checked(classifier, image, levels, chunk_size)


@functools.partial(
  compilers.jit,
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
  classes = classifiers.num_classes(experts[0], image, batch=chunk_size)
  validation.check_classes(classes)
  estimator_counts = count(estimator, image, estimator_sigma, key)
  selected = jnp.argmax(estimator_counts.selection)

  def count_level(level) -> Counts:
    return experts_lib.count(experts, level, count, image, sigmas[level], key)

  compose = functools.partial(
    _compose,
    estimator_counts,
    sigmas=sigmas,
    estimator_sigma=estimator_sigma,
    n0=n0,
    n=n,
    alpha=alpha,
    certificate=certificate,
  )

  def unsampled(classes_or_levels):
    return jnp.zeros(classes_or_levels, jnp.int32)

  counts = Counts(*(unsampled((levels, classes)) for _ in range(2)))
  if certificate.falls_back:
    return compose(lax.map(count_level, jnp.arange(levels)))
  if not certificate.agrees:
    return compose(experts_lib.put(counts, selected, count_level(selected)))

  def visit(carry, level):
    counts, waiting = carry
    needed = (level == selected) | _may_help(
      estimator_counts,
      counts,
      level,
      waiting,
      sigmas,
      estimator_sigma,
      n0=n0,
      n=n,
      alpha=alpha,
      certificate=certificate,
    )
    sampled = lax.cond(
      needed,
      count_level,
      lambda _: Counts(unsampled(classes), unsampled(classes)),
      level,
    )
    return (
      experts_lib.put(counts, level, sampled),
      waiting.at[level].set(False),
    ), None

  # The selected level first, then the others in their own order.
  order = jnp.argsort(jnp.arange(levels) != selected, stable=True)
  (counts, _), _ = lax.scan(visit, (counts, jnp.ones(levels, bool)), order)
  return compose(counts)


@functools.partial(
  compilers.jit, static_argnames=('n0', 'n', 'alpha', 'certificate')
)
def _compose(
  estimator_counts,
  classifier_counts,
  sigmas,
  estimator_sigma,
  *,
  n0,
  n,
  alpha,
  certificate,
) -> DualCertificate:
  """The rule; compiled by itself where Python runs what is around it."""
  return certificate(
    estimator_counts,
    classifier_counts,
    sigmas,
    estimator_sigma,
    n=n,
    alpha=alpha,
    n0=n0,
  )


@functools.partial(
  compilers.jit, static_argnames=('n0', 'n', 'alpha', 'certificate')
)
def _may_help(
  estimator_counts,
  counts,
  level,
  waiting,
  sigmas,
  estimator_sigma,
  *,
  n0,
  n,
  alpha,
  certificate,
):
  """Whether unanimous votes at this level could enlarge the radius."""
  classes = counts.selection.shape[1]
  selected = jnp.argmax(estimator_counts.selection)
  label = jnp.argmax(counts.selection[selected])
  best = jax.nn.one_hot(label, classes, dtype=jnp.int32)
  hope = Counts(
    *(
      jnp.where(waiting[:, None], votes * best, split)
      for votes, split in zip((n0, n), counts, strict=True)
    )
  )
  nothing = Counts(*(jnp.zeros(classes, jnp.int32),) * 2)
  without = experts_lib.put(hope, level, nothing)
  radius = lambda counts: (
    certificate(
      estimator_counts, counts, sigmas, estimator_sigma, n=n, alpha=alpha
    ).radius
  )
  return radius(hope) > radius(without)
