"""Networks of a configuration by their sizes: no weights, no files needed.

A network that a configuration takes from a folder of `dualrs_jax.pretrained`
has the sizes that the folder says. Where the folder is not there yet, those of
the published network are assumed that the source papers use in its place.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from dualrs_jax import folders, models
from dualrs_jax.cost import operations
from dualrs_jax.models import beit, cifar_resnet, diffusion_unet, resnet, vit
from dualrs_jax.pretrained import converted, matching, trained

#: The name of an architecture, and the sizes that its published files state.
Published = tuple[str, Mapping[str, Any]]

#: Networks of the published set-ups, by data set and role.
PUBLISHED: Mapping[tuple[str, str], Published] = {
  ('cifar10', 'denoiser'): ('diffusion_unet', diffusion_unet.CIFAR10),
  ('cifar10', 'classifier'): ('vit', vit.BASE16_CIFAR10),
  ('cifar10', 'expert'): ('cifar_resnet', cifar_resnet.RESNET110),
  ('imagenet', 'denoiser'): ('diffusion_unet', diffusion_unet.IMAGENET256),
  ('imagenet', 'classifier'): ('beit', beit.LARGE16_IMAGENET),
  ('imagenet', 'expert'): ('resnet', resnet.RESNET50),
}


class Network(NamedTuple):
  """A network without its weights.

  Attributes:
    architecture: Its name.
    multiply_adds: Of one forward pass of one image.
    model: The network with shapes in place of its weights.
    dtype: Of the activations.
    copies: How many of them there are: the number of experts.
    assumed: The folder in place of which the published sizes were taken, or ''.
  """

  architecture: str
  multiply_adds: int
  model: Any
  dtype: str
  copies: int = 1
  assumed: str = ''

  @property
  def weight_bytes(self) -> int:
    """Bytes of parameters and stored statistics, of all experts."""
    return self.copies * tree_bytes(nnx.state(self.model))


def tree_bytes(tree: Any) -> int:
  """Bytes of all arrays of a pytree; shapes suffice."""
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def of_models(
  descriptions: Mapping[str, Mapping[str, Any]],
  *,
  data: str,
  image_shape: tuple[int, int, int],
  widths: Mapping[str, int],
) -> dict[str, Network]:
  """The networks of a configuration.

  Args:
    descriptions: By role ('denoiser', 'classifier', 'estimator'), each as
      `networks` takes it; an empty one stands for none.
    data: Name of the data set, by which published networks are known.
    image_shape: Of its images.
    widths: Number of logits, by role.

  Returns:
    The networks by role.

  Raises:
    ValueError: If a folder holds no network, and nothing was published for its
      place.
  """
  return {
    role: _network(
      role, description, data, {'image_shape': image_shape}, widths.get(role)
    )
    for role, description in descriptions.items()
    if description
  }


def forward(
  architecture: str,
  sizes: Mapping[str, Any],
  image_shape: tuple[int, int, int],
) -> tuple[Any, int]:
  """A network without weights, and the multiplications of one forward pass.

  Args:
    architecture: Its name.
    sizes: Its arguments, without `rngs` and `dtype`.
    image_shape: Of its input, where `sizes` does not say it.
  """
  return _forward(architecture, tuple(sorted(sizes.items())), image_shape)


@functools.cache
def _forward(architecture, sizes, image_shape):
  if architecture in converted.ARCHITECTURES:
    kind = converted.ARCHITECTURES[architecture]
    model = matching.abstract(kind, dict(sizes))
  else:
    create = functools.partial(models.create, architecture, **dict(sizes))
    model = nnx.eval_shape(lambda: create(seed=0))
  count = operations.multiply_adds(
    lambda network, images, level: network(images, level),
    models.inference_view(model),
    jax.ShapeDtypeStruct(
      (1, *dict(sizes).get('image_shape', image_shape)), jnp.float32
    ),
    jax.ShapeDtypeStruct((1,), jnp.float32),
  )
  return model, count


def _network(role, description, data, shape, width) -> Network:
  options = dict(description)
  if 'functions' in options:
    raise ValueError(
      f'model.{role}.functions are models of other frameworks, whose cost is'
      ' not known here'
    )
  dtype = options.pop('dtype', 'float32')
  side = options.pop('size', None)
  if side is not None:
    shape = {'image_shape': (side, side, shape['image_shape'][-1])}
  experts = options.get('experts', ())
  folder = experts[0] if experts else options.get('pretrained')
  assumed = ''
  if folder is None:
    architecture = options.pop('name')
    sizes = {**options, **shape, 'num_classes': width}
  elif trained.is_trained(folder):
    found = trained.describe(folder, name=options.get('name'))
    sizes = {**found, **shape, 'num_classes': width}
    architecture = sizes.pop('name')
    dtype = description.get('dtype', sizes.pop('dtype', dtype))
  elif folders.expand(folder).exists():
    found = converted.describe(folder)
    architecture, sizes = found['architecture'], found['sizes']
  elif folders.expand(folder).parent.name == 'checkpoints':
    raise ValueError(
      f'{folder} is not there: a training leaves it, and the cost of its'
      ' network is known from then on'
    )
  else:
    place = (data, 'expert' if experts else role)
    if place not in PUBLISHED:
      raise ValueError(
        f'{folder} is not there, and no published {role} of {data!r} is known'
        ' whose sizes could be taken in its place'
      )
    (architecture, sizes), assumed = PUBLISHED[place], folder
  try:
    model, count = forward(architecture, sizes, shape['image_shape'])
  except ValueError as error:
    raise ValueError(f'model.{role}: {error}') from error
  return Network(
    architecture, count, model, dtype, max(1, len(experts)), assumed
  )
