"""Adaptive certification of many images: votes where they are needed.

Each image is a coroutine that asks for votes (`decisions`), and `scheduler`
runs many of them against the devices.
"""

import itertools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, PRNGKeyArray

from dualrs_jax import (
  classifiers,
  decisions,
  dual,
  lookups,
  plans,
  scheduler,
  sharding,
  validation,
)
from dualrs_jax import examples as examples_lib
from dualrs_jax import noise as noise_lib
from dualrs_jax.base import AdaptiveCertificate, Classifier
from dualrs_jax.composition import CompositionRule
from dualrs_jax.examples import Example
from dualrs_jax.vote_batches import Device

_NOTHING: Mapping[int, AdaptiveCertificate] = types.MappingProxyType({})


def certify_images(
  estimator: Classifier | None,
  classifier: Classifier | Sequence[Classifier],
  examples: Iterable[Example],
  sigmas: Float[np.ndarray, 'levels'] | Sequence[float],
  estimator_sigma: float | None,
  key: PRNGKeyArray,
  *,
  goal: str,
  radii: Sequence[float] = (),
  n0: int,
  n: int,
  alpha: float,
  certificate: CompositionRule,
  chunk_size: int,
  bounds: lookups.Kind = lookups.planned,
  begun: Mapping[int, AdaptiveCertificate] = _NOTHING,
  tolerance: float = 0.0,
  noise: Any = noise_lib.gaussian,
  mesh: Mesh | None = None,
  before_step: Callable[[], object] = lambda: None,
) -> Iterator[tuple[int, AdaptiveCertificate]]:
  """Certifies images with as few votes as their goals take.

  Guarantee: for each image, with probability at least 1 - alpha over the
  noise, its certificate abstains, or G returns `prediction` at every point
  whose l2 distance to the image is below `radius`. It follows from the votes
  of this image at its own looks: neighbours, `chunk_size` and devices do not
  matter, up to the rounding of kernels between batch shapes.

  Args:
    estimator: The variance estimator h; None with a single noise level.
    classifier: The classifier f, or one expert per level as a sequence.
    examples: Pairs of a dataset index and an image in [0, 1]. They are drawn
      as they are needed; of a long data set only few are in memory.
    sigmas: The K noise levels, in pixel units.
    estimator_sigma: The noise level of the estimator; None without one.
    key: The key of the run, `jax.random.key(seed)`: each image has its own,
      see `noise.image_key`.
    goal: 'radius' decides whether the one radius of `radii` is certified,
      'grid' which of `radii` are, 'full' the radius that n votes give.
    radii: In increasing order, in pixel units; none with the goal 'full'.
    n0: The largest number of selection votes of a stage.
    n: The largest number of estimation votes of a stage.
    alpha: Failure probability for each image.
    certificate: The composition rule: `paper`, `minimum` or `agreement`; or
      `fallback`, of another classifier, see `fallbacks`.
    chunk_size: Votes per device and step.
    bounds: `planned` for the tightest bounds, which end at n, or `open_ended`
      for bounds to which votes can be added later, however often and for any
      reason (docs/sequential.md, section 8).
    begun: With `open_ended`, certificates of some of the images by dataset
      index, from calls that differ in n, goal, radii or tolerance at most.
      Their votes are kept, and only those that they lack are cast.
    tolerance: With the goal 'full', stop where what n votes are likely to add
      is below this share of the radius.
    noise: The sampler of noisy images.
    mesh: Spreads the votes over its devices; all local ones by default. Over
      devices of several processes, all of them make the same call, on the
      same examples, and all get all certificates.
    before_step: Is called before each step of the devices. What it raises ends
      the iteration.

  Returns:
    An iterator over dataset indices and certificates, in the order in which
    the images are decided.

  Raises:
    ValueError: If an argument is invalid; at once, or, if it is an image, when
      its turn comes.
  """
  n0, n = validation.as_votes('n0', n0), validation.as_votes('n', n)
  chunk_size = validation.as_votes('chunk_size', chunk_size)
  alpha = validation.as_alpha(alpha)
  sigmas = validation.as_array(sigmas, 'sigmas')
  validation.check_chunk_size(chunk_size)
  validation.check_key(key)
  if estimator is not None and estimator_sigma is None:
    raise ValueError('An estimator needs its noise level, estimator_sigma.')
  alone = estimator_sigma is None
  validation.check_levels(sigmas, 1.0 if alone else estimator_sigma)
  if estimator is None and len(sigmas) > 1:
    raise ValueError(
      f'A choice among {len(sigmas)} noise levels takes an estimator; without'
      ' one, sigmas holds a single level.'
    )
  level = sigmas[0] if alone else estimator_sigma
  plan = plans.plan(
    np.asarray(sigmas).tolist(),
    level,
    goal=goal,
    radii=radii,
    n0=n0,
    n=n,
    alpha=alpha,
    certificate=certificate,
    bounds=bounds,
    tolerance=tolerance,
  )
  if begun and not plan.grows:
    raise ValueError(
      'No votes can be added where bounds end at n; begin with'
      ' bounds=dualrs_jax.open_ended.'
    )
  levels = [*plan.sigmas, plan.estimator_sigma]
  arrivals = examples_lib.checked(examples, levels, noise)
  first = next(arrivals, None)
  if first is None:
    return iter(())
  networks = _networks(estimator, classifier, first[1], sigmas, key, chunk_size)
  if mesh is None:
    mesh = sharding.votes_mesh()
  device = Device(networks, first[1], key, noise, mesh, chunk_size)
  arrivals = itertools.chain([first], arrivals)

  def begin(index: int) -> scheduler.Start:
    earlier = begun.get(index)
    return scheduler.Start(
      decisions.certification(plan, earlier),
      {} if earlier is None else decisions.votes_of(earlier),
    )

  return scheduler.certify(begin, plan, device, arrivals, before_step)


def _networks(estimator, classifier, image, sigmas, key, chunk_size):
  """The network of each stage and its width, the estimator's first."""
  if estimator is None:
    estimator = scheduler.NOBODY
  experts = dual.checked_experts(
    estimator, classifier, image, sigmas, key, chunk_size
  )
  networks = [classifiers.as_pytree(estimator), *experts]
  widths = [
    classifiers.num_classes(n, image, batch=chunk_size) for n in networks
  ]
  validation.check_classes(widths[-1])
  return list(zip(networks, widths, strict=True))
