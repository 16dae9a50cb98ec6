"""Casting the votes of a run, image after image."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from dualrs_jax import (
  adaptive,
  dual,
  lattice,
  noise,
  sharding,
  smoothing,
  voting,
)
from dualrs_jax.base import Cast, Counts
from dualrs_jax.evaluation import verdicts
from dualrs_jax.evaluation.verdicts import Ballots

#: The samplers of noise by their names in configurations and settings.
NOISES = ('gaussian', 'lattice')

Example = tuple[int, Float[np.ndarray, '*image']]


class Booth(NamedTuple):
  """With what votes are cast.

  Attributes:
    estimator: The variance estimator; None in plain smoothing.
    classifier: The base classifier.
    noise: The sampler of noisy images.
    chunk_size: Noisy copies per device and forward pass.
    mesh: The devices.
  """

  estimator: Any
  classifier: Any
  noise: Any
  chunk_size: int
  mesh: Mesh


def make_noise(settings: Mapping[str, Any]) -> Any:
  """The sampler that `noise` names, for all levels of the run."""
  if settings['noise'] == 'gaussian':
    return noise.gaussian
  return lattice.lattice_noise(_levels(settings))


def noise_alpha(
  sampler: Any, settings: Mapping[str, Any], pixels: int
) -> float:
  """How much of alpha the sampler takes, as it is not quite normal.

  A claim rests on one term of the radius: on the votes of the estimator, of
  the classifier at one level, or of both.
  """
  if settings['noise'] == 'gaussian':
    return 0.0
  stages = 1 if settings['smoothing'] == 'single' else 2
  votes = stages * settings['n']
  return sampler.failure_probability(pixels=pixels, votes=votes)


def check(booth: Booth, example: Float[np.ndarray, '*image'], settings) -> None:
  """Raises what would be wrong with every image, before anything is written."""
  key = jax.random.key(0)
  voting.check_noise(
    booth.noise, example, np.asarray(_levels(settings), np.float32)
  )
  if settings['goal'] is None:
    jax.eval_shape(functools.partial(_fixed, booth, settings), example, key)
  else:
    verdicts.plan(settings)
  levels = {
    'classifier': (booth.classifier, max(settings['sigmas'])),
    'estimator': (booth.estimator, settings['estimator_sigma']),
  }
  for name, (network, sigma) in levels.items():
    if network is not None:
      try:
        voting.check_batch_independence(
          network, example, sigma, key, chunk_size=booth.chunk_size
        )
      except ValueError as error:
        raise ValueError(f'{name}: {error}') from error


def cast(
  booth: Booth,
  examples: Iterable[Example],
  settings: Mapping[str, Any],
  key: Any,
) -> Iterator[tuple[int, Ballots]]:
  """Casts all votes on each image.

  Args:
    booth: With what.
    examples: Pairs of a dataset index and an image in [0, 1].
    settings: Those of the run, see `verdicts.verdict`.
    key: The key of the run.

  Returns:
    Pairs of a dataset index and votes. Adaptive certification yields them in
    the order in which images are decided.
  """
  if settings['goal'] is None:
    return _cast_fixed(booth, examples, settings, key)
  return _cast_adaptive(booth, examples, settings, key)


def _cast_fixed(booth, examples, settings, key):
  for idx, image in examples:
    image_key = noise.image_key(key, idx)
    yield idx, jax.device_get(_fixed(booth, settings, image, image_key))


def _cast_adaptive(booth, examples, settings, key):
  certificates = adaptive.certify_images(
    booth.estimator,
    booth.classifier,
    examples,
    settings['sigmas'],
    settings['estimator_sigma'],
    key,
    goal=settings['goal'],
    radii=settings['radii'],
    n0=settings['n0'],
    n=settings['n'],
    alpha=verdicts.statistical_alpha(settings),
    certificate=verdicts.RULES[settings['certificate'] or 'minimum'],
    chunk_size=booth.chunk_size,
    noise=booth.noise,
    mesh=booth.mesh,
  )
  for idx, found in certificates:
    yield (
      idx,
      Ballots(
        found.estimator_counts,
        found.classifier_counts,
        found.estimator_cast,
        found.classifier_cast,
      ),
    )


def _fixed(booth: Booth, settings, image, key) -> Ballots:
  """Casts a fixed number of votes on one image, in each stage that has any."""
  spread = {
    'chunk_size': booth.chunk_size,
    'noise': booth.noise,
    'mesh': booth.mesh if sharding.votes_devices(booth.mesh) > 1 else None,
  }
  alpha = verdicts.statistical_alpha(settings)
  votes = {'n': settings['n'], 'alpha': alpha, **spread}
  sigmas = np.asarray(settings['sigmas'], np.float32)
  with_radius = settings['task'] == 'certify'
  n0 = settings['n0'] if with_radius else 0
  if settings['smoothing'] == 'single':
    networks = booth.classifier, image, settings['sigmas'][0], key
    if with_radius:
      counts = smoothing.certify(*networks, n0=n0, **votes).counts
    else:
      counts = _only_estimation(smoothing.predict(*networks, **votes).counts)
    classifier = jax.tree.map(lambda split: split[None], counts)
    return _ballots(verdicts.no_votes((1,)), classifier, n0, settings['n'], 0)
  networks = booth.estimator, booth.classifier, image, sigmas
  estimator_sigma = settings['estimator_sigma']
  if with_radius:
    found = dual.certify_dual(
      *networks,
      estimator_sigma,
      key,
      n0=n0,
      certificate=verdicts.RULES[settings['certificate']],
      **votes,
    )
    counts = found.estimator_counts, found.classifier_counts
  else:
    found = dual.predict_dual(*networks, estimator_sigma, key, **votes)
    here = jnp.arange(len(sigmas))[:, None] == found.sigma_index
    classifier = jnp.where(here, found.classifier_counts[None], 0)
    counts = (
      _only_estimation(found.estimator_counts),
      _only_estimation(classifier),
    )
  return _ballots(*counts, n0, settings['n'], 1)


def _only_estimation(votes) -> Counts:
  return Counts(jnp.zeros_like(votes), votes)


def _ballots(estimator, classifier, n0, n, estimators) -> Ballots:
  sampled = (classifier.selection + classifier.estimation) != 0
  levels = sampled.any(axis=-1).astype(jnp.int32)
  return Ballots(
    estimator,
    classifier,
    Cast(n0 * estimators, n * estimators),
    Cast(n0 * levels, n * levels),
  )


def _levels(settings: Mapping[str, Any]) -> list[float]:
  estimator = settings['estimator_sigma']
  return [*settings['sigmas'], *([] if estimator is None else [estimator])]
