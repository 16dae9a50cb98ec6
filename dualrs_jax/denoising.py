"""One-shot denoising by a diffusion model, in front of a classifier.

A diffusion model was trained on noise of every level, so one evaluation at the
right timestep turns a noisy image into an estimate of the clean one. Whatever
classifies that estimate is a base classifier like any other, and nothing that
is computed here can make a certificate wrong.

References:
  Carlini, Tramer, Dvijotham, Rice, Sun and Kolter (2023), (Certified!!)
  adversarial robustness for free!, https://arxiv.org/abs/2206.10550.
  Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models,
  https://arxiv.org/abs/2006.11239.
  Nichol and Dhariwal (2021), Improved denoising diffusion probabilistic
  models, https://arxiv.org/abs/2102.09672 (the cosine schedule).
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dualrs_jax.resizing import resize_bicubic

#: Timesteps are given to the network in these units, for any number of steps.
_NETWORK_STEPS = 1000


def cosine_alphas(steps: int) -> Float[np.ndarray, ' steps']:
  """The cosine schedule; CIFAR-10's published model has 4000 steps.

  Args:
    steps: Number of diffusion steps.

  Returns:
    The share of the image's variance that is left at each step, float64,
    decreasing (alpha-bar in the literature).
  """
  times = (np.arange(steps + 1) / steps + 0.008) / 1.008
  left = np.cos(times * np.pi / 2) ** 2
  return np.cumprod(1 - np.minimum(1 - left[1:] / left[:-1], 0.999))


def linear_alphas(steps: int) -> Float[np.ndarray, ' steps']:
  """The linear schedule; ImageNet's published model has 1000 steps.

  Args:
    steps: Number of diffusion steps.

  Returns:
    As `cosine_alphas`.
  """
  scale = 1000 / steps
  return np.cumprod(1 - np.linspace(scale * 1e-4, scale * 0.02, steps))


_ALPHAS = {'cosine': cosine_alphas, 'linear': linear_alphas}


def deviations(
  alphas: Float[np.ndarray, ' steps'],
) -> Float[np.ndarray, ' steps']:
  """The noise at each step relative to the image, float64, increasing.

  The image lies in [-1, 1], so this is twice the sigma of pixel units.
  """
  return np.sqrt(1 - alphas) / np.sqrt(alphas)


def timestep(
  alphas: Float[np.ndarray, ' steps'], sigma: float | np.ndarray
) -> Int[np.ndarray, '...']:
  """The step whose noise is sigma, computed in float64.

  Args:
    alphas: A schedule.
    sigma: Noise levels in pixel units, any shape.

  Returns:
    The first step, counted from 0 but never 0 itself, whose noise is not
    below sigma.

  Raises:
    ValueError: If a sigma is not positive, or above the schedule's last step.

  Example:
    >>> int(timestep(cosine_alphas(4000), 0.25))
    1158
  """
  levels = deviations(alphas)
  sigma = np.asarray(sigma, np.float64)
  _check_within(sigma, levels[-1])
  return np.asarray(np.maximum(np.searchsorted(levels, 2 * sigma), 1))


def _check_within(sigma: np.ndarray, last: Any) -> None:
  if not ((sigma > 0) & (2 * sigma <= last)).all():
    raise ValueError(
      f'sigma must be positive and at most {last / 2:g}, where the diffusion'
      f' schedule ends, not {sigma}.'
    )


class Schedule(NamedTuple):
  """A diffusion schedule on the device, a pytree of two tables.

  Attributes:
    signal: By what the clean image, in [-1, 1], is multiplied at each step.
    deviation: The noise at each step relative to the image, increasing.
  """

  signal: Float[Array, ' steps']
  deviation: Float[Array, ' steps']

  @classmethod
  def of(cls, alphas: Float[np.ndarray, ' steps']) -> 'Schedule':
    """The float32 tables of a float64 schedule."""
    return cls(
      jnp.asarray(np.sqrt(alphas), jnp.float32),
      jnp.asarray(deviations(alphas), jnp.float32),
    )

  @classmethod
  def named(cls, name: str, steps: int) -> 'Schedule':
    """The schedule of a published model: 'cosine' or 'linear'.

    Raises:
      ValueError: If there is no schedule of this name.
    """
    if name not in _ALPHAS:
      raise ValueError(f'schedule must be one of {[*_ALPHAS]}, not {name!r}')
    return cls.of(_ALPHAS[name](steps))

  def at(self, sigma: Float[Array, ' *batch']) -> 'Position':
    """Where in the process the noise is sigma, see `timestep`.

    Both sides of the comparison are float32: against a float64 table, the
    schedule's own levels would land beside themselves.

    Args:
      sigma: Noise levels in pixel units. One above the schedule's last step,
        or a NaN, has NaN instead of a signal and a deviation, so that it
        cannot certify.
    """
    step = jnp.searchsorted(self.deviation, 2 * sigma, method='compare_all')
    step = jnp.maximum(step, 1)
    pick = lambda t: t.at[step].get(mode='fill', fill_value=jnp.nan)
    return Position(step, pick(self.signal), pick(self.deviation))

  def network_time(
    self, step: Int[Array, ' *batch']
  ) -> Float[Array, ' *batch']:
    """The step in the units in which a network is told it."""
    return step.astype(jnp.float32) * (_NETWORK_STEPS / self.signal.size)


class Position(NamedTuple):
  """A step of a diffusion process.

  Attributes:
    step: Its number, from 0.
    signal: `Schedule.signal` at this step.
    deviation: `Schedule.deviation` at this step.
  """

  step: Int[Array, ' *batch']
  signal: Float[Array, ' *batch']
  deviation: Float[Array, ' *batch']


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Denoiser:
  """Noisy images to clean ones, both in pixel units; a callable pytree.

  Attributes:
    network: `network(images, times)` predicts the standard normal noise in
      diffused images in its first channels, as `models.DiffusionUNet` does; a
      callable pytree.
    schedule: The schedule that the network was trained with.
  """

  network: Any
  schedule: Schedule

  def __call__(
    self,
    images: Float[Array, 'batch height width channels'],
    sigma: Float[Array, ' batch'],
  ) -> Float[Array, 'batch height width channels']:
    """Estimates of the clean images, in [0, 1].

    Args:
      images: Images in [0, 1] plus noise.
      sigma: The standard deviation of each image's noise.
    """
    return (jnp.clip(self.unclipped(images, sigma), -1, 1) + 1) / 2

  def unclipped(
    self,
    images: Float[Array, 'batch height width channels'],
    sigma: Float[Array, ' batch'],
  ) -> Float[Array, 'batch height width channels']:
    """The network's own estimates: a clean image would lie in [-1, 1]."""
    position = self.schedule.at(sigma)
    per_image = lambda values: values[:, None, None, None]
    centred = 2 * images - 1
    output = self.network(
      per_image(position.signal) * centred,
      self.schedule.network_time(position.step),
    )
    noise = output[..., : images.shape[-1]].astype(centred.dtype)
    return centred - per_image(position.deviation) * noise


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class DenoisedClassifier:
  """Denoises, resizes, and classifies: a `Classifier` like any other.

  As an estimator of the noise level its classifier has one logit per level.
  An estimator and a classifier may share a denoiser; it is then one array in
  memory.

  Attributes:
    denoiser: Noisy to clean images.
    classifier: Given clean images in pixel units, which bicubic resizing may
      carry a little beyond [0, 1], and the sigma of the noise they had.
    size: Height and width at which the classifier sees them; None leaves
      them as they are.

  Example:
    >>> network = jax.tree_util.Partial(lambda images, times: 0 * images)
    >>> schedule = Schedule.of(cosine_alphas(4000))
    >>> brightness = jax.tree_util.Partial(
    ...   lambda images, sigma: images.mean(axis=(1, 2))
    ... )
    >>> f = DenoisedClassifier(Denoiser(network, schedule), brightness, (8, 8))
    >>> f(jnp.full((2, 4, 4, 3), 0.5), jnp.full(2, 0.25)).shape
    (2, 3)
  """

  denoiser: Any
  classifier: Any
  size: tuple[int, int] | None = dataclasses.field(
    default=None, metadata={'static': True}
  )

  def __call__(
    self,
    images: Float[Array, 'batch height width channels'],
    sigma: Float[Array, ' batch'],
  ) -> Float[Array, 'batch classes']:
    """Logits of noisy images.

    Args:
      images: Images in [0, 1] plus noise.
      sigma: The standard deviation of each image's noise.
    """
    clean = self.denoiser(images, sigma)
    if self.size is not None:
      clean = resize_bicubic(clean, self.size)
    return self.classifier(clean, sigma)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Front:
  """What stands before a network: a denoiser and a resize, or nothing.

  Attributes:
    denoiser: Noisy to clean images; None passes noisy images on.
    size: Height and width at which the network sees denoised images; None
      leaves them as they are.
  """

  denoiser: Any = None
  size: tuple[int, int] | None = dataclasses.field(
    default=None, metadata={'static': True}
  )

  def before(self, classifier: Any) -> Any:
    """The classifier of noisy images: with this front before the given one.

    Args:
      classifier: A `Classifier`, or a tuple of them, each to get the front.
    """
    if self.denoiser is None:
      return classifier
    if isinstance(classifier, tuple):
      return tuple(map(self.before, classifier))
    return DenoisedClassifier(self.denoiser, classifier, self.size)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class PublishedNoise:
  """The noise of the published code, a `Noise`: that of the step, not sigma.

  It samples at the level of the step that `Schedule.at` finds, which is not
  below sigma (by 0.1% to 0.6% above it for usual levels), while certificates
  are issued for sigma: they are valid, and a little smaller than they need
  be. The default noise samples at sigma itself.

  Attributes:
    schedule: That of the denoiser in front of the classifier.
  """

  schedule: Schedule

  def __call__(
    self,
    key: PRNGKeyArray,
    image: Float[Array, '*image'],
    sigma: Float[Array, ''],
  ) -> Float[Array, '*image']:
    """One noisy copy, or NaN where sigma is beyond the schedule."""
    level = self.schedule.at(sigma).deviation / 2
    return image + level * jax.random.normal(key, image.shape, image.dtype)

  def check(self, image: Any, sigmas: Any) -> None:
    """Refuses levels beyond the schedule, where they are concrete.

    Args:
      image: Not looked at.
      sigmas: One noise level or several.

    Raises:
      ValueError: If the schedule ends below one of them.
    """
    del image
    last = self.schedule.deviation[-1]
    if not isinstance(sigmas, Tracer) and not isinstance(last, Tracer):
      _check_within(np.asarray(sigmas, np.float32), np.asarray(last))
