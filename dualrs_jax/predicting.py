"""Predictions that stop: as many votes as the class of an image takes.

A certificate at radius 0 says that the smoothed classifier answers the class at
the image. That is what a prediction says, and adaptive certification decides it
with the votes that it takes; docs/adaptive.md, section 11, has the argument.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, PRNGKeyArray

from dualrs_jax import adaptive, lookups
from dualrs_jax import noise as noise_lib
from dualrs_jax.base import AdaptiveCertificate, Classifier
from dualrs_jax.composition import CompositionRule
from dualrs_jax.examples import Example


def predict_images(
  estimator: Classifier | None,
  classifier: Classifier | Sequence[Classifier],
  examples: Iterable[Example],
  sigmas: Float[np.ndarray, 'levels'] | Sequence[float],
  estimator_sigma: float | None,
  key: PRNGKeyArray,
  *,
  n0: int,
  n: int,
  alpha: float,
  certificate: CompositionRule,
  chunk_size: int,
  bounds: lookups.Kind = lookups.deciding,
  noise: Any = noise_lib.gaussian,
  mesh: Mesh | None = None,
  before_step: Callable[[], object] = lambda: None,
) -> Iterator[tuple[int, AdaptiveCertificate]]:
  """Predicts with the smoothed classifier, with as few votes as it takes.

  Guarantee: for each image, with probability at least 1 - alpha over the
  noise, this abstains or returns G at the image, as `predict_dual` does. It
  abstains where n votes do not decide.

  Args:
    estimator: The variance estimator h; None with a single noise level.
    classifier: The classifier f, or one expert per level as a sequence.
    examples: Pairs of a dataset index and an image in [0, 1].
    sigmas: The K noise levels, in pixel units.
    estimator_sigma: The noise level of the estimator; None without one.
    key: The key of the run; each image has its own, see `noise.image_key`.
    n0: The largest number of selection votes of a stage.
    n: The largest number of estimation votes of a stage.
    alpha: Failure probability for each image.
    certificate: The composition rule. With `fallback` it is the classifier of
      `fallbacks` that predicts, not G. With `agreement` the level need not be
      decided where the classifier answers the same at another.
    chunk_size: Votes per device and step.
    bounds: `lookups.deciding`, with early looks, or another, see
      `certify_images`.
    noise: The sampler of noisy images.
    mesh: Spreads the votes over its devices; all local ones by default.
    before_step: Is called before each step of the devices.

  Returns:
    An iterator over dataset indices and answers, in the order in which images
    are decided: `prediction` is the class or `ABSTAIN`, and `radius` is 0.

  Raises:
    ValueError: If an argument is invalid, see `certify_images`.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> def half_space(images, sigma):  # class 0 where the first pixel < 0.7
    ...   return jnp.stack([0.7 - images[:, 0], images[:, 0] - 0.7], axis=-1)
    >>> import dualrs_jax as drs
    >>> [(index, answer)] = predict_images(
    ...   None,
    ...   half_space,
    ...   [(3, np.full(2, 0.5, np.float32))],
    ...   [0.25],
    ...   None,
    ...   jax.random.key(0),
    ...   n0=100,
    ...   n=10_000,
    ...   alpha=0.001,
    ...   certificate=drs.minimum,
    ...   chunk_size=64,
    ... )
    >>> index, answer.prediction, answer.radius
    (3, 0, 0.0)
    >>> int(answer.classifier_cast.estimation[0]) < 200
    True
  """
  return adaptive.certify_images(
    estimator,
    classifier,
    examples,
    sigmas,
    estimator_sigma,
    key,
    goal='radius',
    radii=(0.0,),
    n0=n0,
    n=n,
    alpha=alpha,
    certificate=certificate,
    chunk_size=chunk_size,
    bounds=bounds,
    noise=noise,
    mesh=mesh,
    before_step=before_step,
  )
