"""Importer of image classifiers in folders of Hugging Face: ViT and BEiT.

A folder holds config.json with the sizes, the weights in model.safetensors or
in the older pytorch_model.bin, which alone needs PyTorch, or in several files
of either kind with an index, and usually
preprocessor_config.json with the normalisation of the images.

References:
  https://huggingface.co/docs/transformers/model_doc/vit
  https://huggingface.co/docs/transformers/model_doc/beit
"""

import os
from collections.abc import Collection, Mapping
from typing import Any

import jax.numpy as jnp

from dualrs_jax import folders
from dualrs_jax.models import BEiT, ViT, inference_view
from dualrs_jax.pretrained import (
  huggingface_config,
  matching,
  torch_layers,
  weights,
  wrappers,
)
from dualrs_jax.pretrained.matching import ImportFailure, Published, Target

_QKV = ('query', 'key', 'value')


def load(
  folder: str | os.PathLike,
  sizes: Mapping[str, Any] | None = None,
  *,
  dtype: Any = jnp.float32,
) -> ViT | BEiT:
  """Reads a classifier, ready for votes.

  Args:
    folder: The folder with config.json and the weights.
    sizes: Arguments of the architecture that are to differ from what the
      folder says, such as `mean` and `deviation`.
    dtype: Of the matrix products, see `models.ViT`.

  Raises:
    ImportFailure: In one sentence, that the folder holds something else, or
      which arrays are missing, unexpected or of another shape.
  """
  return inference_view(matching.build(read(folder, sizes), dtype=dtype))


def read(
  folder: str | os.PathLike,
  sizes: Mapping[str, Any] | None = None,
  *,
  key: str | None = None,
) -> Published:
  """Reads the files of a classifier, see `load`.

  Args:
    folder: As in `load`.
    sizes: As in `load`.
    key: Which weights, where the files hold several, see `wrappers`.
  """
  folder = folders.expand(folder)
  if not folder.is_dir():
    raise ImportFailure(
      f'{folder} is no folder: give the one that holds config.json and the'
      ' weights'
    )
  family, known = huggingface_config.read(folder)
  path = weights.find(folder)
  file = weights.read(path, key=key)
  arrays = wrappers.without_prefix(
    file.arrays,
    f'{family}.embeddings.cls_token',
    source=str(path),
    key=file.key,
  )
  vit = family == 'vit'
  return Published(
    source=str(path),
    architecture=ViT if vit else BEiT,
    sizes=known | dict(sizes or {}),
    arrays=torch_layers.without(arrays, 'relative_position_index'),
    correspondence=vit_correspondence if vit else beit_correspondence,
  )


def vit_correspondence(model: ViT) -> dict[str, Target]:
  """What each array of a file becomes in a ViT."""
  targets = _patches('vit') | {
    'vit.embeddings.position_embeddings': Target(
      ('positions',), torch_layers.as_it_is
    )
  }
  for number in range(len(model.blocks)):
    name = f'vit.encoder.layer.{number}'
    targets |= _block(name, number, biases=_QKV if model.qkv_bias else ())
  return (
    targets
    | torch_layers.norm('vit.layernorm', ('norm',))
    | torch_layers.linear('classifier', ('logits',))
  )


def beit_correspondence(model: BEiT) -> dict[str, Target]:
  """What each array of a file becomes in a BEiT."""
  targets = _patches('beit')
  for number in range(len(model.blocks)):
    name, path = f'beit.encoder.layer.{number}', ('blocks', number)
    targets |= _block(name, number, biases=('query', 'value'))
    for published, attribute in {
      'attention.attention.relative_position_bias.'
      'relative_position_bias_table': 'table',
      'lambda_1': 'scale1',
      'lambda_2': 'scale2',
    }.items():
      target = Target((*path, attribute), torch_layers.as_it_is)
      targets[f'{name}.{published}'] = target
  return (
    targets
    | torch_layers.norm('beit.pooler.layernorm', ('norm',))
    | torch_layers.linear('classifier', ('logits',))
  )


def _patches(family: str) -> dict[str, Target]:
  embeddings = f'{family}.embeddings'
  return {
    f'{embeddings}.cls_token': Target(
      ('patches', 'class_token'), torch_layers.as_it_is
    ),
    **torch_layers.convolution(
      f'{embeddings}.patch_embeddings.projection', ('patches', 'projection')
    ),
  }


def _block(
  name: str, number: int, *, biases: Collection[str]
) -> dict[str, Target]:
  path = ('blocks', number)
  attention, linear = f'{name}.attention', torch_layers.linear
  targets = torch_layers.norm(f'{name}.layernorm_before', (*path, 'norm1'))
  for part in _QKV:
    targets |= linear(
      f'{attention}.attention.{part}',
      (*path, 'attention', part),
      bias=part in biases,
    )
  return {
    **targets,
    **linear(f'{attention}.output.dense', (*path, 'attention', 'output')),
    **torch_layers.norm(f'{name}.layernorm_after', (*path, 'norm2')),
    **linear(f'{name}.intermediate.dense', (*path, 'layers', 'hidden')),
    **linear(f'{name}.output.dense', (*path, 'layers', 'output')),
  }
