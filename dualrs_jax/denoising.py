"""One-shot denoising by a diffusion model, in front of a classifier.

A diffusion model was trained on noise of every level, so one evaluation at the
right timestep turns a noisy image into an estimate of the clean one. Whatever
classifies that estimate is a base classifier like any other, and nothing that
is computed here can make a certificate wrong.

References:
  Carlini, Tramer, Dvijotham, Rice, Sun and Kolter (2023), (Certified!!)
  adversarial robustness for free!, https://arxiv.org/abs/2206.10550.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from dualrs_jax import compilers, diffusion, host
from dualrs_jax.diffusion import Schedule
from dualrs_jax.resizing import resize_bicubic


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
    >>> schedule = Schedule.of(diffusion.cosine_alphas(4000))
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
    # What a host classifies is computed in a program of its own.
    clean = _clean_by_itself if host.parts(self.classifier) else _clean
    return self.classifier(
      clean(self.denoiser, images, sigma, self.size), sigma
    )


def _clean(denoiser, images, sigma, size):
  clean = denoiser(images, sigma)
  return clean if size is None else resize_bicubic(clean, size)


_clean_by_itself = compilers.jit(_clean, static_argnames='size')


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
      diffusion.check_within(np.asarray(sigmas, np.float32), np.asarray(last))
