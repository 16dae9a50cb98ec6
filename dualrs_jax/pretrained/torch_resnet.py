"""Importer of residual networks: experts of randomized smoothing, torchvision.

Training programs of randomized smoothing save a checkpoint.pth.tar (which is
no tar file) with the network behind a normalising layer that has no weights,
so that names begin with '1.', or with '1.module.' after training on several
GPUs. Files of torchvision have the bare names.

References:
  https://github.com/locuslab/smoothing
  https://github.com/pytorch/vision/blob/main/torchvision/models/resnet.py
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from dualrs_jax.models import CIFARResNet, ResNet, inference_view
from dualrs_jax.models.cifar_resnet import RESNET110
from dualrs_jax.models.resnet import RESNET50
from dualrs_jax.pretrained import matching, torch_layers, weights, wrappers
from dualrs_jax.pretrained.matching import ImportFailure, Published, Target


def load(
  path: str | os.PathLike,
  sizes: Mapping[str, Any] | None = None,
  *,
  architecture: type[CIFARResNet] | type[ResNet],
  dtype: Any = jnp.float32,
) -> CIFARResNet | ResNet:
  """Reads a classifier, ready for votes: its stored statistics are used.

  Args:
    path: The file.
    sizes: Arguments of the architecture that differ from those of ResNet-110
      for CIFAR-10 (the depth is found out if the file names it) or ResNet-50
      for ImageNet. Nothing in a file tells how its network normalises images:
      networks that are trained on centred images only, as some of SmoothAdv
      are, need `deviation = (1, 1, 1)`.
    architecture: `models.CIFARResNet` or `models.ResNet`.
    dtype: Of the convolutions, see `models.ResNet`.

  Raises:
    ImportFailure: In one sentence, that the file is something else, or which
      of its arrays are missing, unexpected or of another shape.
  """
  published = read(path, sizes, architecture=architecture)
  return inference_view(matching.build(published, dtype=dtype))


def read(
  path: str | os.PathLike,
  sizes: Mapping[str, Any] | None = None,
  *,
  architecture: type[CIFARResNet] | type[ResNet],
  key: str | None = None,
) -> Published:
  """Reads a file, see `load`.

  Args:
    path: As in `load`.
    sizes: As in `load`.
    architecture: As in `load`.
    key: Which weights, where the file holds several, see `wrappers`.
  """
  file = weights.read(path, key=key)
  return from_arrays(
    file.arrays,
    sizes,
    architecture=architecture,
    source=str(path),
    name=file.notes.get('arch'),
    key=file.key,
  )


def from_arrays(
  arrays: Mapping[str, np.ndarray],
  sizes: Mapping[str, Any] | None = None,
  *,
  architecture: type[CIFARResNet] | type[ResNet],
  source: str,
  name: str | int | float | None = None,
  key: str | None = None,
) -> Published:
  """The checkpoint that arrays of a file make, see `load`.

  Args:
    arrays: The arrays by their published names.
    sizes: As in `load`.
    architecture: As in `load`.
    source: The file, as messages are to name it.
    name: What the file says that its network is, such as 'cifar_resnet110'.
    key: What the names of the weights begin with, where there are several.

  Raises:
    ImportFailure: If that is another architecture.
  """
  known: dict[str, Any] = dict(
    RESNET110 if architecture is CIFARResNet else RESNET50
  )
  if name is not None:
    pattern = (
      r'cifar\d*_resnet(\d+)' if architecture is CIFARResNet else r'resnet\d+'
    )
    match = re.fullmatch(pattern, str(name))
    if not match:
      raise ImportFailure(
        f'{source} holds a network {name!r}, which is no'
        f' {architecture.__name__}'
      )
    if architecture is CIFARResNet:
      known['depth'] = int(match[1])
  prefix = wrappers.prefix_of(arrays, 'conv1.weight', source=source, key=key)
  if key:
    arrays = {n: array for n, array in arrays.items() if n.startswith(prefix)}
  return Published(
    source=source,
    architecture=architecture,
    sizes=known | dict(sizes or {}),
    arrays=torch_layers.without(arrays, 'num_batches_tracked', 'n_averaged'),
    correspondence=lambda model: correspondence(model, prefix=prefix),
  )


def correspondence(
  model: CIFARResNet | ResNet, *, prefix: str = ''
) -> dict[str, Target]:
  """What each array of a file becomes in a model, in the file's order.

  Args:
    model: The model.
    prefix: What all names in the file begin with.
  """
  layers = 2 if isinstance(model, CIFARResNet) else 3
  targets = torch_layers.convolution(f'{prefix}conv1', ('stem',), bias=False)
  targets |= torch_layers.batch_norm(f'{prefix}bn1', ('stem_norm',))
  for number, (stage, position) in enumerate(_places(_stages(model))):
    name, path = f'{prefix}layer{stage}.{position}', ('blocks', number)
    for layer in range(1, layers + 1):
      targets |= _pair(
        f'{name}.conv{layer}',
        f'{name}.bn{layer}',
        (*path, f'convolution{layer}'),
        (*path, f'norm{layer}'),
      )
    if model.blocks[number].projects:
      targets |= _pair(
        f'{name}.downsample.0',
        f'{name}.downsample.1',
        (*path, 'shortcut'),
        (*path, 'shortcut_norm'),
      )
  return targets | torch_layers.linear(f'{prefix}fc', ('logits',))


def _stages(model: CIFARResNet | ResNet) -> Sequence[int]:
  if isinstance(model, CIFARResNet):
    count = (model.depth - 2) // 6
    return (count,) * (len(model.blocks) // count)
  return model.stages


def _places(stages: Sequence[int]) -> list[tuple[int, int]]:
  """Stage, from 1, and position in it, from 0, of every block."""
  return [
    (stage, position)
    for stage, count in enumerate(stages, 1)
    for position in range(count)
  ]


def _pair(convolution, norm, path, norm_path):
  return torch_layers.convolution(
    convolution, path, bias=False
  ) | torch_layers.batch_norm(norm, norm_path)
