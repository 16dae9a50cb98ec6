"""A noise level that varies with the distance to the training images.

sigma(x) = base * exp(rate * (distance(x) - centre)) with the mean distance from
x to its k nearest training images (`training_distances`): more noise where
there are few of them. The distance changes by no more than x does, so that log
sigma is Lipschitz with the constant `rate`, and `varying` says what that leaves
of a radius. The training images are part of the classifier, and have to be kept
with it.

References:
  Sukenik, Kuvshinov and Günnemann (2022), Intriguing properties of
  input-dependent randomized smoothing, https://arxiv.org/abs/2110.05365
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray

from dualrs_jax import (
  confidence,
  training_distances,
  validation,
  varying,
  voting,
)
from dualrs_jax import noise as noise_lib
from dualrs_jax.base import ABSTAIN, Classifier, Counts

#: The relative error of one operation in float32.
_UNIT = 2.0**-24


@dataclasses.dataclass(frozen=True)
class DistanceLevel:
  """How the noise level follows from a distance.

  Attributes:
    base: The level at the distance `centre`, in pixel units.
    rate: By how much the logarithm of the level grows with the distance.
    centre: A distance, such as the mean one of the training images.
    neighbours: k, of how many nearest training images.
  """

  base: float
  rate: float
  centre: float
  neighbours: int

  def __post_init__(self):
    validation.check_sigma(self.base, 'base')
    validation.check_whole('neighbours', self.neighbours)
    if self.neighbours < 1:
      raise ValueError(f'neighbours must be at least 1, not {self.neighbours}.')
    if not 0 <= self.rate < math.inf:
      raise ValueError(
        f'rate must not be negative, and finite, not {self.rate!r}.'
      )
    if not math.isfinite(self.centre):
      raise ValueError(f'centre must be finite, not {self.centre!r}.')

  def at(self, distance: float) -> float:
    """The level at a distance, as the float32 that is sampled.

    Raises:
      ValueError: If that is no positive number.
    """
    with np.errstate(over='ignore'):
      grown = np.exp(np.float64(self.rate * (distance - self.centre)))
      level = float(np.float32(self.base * grown))
    if not 0 < level < math.inf:
      raise ValueError(
        f'The level at the distance {distance:g} would be {level}: base * exp('
        f'rate * (distance - centre)) with base {self.base:g}, rate'
        f' {self.rate:g} and centre {self.centre:g}. Choose a centre among the'
        ' distances, or a smaller rate.'
      )
    return level

  def slack(self, distance: float, reach: float, pixels: int) -> float:
    """How far rounding may bring the levels of two images apart.

    Distances are sums in float32 over the pixels, in any order, and the level
    is a float32 itself, so that it is not quite as steady as theorem 7 asks.

    Args:
      distance: That of an image.
      reach: How far away another one is, at most.
      pixels: The dimension of an image.

    Returns:
      A bound on the error of the difference of the logarithms of their levels;
      0 where the level is constant.
    """
    if not self.rate:
      return 0.0
    steps = (pixels / 2 + self.neighbours + 4) * _UNIT
    relative = steps / (1 - 2 * steps)
    each = self.rate * (distance + reach) * relative + 4 * _UNIT
    return 2 * each


class DistanceCertificate(NamedTuple):
  """The answer of a classifier that is smoothed at a level of the image.

  Attributes:
    prediction: The class, or `ABSTAIN`.
    radius: The certified l2 radius in pixel units; 0 for an abstention.
    sigma: The level of this image.
    distance: Its mean distance to the nearest training images.
    counts: The votes, arrays [classes].
  """

  prediction: int
  radius: float
  sigma: float
  distance: float
  counts: Counts


def certify_distance_level(
  classifier: Classifier,
  image: Float[Array | np.ndarray, '*image'],
  training: Float[Array | np.ndarray, 'training ...'],
  level: DistanceLevel,
  key: PRNGKeyArray,
  *,
  n0: int,
  n: int,
  alpha: float,
  chunk_size: int,
  noise: Any = noise_lib.gaussian,
  mesh: Mesh | None = None,
) -> DistanceCertificate:
  """Certifies smoothing at the level of each image, at one image.

  Guarantee: with probability at least 1 - alpha over the noise, either this
  abstains, or the classifier that is smoothed at every point x' with the level
  of x' returns `prediction` at every point whose l2 distance to the image is
  below `radius`.

  It is host code: not for `jit` or `vmap`. The level is any positive number, so
  lattice noise, which has a table for each, does not fit.

  Args:
    classifier: The base classifier f, a callable pytree or a function.
    image: One image in [0, 1], shape [*image].
    training: The training images.
    level: How the level follows from the distance to them.
    key: The key of this image, see `noise.image_key`.
    n0: Number of votes that select the class.
    n: Number of fresh votes that bound its probability.
    alpha: Failure probability.
    chunk_size: Noisy copies per device and forward pass, and training images
      that are compared at a time.
    noise: The sampler of noisy images.
    mesh: Spreads the votes over its devices.

  Returns:
    The certificate; the radius in pixel units, float64 rounded down.

  Raises:
    ValueError: If an argument is invalid, there are fewer training images than
      neighbours, or n votes can never certify at alpha.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> def half_space(images, sigma):  # class 0 where the first pixel < 0.7
    ...   return jnp.stack([0.7 - images[:, 0], images[:, 0] - 0.7], axis=-1)
    >>> answer = certify_distance_level(
    ...   half_space,
    ...   jnp.full(100, 0.5),
    ...   jnp.zeros((3, 100)),
    ...   DistanceLevel(base=0.25, rate=0.05, centre=5.0, neighbours=2),
    ...   jax.random.key(0),
    ...   n0=100,
    ...   n=10_000,
    ...   alpha=0.001,
    ...   chunk_size=1_000,
    ... )
    >>> answer.prediction, answer.sigma, bool(0.17 < answer.radius < 0.2)
    (0, 0.25, True)

  References:
    Sukenik, Kuvshinov and Günnemann (2022), https://arxiv.org/abs/2110.05365
  """
  image = validation.as_array(image, 'The image')
  n0, n = validation.as_votes('n0', n0), validation.as_votes('n', n)
  chunk_size = validation.as_votes('chunk_size', chunk_size)
  alpha = validation.as_alpha(alpha)
  validation.check_image(image)
  validation.check_key(key)
  validation.check_votes(n0, n, alpha, chunk_size)
  distance = float(
    training_distances.mean_distances(
      np.asarray(image)[None],
      training,
      neighbours=level.neighbours,
      chunk_size=chunk_size,
    )[0]
  )
  sigma = level.at(distance)
  counts = voting.count_votes(
    classifier,
    image,
    sigma,
    key,
    n0=n0,
    n=n,
    chunk_size=chunk_size,
    noise=noise,
    mesh=mesh,
  )
  validation.check_classes(counts.estimation.shape[-1])
  return certificate_of_counts(
    jax.tree.map(np.asarray, counts),
    distance,
    level,
    n=n,
    alpha=alpha,
    pixels=int(np.size(image)),
  )


def certificate_of_counts(
  counts: Counts,
  distance: float,
  level: DistanceLevel,
  *,
  n: int,
  alpha: float,
  pixels: int,
) -> DistanceCertificate:
  """The certificate that votes at the level of an image amount to.

  Args:
    counts: NumPy arrays [classes].
    distance: That of the image.
    level: How the level follows from it.
    n: Number of estimation votes, the invalid ones included.
    alpha: Failure probability.
    pixels: The dimension of an image, its channels included.

  Returns:
    The certificate, see `certify_distance_level` for its guarantee.
  """
  sigma = level.at(distance)
  top = int(np.argmax(counts.selection))
  z = float(confidence.lower_z(n, alpha)[int(counts.estimation[top])])
  slack = level.slack(distance, sigma * max(z, 0.0), pixels)
  radius = varying.certified_radius(
    z, sigma, rate=level.rate, pixels=pixels, slack=slack
  )
  prediction = top if radius > 0 else ABSTAIN
  return DistanceCertificate(prediction, radius, sigma, distance, counts)
