"""The ways of casting a vote that are timed, and what one vote costs.

A path is a classifier, and in two of them a denoiser in front of it. `FULL` has
the sizes of the published networks. `REDUCED` has the same kinds of layers in
the same order, fewer and narrower, for machines on which those take too long.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dualrs_jax import models
from dualrs_jax.base import Classifier
from dualrs_jax.cost import operations
from dualrs_jax.denoising import DenoisedClassifier, Denoiser
from dualrs_jax.diffusion import Schedule, cosine_alphas, linear_alphas
from dualrs_jax.models import beit, cifar_resnet, diffusion_unet, resnet, vit
from dualrs_jax.pretrained import matching


class Path(NamedTuple):
  """One way of casting a vote.

  Attributes:
    image_shape: Of the image that is certified.
    architecture: The class of the classifier.
    sizes: Its arguments.
    chunk_size: Noisy copies per forward pass, unless another is asked for.
    denoiser: The arguments of the denoiser's network, if there is one.
    alphas: The denoiser's diffusion schedule.
  """

  image_shape: tuple[int, int, int]
  architecture: type
  sizes: Mapping[str, Any]
  chunk_size: int
  denoiser: Mapping[str, Any] | None = None
  alphas: np.ndarray = np.empty(0)

  @property
  def described(self) -> list[tuple[type, Mapping[str, Any]]]:
    """Classes and arguments of the networks: classifier, then denoiser."""
    made = [(self.architecture, self.sizes)]
    if self.denoiser is not None:
      made.append((models.DiffusionUNet, self.denoiser))
    return made

  def parts(self, dtype: Any) -> list[Any]:
    """The networks with fresh weights."""
    return [
      architecture(**sizes, dtype=dtype, rngs=nnx.Rngs(seed))
      for seed, (architecture, sizes) in enumerate(self.described)
    ]

  def assemble(self, parts: list[Any]) -> Classifier:
    """What casts the votes, made of `parts`."""
    classifier, *denoisers = map(models.inference_view, parts)
    if not denoisers:
      return classifier
    denoiser = Denoiser(denoisers[0], Schedule.of(self.alphas))
    return DenoisedClassifier(
      denoiser, classifier, self.sizes['image_shape'][:2]
    )

  def multiply_adds(self) -> int:
    """Multiplications per vote in matrix products and convolutions.

    Only those of the networks: resizing, normalisation and activations are
    not counted, as usual. No weights are made.
    """
    shapes = [self.sizes['image_shape'], self.image_shape]
    return sum(
      operations.multiply_adds(
        lambda network, *inputs: network(*inputs),
        models.inference_view(matching.abstract(architecture, sizes)),
        jax.ShapeDtypeStruct((1, *shape), jnp.float32),
        jax.ShapeDtypeStruct((1,), jnp.float32),
      )
      for (architecture, sizes), shape in zip(
        self.described, shapes, strict=False
      )
    )


FULL = {
  'cifar10-denoised': Path(
    image_shape=(32, 32, 3),
    architecture=models.ViT,
    sizes=vit.BASE16_CIFAR10,
    chunk_size=256,
    denoiser=diffusion_unet.CIFAR10,
    alphas=cosine_alphas(4000),
  ),
  'cifar10-resnet110': Path(
    image_shape=(32, 32, 3),
    architecture=models.CIFARResNet,
    sizes=cifar_resnet.RESNET110,
    chunk_size=2048,
  ),
  'imagenet-denoised': Path(
    image_shape=(224, 224, 3),
    architecture=models.BEiT,
    sizes=beit.LARGE16_IMAGENET,
    chunk_size=32,
    denoiser=diffusion_unet.IMAGENET256,
    alphas=linear_alphas(1000),
  ),
  'imagenet-resnet50': Path(
    image_shape=(224, 224, 3),
    architecture=models.ResNet,
    sizes=resnet.RESNET50,
    chunk_size=256,
  ),
}

_NARROW = {'width': 192, 'depth': 3, 'heads': 3, 'hidden': 768}

REDUCED = {
  'cifar10-denoised': FULL['cifar10-denoised']._replace(
    sizes={**vit.BASE16_CIFAR10, **_NARROW},
    denoiser={**diffusion_unet.CIFAR10, 'width': 32, 'blocks': 1},
    chunk_size=8,
  ),
  'cifar10-resnet110': FULL['cifar10-resnet110']._replace(
    sizes={**cifar_resnet.RESNET110, 'depth': 20}, chunk_size=64
  ),
  'imagenet-denoised': FULL['imagenet-denoised']._replace(
    image_shape=(64, 64, 3),
    sizes={
      **beit.LARGE16_IMAGENET,
      **_NARROW,
      'image_shape': (128, 128, 3),
    },
    denoiser={
      **diffusion_unet.IMAGENET256,
      'width': 32,
      'blocks': 1,
      'head_width': 32,
    },
    chunk_size=8,
  ),
  'imagenet-resnet50': FULL['imagenet-resnet50']._replace(
    image_shape=(96, 96, 3),
    sizes={
      **resnet.RESNET50,
      'image_shape': (96, 96, 3),
      'stages': (2, 2, 2, 2),
      'width': 32,
    },
    chunk_size=32,
  ),
}
SIZES = {'full': FULL, 'reduced': REDUCED}
