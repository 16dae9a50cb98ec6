"""Settings in folders of Hugging Face: what sizes a model has, and how it sees.

What the architectures here do not have is refused, so that no model is read
that would quietly compute something else.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from dualrs_jax.pretrained import torch_files
from dualrs_jax.pretrained.matching import ImportFailure

#: What a field that is missing in config.json stands for, in both families.
_DEFAULTS = {
  'hidden_act': 'gelu',
  'hidden_size': 768,
  'image_size': 224,
  'intermediate_size': 3072,
  'layer_norm_eps': 1e-12,
  'num_attention_heads': 12,
  'num_channels': 3,
  'num_hidden_layers': 12,
  'patch_size': 16,
  'qkv_bias': True,
  'use_absolute_position_embeddings': False,
  'use_mean_pooling': True,
  'use_relative_position_bias': False,
  'use_shared_relative_position_bias': False,
}

#: Fields that are positive whole numbers.
_COUNTS = (
  'hidden_size',
  'image_size',
  'intermediate_size',
  'num_attention_heads',
  'num_channels',
  'num_hidden_layers',
  'patch_size',
)

#: Values that the architectures here have built in.
_BUILT_IN = {
  'vit': {'hidden_act': 'gelu'},
  'beit': {
    'hidden_act': 'gelu',
    'use_absolute_position_embeddings': False,
    'use_mean_pooling': True,
    'use_relative_position_bias': True,
    'use_shared_relative_position_bias': False,
  },
}


def read(folder: pathlib.Path) -> tuple[str, dict[str, Any]]:
  """Reads config.json, and preprocessor_config.json if it is there.

  Args:
    folder: The folder of a model.

  Returns:
    The family, 'vit' or 'beit', and the arguments of its architecture.

  Raises:
    ImportFailure: In one sentence, what is missing, or other than here.
  """
  settings = _DEFAULTS | read_json(folder / 'config.json')
  family = settings.get('model_type')
  if family not in tuple(_BUILT_IN):
    raise ImportFailure(
      f'{folder} holds a model of type {family!r}, not one of'
      f' {", ".join(_BUILT_IN)}'
    )
  for name, value in _BUILT_IN[family].items():
    if settings[name] != value:
      raise ImportFailure(
        f'{folder} holds a {family} with {name} = {settings[name]!r}, which'
        f' must be {value!r} here'
      )
  sizes = _sizes(settings, folder)
  if family == 'vit' and not settings['qkv_bias']:
    sizes['qkv_bias'] = False
  return family, sizes


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """Reads a file of settings beside weights.

  Raises:
    ImportFailure: It is missing, or not JSON.
  """
  torch_files.refuse_other_files(path)
  try:
    content = json.loads(path.read_bytes())  # also behind a byte-order mark
  except (ValueError, RecursionError):
    content = None
  if not isinstance(content, dict):
    raise ImportFailure(f'{path} does not hold settings in JSON')
  return content


def _sizes(settings: Mapping[str, Any], folder: pathlib.Path) -> dict[str, Any]:
  """The arguments of the architecture, checked one by one."""
  path = folder / 'config.json'
  labels = settings.get('id2label')
  if not isinstance(labels, dict) or not labels:
    raise ImportFailure(
      f'{path} has no id2label, so {folder} holds no classifier'
    )
  for name in _COUNTS:
    value = settings[name]
    if not isinstance(value, int) or value < 1:
      raise ImportFailure(
        f'{path} has {name} = {value!r}, not a positive whole number'
      )
  epsilon = settings['layer_norm_eps']
  if not (isinstance(epsilon, float) and 0 < epsilon < 1):
    raise ImportFailure(
      f'{path} has layer_norm_eps = {epsilon!r}, not a small positive number'
    )
  side = settings['image_size']
  channels = settings['num_channels']
  mean, deviation = _normalisation(folder, channels)
  return {
    'num_classes': len(labels),
    'image_shape': (side, side, channels),
    'patch': settings['patch_size'],
    'width': settings['hidden_size'],
    'depth': settings['num_hidden_layers'],
    'heads': settings['num_attention_heads'],
    'hidden': settings['intermediate_size'],
    'epsilon': epsilon,
    'mean': mean,
    'deviation': deviation,
  }


def _normalisation(
  folder: pathlib.Path, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Mean and deviation of the images, per channel."""
  path = folder / 'preprocessor_config.json'
  settings = read_json(path) if path.exists() else {}
  factor = settings.get('rescale_factor', 1 / 255)
  usual = isinstance(factor, float) and abs(255 * factor - 1) < 1e-5
  if not (settings.get('do_rescale', True) and usual):
    raise ImportFailure(
      f'{path} does not say that pixels are divided by 255, as they are here'
    )
  if not settings.get('do_normalize', True):
    return (0.0,) * channels, (1.0,) * channels
  mean, deviation = (
    tuple(value) if isinstance(value, list) else (value,) * channels
    for value in (
      settings.get('image_mean', 0.5),
      settings.get('image_std', 0.5),
    )
  )
  return mean, deviation
