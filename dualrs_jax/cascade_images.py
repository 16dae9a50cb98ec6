"""Adaptive certification of many images by a cascade of noise levels."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, PRNGKeyArray

from dualrs_jax import (
  cascade_plans,
  classifiers,
  experts,
  scheduler,
  sharding,
  validation,
)
from dualrs_jax import examples as examples_lib
from dualrs_jax import noise as noise_lib
from dualrs_jax.base import CascadeCertificate, Classifier
from dualrs_jax.examples import Example
from dualrs_jax.vote_batches import Device


def certify_cascade_images(
  classifier: Classifier | Sequence[Classifier],
  examples: Iterable[Example],
  sigmas: Float[np.ndarray, 'levels'] | Sequence[float],
  key: PRNGKeyArray,
  *,
  goal: str,
  radii: Sequence[float] = (),
  n0: int,
  n: int,
  alpha: float,
  chunk_size: int,
  noise: Any = noise_lib.gaussian,
  mesh: Mesh | None = None,
  before_step: Callable[[], object] = lambda: None,
) -> Iterator[tuple[int, CascadeCertificate]]:
  """Certifies images by the cascade with as few votes as their goals take.

  Guarantee: for each image, with probability at least 1 - alpha over the
  noise, its certificate abstains, or the cascade returns `prediction` at every
  point whose l2 distance to the image is below `radius`. What else holds is
  that of `adaptive.certify_images`.

  Args:
    classifier: The classifier f, or one expert per level as a sequence.
    examples: Pairs of a dataset index and an image in [0, 1]. They are drawn
      as they are needed; of a long data set only few are in memory.
    sigmas: The K noise levels in any order, in pixel units.
    key: The key of the run, `jax.random.key(seed)`: each image has its own,
      see `noise.image_key`.
    goal: 'radius' decides whether the one radius of `radii` is certified,
      'grid' which of `radii` are, 'full' the radius that n votes give.
    radii: In increasing order, in pixel units; none with the goal 'full'.
    n0: The largest number of selection votes of a level.
    n: The largest number of estimation votes of a level.
    alpha: Failure probability for each image.
    chunk_size: Votes per device and step.
    noise: The sampler of noisy images.
    mesh: Spreads the votes over its devices; all local ones by default.
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
  validation.check_sigmas(sigmas)
  plan = cascade_plans.plan(
    np.asarray(sigmas).tolist(), goal=goal, radii=radii, n0=n0, n=n, alpha=alpha
  )
  arrivals = examples_lib.checked(examples, plan.sigmas, noise)
  first = next(arrivals, None)
  if first is None:
    return iter(())
  networks = [
    (network, classifiers.num_classes(network, first[1], batch=chunk_size))
    for network in experts.checked(
      classifier, first[1], len(plan.sigmas), chunk_size
    )
  ]
  validation.check_classes(networks[-1][1])
  if mesh is None:
    mesh = sharding.votes_mesh()
  everybody = [(scheduler.NOBODY, 1), *networks]
  device = Device(everybody, first[1], key, noise, mesh, chunk_size)
  arrivals = itertools.chain([first], arrivals)

  def begin(index: int) -> scheduler.Start:
    del index
    return scheduler.Start(cascade_plans.certification(plan), {})

  return scheduler.certify(begin, plan, device, arrivals, before_step)
