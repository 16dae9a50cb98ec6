"""Importer of OpenAI's diffusion models.

A file is a dictionary of tensors without any description, written by the
improved-diffusion or the guided-diffusion code. The sizes are known for the
two published models that denoised smoothing uses; those of others are given.

References:
  https://github.com/openai/improved-diffusion (cifar10_uncond_50M_500K.pt)
  https://github.com/openai/guided-diffusion (256x256_diffusion_uncond.pt)
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from dualrs_jax.models import (
  diffusion_blocks,
  diffusion_unet,
  inference_view,
)
from dualrs_jax.models.diffusion_unet import DiffusionUNet
from dualrs_jax.pretrained import matching, torch_layers, weights, wrappers
from dualrs_jax.pretrained.matching import ImportFailure, Published, Target

#: Sizes of the published models, by the names of their files.
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
  'cifar10_uncond_50M_500K': diffusion_unet.CIFAR10,
  '256x256_diffusion_uncond': diffusion_unet.IMAGENET256,
}

#: An array that each file has.
_FIRST = 'time_embed.0.weight'

#: Published names of the layers of each kind of block.
_LAYERS = {
  diffusion_blocks.ResidualBlock: {
    'in_layers.0': 'norm1',
    'in_layers.2': 'convolution1',
    'emb_layers.1': 'embedding',
    'out_layers.0': 'norm2',
    'out_layers.3': 'convolution2',
    'skip_connection': 'shortcut',
  },
  diffusion_blocks.AttentionBlock: {
    'norm': 'norm',
    'qkv': 'projection',
    'proj_out': 'output',
  },
  diffusion_blocks.Downsample: {'op': 'convolution'},
  diffusion_blocks.Upsample: {'conv': 'convolution'},
}


def load(
  path: str | os.PathLike,
  sizes: Mapping[str, Any] | None = None,
  *,
  dtype: Any = jnp.float32,
) -> DiffusionUNet:
  """Reads a model from the .pt file that OpenAI published.

  Args:
    path: The file.
    sizes: The arguments of `models.DiffusionUNet`; they need not be given for
      the published models of `PUBLISHED`.
    dtype: Of the activations, see `models.DiffusionUNet`.

  Raises:
    ImportFailure: In one sentence, that the file is something else, or which
      of its arrays are missing, unexpected or of another shape.
  """
  return inference_view(matching.build(read(path, sizes), dtype=dtype))


def read(
  path: str | os.PathLike,
  sizes: Mapping[str, Any] | None = None,
  *,
  key: str | None = None,
) -> Published:
  """Reads the file of a model, see `load`.

  Args:
    path: As in `load`.
    sizes: As in `load`.
    key: Which weights, where the file holds several, see `wrappers`.
  """
  file = weights.read(path, key=key)
  arrays = wrappers.without_prefix(
    file.arrays, _FIRST, source=str(path), key=file.key
  )
  return from_arrays(arrays, sizes, source=str(path))


def from_arrays(
  arrays: Mapping[str, np.ndarray],
  sizes: Mapping[str, Any] | None = None,
  *,
  source: str,
) -> Published:
  """The checkpoint that arrays of a file make, see `load`.

  Args:
    arrays: The arrays by their published names.
    sizes: As in `load`.
    source: The file, as messages are to name it.
  """
  return Published(
    source=source,
    architecture=DiffusionUNet,
    sizes=sizes or published_sizes(arrays, source=source),
    arrays=arrays,
    correspondence=correspondence,
  )


def published_sizes(
  arrays: Mapping[str, np.ndarray], *, source: str
) -> Mapping[str, Any]:
  """The sizes of the published model of the same width and output.

  Raises:
    ImportFailure: If there is none.
  """
  name = _FIRST
  if name not in arrays:
    raise ImportFailure(
      f"{source} is no diffusion model of OpenAI's: it has no array {name}"
    )
  shape = arrays[name].shape
  for sizes in PUBLISHED.values():
    if shape == (4 * sizes['width'], sizes['width']):
      return sizes
  raise ImportFailure(
    f'{source} is none of the published models {", ".join(PUBLISHED)}: its'
    f' {name} has shape {shape}; give all sizes of the model (--sizes)'
  )


def correspondence(model: DiffusionUNet) -> dict[str, Target]:
  """What each array of a file becomes in a model, in the file's order."""
  targets: dict[str, Target] = {}
  for name, path, layer in _layers(model):
    if isinstance(layer, nnx.Conv):
      targets |= torch_layers.convolution(name, path)
    elif isinstance(layer, nnx.GroupNorm):
      targets |= torch_layers.norm(name, path)
    elif name.endswith(('.qkv', '.proj_out')):
      # Linear, but written as a convolution over one axis.
      targets[f'{name}.weight'] = Target((*path, 'kernel'), _pointwise)
      targets[f'{name}.bias'] = Target((*path, 'bias'), torch_layers.as_it_is)
    else:
      targets |= torch_layers.linear(name, path)
  return targets


def _layers(
  model: DiffusionUNet,
) -> Iterator[tuple[str, torch_layers.Path, nnx.Module]]:
  """Published name, path and module of every layer with weights."""
  yield 'time_embed.0', ('embedding1',), model.embedding1
  yield 'time_embed.2', ('embedding2',), model.embedding2
  for i, steps in enumerate(model.input_blocks):
    for j, block in enumerate(steps):
      name, path = f'input_blocks.{i}.{j}', ('input_blocks', i, j)
      yield from _layers_of_block(name, path, block)
  for i, block in enumerate(model.middle_block):
    yield from _layers_of_block(f'middle_block.{i}', ('middle_block', i), block)
  for i, steps in enumerate(model.output_blocks):
    for j, block in enumerate(steps):
      name, path = f'output_blocks.{i}.{j}', ('output_blocks', i, j)
      yield from _layers_of_block(name, path, block)
  yield 'out.0', ('norm',), model.norm
  yield 'out.2', ('convolution',), model.convolution


def _layers_of_block(name, path, block):
  if isinstance(block, nnx.Conv):
    yield name, path, block
    return
  for published, attribute in _LAYERS[type(block)].items():
    if hasattr(block, attribute):
      layer = getattr(block, attribute)
      yield f'{name}.{published}', (*path, attribute), layer


def _pointwise(array):
  return np.squeeze(array, axis=-1).T
