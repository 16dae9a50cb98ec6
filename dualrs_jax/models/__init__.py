"""Network architectures, by name."""

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from flax import nnx

from dualrs_jax import named
from dualrs_jax.models import hosted as hosted
from dualrs_jax.models import own
from dualrs_jax.models.beit import BEiT as BEiT
from dualrs_jax.models.cifar_resnet import CIFARResNet as CIFARResNet
from dualrs_jax.models.cnn import CNN as CNN
from dualrs_jax.models.conditional_resnet import (
  ConditionalResNet as ConditionalResNet,
)
from dualrs_jax.models.diffusion_unet import DiffusionUNet as DiffusionUNet
from dualrs_jax.models.resnet import ResNet as ResNet
from dualrs_jax.models.torch_module import torch_function as torch_function
from dualrs_jax.models.vit import ViT as ViT

#: The classifiers and estimators that come along: what each name stands for.
ARCHITECTURES: Mapping[str, Any] = {
  'beit': BEiT,
  'cifar_resnet': CIFARResNet,
  'cnn': CNN,
  'conditional_resnet': ConditionalResNet,
  'resnet': ResNet,
  'vit': ViT,
}

Module = TypeVar('Module', bound=nnx.Module)


def create(
  name: str,
  *,
  num_classes: int,
  image_shape: tuple[int, int, int],
  seed: int,
  **sizes: Any,
) -> nnx.Module:
  """A network with fresh weights.

  Args:
    name: the architecture: 'beit', 'cifar_resnet', 'cnn', 'conditional_resnet',
      'resnet', 'vit', or a class of the user's own, see `own.create`.
    num_classes: number of logits: the classes of a classifier, the noise
      levels of an estimator.
    image_shape: height, width and channels of an image.
    seed: of the initial weights.
    **sizes: the architecture's own sizes.

  Returns:
    The network, in training mode if it has one.

  Raises:
    ValueError: an unknown architecture, sizes that do not fit together, or what
      `own` refuses.
  """
  arguments = {'num_classes': num_classes, 'image_shape': image_shape, **sizes}
  if named.is_reference(name):
    network = own.create(name, seed=seed, **arguments)
    view = inference_view(network)
    own.check_logits(
      name, view, num_classes=num_classes, image_shape=image_shape
    )
    return network
  if name not in ARCHITECTURES:
    nearest = difflib.get_close_matches(name, ARCHITECTURES, n=1, cutoff=0)
    raise ValueError(
      f'unknown architecture {name!r}; did you mean {nearest[0]!r}? One of your'
      ' own is my_module:MyNet or path/to/file.py:MyNet'
    )
  return ARCHITECTURES[name](rngs=nnx.Rngs(seed), **arguments)


def inference_view(model: Module) -> Module:
  """The same weights in inference mode: no dropout, stored statistics.

  A certificate needs votes that are independent and do not change with their
  batch companions, so every vote is cast by such a view.

  Args:
    model: a network in any mode. It is left as it is.

  Returns:
    A network that shares the model's parameters. One without dropout or batch
    statistics computes what the model computes.
  """
  return nnx.view(
    model,
    deterministic=True,
    use_running_average=True,
    raise_if_not_found=False,
  )
