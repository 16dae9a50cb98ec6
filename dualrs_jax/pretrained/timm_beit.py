"""Importer of BEiT as timm and its authors at Microsoft publish it.

The weights come as model.safetensors, usually in a folder with a config.json
that names the model and its normalisation but not its dimensions, or as the
authors' .pth file. The two have the same names.

References:
  https://huggingface.co/timm/beit_large_patch16_512.in22k_ft_in22k_in1k
  https://github.com/microsoft/unilm/tree/master/beit
"""

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from dualrs_jax import folders
from dualrs_jax.models import BEiT, inference_view
from dualrs_jax.models.beit import LARGE16_IMAGENET
from dualrs_jax.pretrained import matching, torch_layers, weights, wrappers
from dualrs_jax.pretrained.huggingface_config import read_json
from dualrs_jax.pretrained.matching import ImportFailure, Published, Target

#: The one model whose dimensions are known by its name.
_NAME = 'beit_large_patch16_512'


def load(
  path: str | os.PathLike,
  sizes: Mapping[str, Any] | None = None,
  *,
  dtype: Any = jnp.float32,
) -> BEiT:
  """Reads a classifier, ready for votes.

  Args:
    path: The folder, or the file with the weights.
    sizes: Arguments of `models.BEiT` that differ from those of
      beit_large_patch16_512.
    dtype: Of the matrix products, see `models.BEiT`.

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
  """Reads the files of a classifier, see `load`.

  Args:
    path: As in `load`.
    sizes: As in `load`.
    key: Which weights, where the file holds several, see `wrappers`.
  """
  path = folders.expand(path)
  if path.is_dir():
    path = weights.find(path)
  file = weights.read(path, key=key)
  arrays = wrappers.without_prefix(
    file.arrays, 'blocks.0.attn.qkv.weight', source=str(path), key=file.key
  )
  return Published(
    source=str(path),
    architecture=BEiT,
    sizes={
      **LARGE16_IMAGENET,
      **_described(path.parent, sizes),
      **(sizes or {}),
    },
    arrays=torch_layers.without(arrays, 'relative_position_index'),
    correspondence=correspondence,
  )


def correspondence(model: BEiT) -> dict[str, Target | tuple[Target, ...]]:
  """What each array of a file becomes in a model, in the file's order."""
  targets: dict[str, Target | tuple[Target, ...]] = {
    'cls_token': Target(('patches', 'class_token'), torch_layers.as_it_is),
    **torch_layers.convolution('patch_embed.proj', ('patches', 'projection')),
  }
  for number in range(len(model.blocks)):
    name, path = f'blocks.{number}', ('blocks', number)
    attention = (*path, 'attention')
    for published, place in {
      'gamma_1': (*path, 'scale1'),
      'gamma_2': (*path, 'scale2'),
      'attn.q_bias': (*attention, 'query', 'bias'),
      'attn.v_bias': (*attention, 'value', 'bias'),
      'attn.relative_position_bias_table': (*path, 'table'),
    }.items():
      targets[f'{name}.{published}'] = Target(place, torch_layers.as_it_is)
    targets[f'{name}.attn.qkv.weight'] = tuple(
      Target((*attention, part, 'kernel'), _third(position))
      for position, part in enumerate(('query', 'key', 'value'))
    )
    targets |= torch_layers.norm(f'{name}.norm1', (*path, 'norm1'))
    targets |= torch_layers.linear(f'{name}.attn.proj', (*attention, 'output'))
    targets |= torch_layers.norm(f'{name}.norm2', (*path, 'norm2'))
    for published, layer in (('fc1', 'hidden'), ('fc2', 'output')):
      targets |= torch_layers.linear(
        f'{name}.mlp.{published}', (*path, 'layers', layer)
      )
  return (
    targets
    | torch_layers.norm('fc_norm', ('norm',))
    | torch_layers.linear('head', ('logits',))
  )


def _described(
  folder: pathlib.Path, sizes: Mapping[str, Any] | None
) -> dict[str, Any]:
  """What config.json says, if it is there."""
  path = folder / 'config.json'
  if not path.exists():
    return {}
  settings = read_json(path)
  name = settings.get('architecture', _NAME)
  if name != _NAME and not sizes:
    raise ImportFailure(
      f'{folder} holds the model {name!r}, not {_NAME!r}: give'
      ' the sizes that differ (--sizes)'
    )
  found: dict[str, Any] = {}
  try:
    images = dict(settings.get('pretrained_cfg', {}))
    if 'num_classes' in settings:
      found['num_classes'] = settings['num_classes']
    if 'input_size' in images:
      channels, height, width = images['input_size']
      found['image_shape'] = (height, width, channels)
    for ours, theirs in (('mean', 'mean'), ('deviation', 'std')):
      if theirs in images:
        found[ours] = tuple(images[theirs])
  except (TypeError, ValueError):
    raise ImportFailure(
      f'{path} has another pretrained_cfg than timm writes'
    ) from None
  return found


def _third(position: int) -> Callable[[np.ndarray], np.ndarray]:
  """Query, key or value, of the three that are stacked in one array."""
  return lambda array: np.split(array, 3)[position].T
