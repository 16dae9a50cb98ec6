"""Casting the votes of a run, image after image."""

import functools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dualrs_jax import (
  adaptive,
  cascade,
  cascade_images,
  compilers,
  dual,
  dual_prediction,
  host,
  independence,
  noise,
  sharding,
  smoothing,
  voting,
)
from dualrs_jax.base import AdaptiveCertificate, Cast, Counts
from dualrs_jax.evaluation import distances as distance_levels
from dualrs_jax.evaluation import methods, noises, run_plans, smoothed_networks
from dualrs_jax.evaluation.methods import VoteCounts
from dualrs_jax.evaluation.smoothed_networks import SmoothedNetworks

#: An image and its number.
Example = tuple[int, Float[np.ndarray, '*image']]

_NOTHING: Mapping[int, AdaptiveCertificate] = types.MappingProxyType({})
_NOWHERE: Mapping[int, float] = types.MappingProxyType({})


def check_networks(
  smoothed: SmoothedNetworks,
  example: Float[np.ndarray, '*image'],
  settings,
) -> None:
  """Raises ValueError for networks that are not those of the images."""
  voting.check_noise(smoothed.noise, example, noises.levels(settings))
  # Host classifiers cannot be traced; they show when they are first called.
  hosted = host.parts((smoothed.estimator, smoothed.classifier))
  if settings['goal'] is None and not hosted:
    key = jax.random.key(0)
    with compilers.guarded():  # nothing runs
      jax.eval_shape(
        functools.partial(cast_fixed, smoothed, settings), example, key
      )


def check_independence(
  smoothed: SmoothedNetworks,
  example: Float[np.ndarray, '*image'],
  settings,
) -> None:
  """Raises ValueError if votes of a network depend on batch companions.

  In chunks of one copy there are none, and the memory may not hold two.
  """
  if smoothed.chunk_size == 1:
    return
  voters = [('classifier', smoothed.classifier, max(settings['sigmas']))]
  if len(smoothed_networks.experts(smoothed.classifier)) > 1:
    pairs = zip(smoothed.classifier, settings['sigmas'], strict=True)
    voters = [(f'expert {k}', *pair) for k, pair in enumerate(pairs)]
  if smoothed.estimator is not None:
    voters += [('estimator', smoothed.estimator, settings['estimator_sigma'])]
  for name, network, sigma in voters:
    try:
      independence.check_batch_independence(
        network,
        example,
        sigma,
        jax.random.key(0),
        chunk_size=smoothed.chunk_size,
      )
    except ValueError as error:
      raise ValueError(f'{name}: {error}') from error


def cast(
  smoothed: SmoothedNetworks,
  examples: Iterable[Example],
  settings: Mapping[str, Any],
  key: Any,
  before_step: Callable[[], object] = lambda: None,
  begun: Mapping[int, AdaptiveCertificate] = _NOTHING,
  distances: Mapping[int, float] = _NOWHERE,
) -> Iterator[tuple[int, VoteCounts]]:
  """Casts all votes on each image.

  Args:
    smoothed: With what.
    examples: Pairs of a dataset index and an image in [0, 1].
    settings: Those of the run, see `methods.result`.
    key: The key of the run.
    before_step: Is called before each step of adaptive certification, and
      otherwise before each image. What it raises ends the iteration.
    begun: Certificates to whose votes others are added, by dataset index.
    distances: Of the images to the training images by dataset index, where
      levels follow from them.

  Returns:
    Pairs of a dataset index and votes. Adaptive certification yields them in
    the order in which images are decided.
  """
  if settings['smoothing'] == 'distance':
    return _cast_distance(
      smoothed, examples, settings, key, before_step, distances
    )
  if settings['goal'] is None:
    return _cast_fixed(smoothed, examples, settings, key, before_step)
  if settings['smoothing'] == 'cascade':
    return _cast_cascade(smoothed, examples, settings, key, before_step)
  return _cast_adaptive(smoothed, examples, settings, key, before_step, begun)


def _cast_fixed(smoothed, examples, settings, key, before_step):
  for idx, image in examples:
    before_step()
    image_key = noise.image_key(key, idx)
    counts = cast_fixed(smoothed, settings, image, image_key)
    estimator, classifier = jax.device_get(counts)
    yield idx, methods.fixed_votes(estimator, classifier, settings)


def _cast_distance(smoothed, examples, settings, key, before_step, distances):
  for idx, image in examples:
    before_step()
    sigma = distance_levels.level(settings).at(distances[idx])
    there = {**settings, 'sigmas': [sigma]}
    counts = cast_fixed(smoothed, there, image, noise.image_key(key, idx))
    estimator, classifier = jax.device_get(counts)
    votes = methods.fixed_votes(estimator, classifier, settings)
    yield idx, votes._replace(distance=distances[idx])


def _cast_adaptive(smoothed, examples, settings, key, before_step, begun):
  certificates = adaptive.certify_images(
    smoothed.estimator,
    smoothed.classifier,
    examples,
    settings['sigmas'],
    settings['estimator_sigma'],
    key,
    goal=settings['goal'],
    radii=settings['radii'],
    n0=settings['n0'],
    n=settings['n'],
    alpha=run_plans.statistical_alpha(settings),
    certificate=run_plans.RULES[settings['certificate'] or 'minimum'],
    bounds=run_plans.bounds(settings),
    begun=begun,
    tolerance=settings.get('tolerance', 0.0),
    chunk_size=smoothed.chunk_size,
    noise=smoothed.noise,
    mesh=smoothed.mesh,
    before_step=before_step,
  )
  for idx, found in certificates:
    yield (
      idx,
      VoteCounts(
        found.estimator_counts,
        found.classifier_counts,
        found.estimator_cast,
        found.classifier_cast,
      ),
    )


def _cast_cascade(smoothed, examples, settings, key, before_step):
  certificates = cascade_images.certify_cascade_images(
    smoothed.classifier,
    examples,
    settings['sigmas'],
    key,
    goal=settings['goal'],
    radii=settings['radii'],
    n0=settings['n0'],
    n=settings['n'],
    alpha=run_plans.statistical_alpha(settings),
    chunk_size=smoothed.chunk_size,
    noise=smoothed.noise,
    mesh=smoothed.mesh,
    before_step=before_step,
  )
  nobody = Counts(*(np.zeros(1, np.int64),) * 2)
  for idx, found in certificates:
    yield idx, VoteCounts(nobody, found.counts, Cast(0, 0), found.cast)


def cast_fixed(
  smoothed: SmoothedNetworks,
  settings: Mapping[str, Any],
  image: Float[Array | np.ndarray, '*image'],
  key: PRNGKeyArray,
) -> tuple[Counts, Counts]:
  """Casts a fixed number of votes on one image.

  Args:
    smoothed: With what.
    settings: Those of the run.
    image: One image in [0, 1].
    key: The key of the image.

  Returns:
    The votes of the estimator, [K], and of the classifier, [K, classes].
  """
  spread = sharding.votes_devices(smoothed.mesh) > 1
  votes = {
    'n': settings['n'],
    'alpha': run_plans.statistical_alpha(settings),
    'chunk_size': smoothed.chunk_size,
    'noise': smoothed.noise,
    'mesh': smoothed.mesh if spread else None,
  }
  certifies = settings['task'] == 'certify'
  sigmas = np.asarray(settings['sigmas'], np.float32)
  if settings['smoothing'] in ('single', 'distance'):
    networks = smoothed.classifier, image, settings['sigmas'][0], key
    if certifies:
      found = smoothing.certify(*networks, n0=settings['n0'], **votes)
      counts = found.counts
    else:
      counts = _unselected(smoothing.predict(*networks, **votes).counts)
    nobody = Counts(*(jnp.zeros(1, jnp.int32),) * 2)
    return nobody, jax.tree.map(lambda split: split[None], counts)
  if settings['smoothing'] == 'cascade':
    networks = smoothed.classifier, image, sigmas, key
    if certifies:
      n0 = settings['n0']
      counts = cascade.certify_cascade(*networks, n0=n0, **votes).counts
    else:
      counts = cascade.predict_cascade(*networks, **votes).counts
      counts = _unselected(counts)
    return Counts(*(jnp.zeros(len(sigmas), jnp.int32),) * 2), counts
  networks = smoothed.estimator, smoothed.classifier, image, sigmas
  levels = settings['estimator_sigma'], key
  if certifies:
    rule = run_plans.RULES[settings['certificate']]
    found = dual.certify_dual(
      *networks, *levels, n0=settings['n0'], certificate=rule, **votes
    )
    return found.estimator_counts, found.classifier_counts
  found = dual_prediction.predict_dual(*networks, *levels, **votes)
  here = jnp.arange(len(sigmas))[:, None] == found.sigma_index
  classifier = jnp.where(here, found.classifier_counts[None], 0)
  return _unselected(found.estimator_counts), _unselected(classifier)


def _unselected(votes) -> Counts:
  return Counts(jnp.zeros_like(votes), votes)
