"""Published models after conversion: a checkpoint of this library, described.

A folder holds the weights as `checkpoints` saves them, and model.json, which
says what they are. Neither PyTorch nor the published file is needed again.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dualrs_jax import checkpoints, folders, models
from dualrs_jax.pretrained import matching, shards
from dualrs_jax.pretrained.matching import ImportFailure

#: The architectures of published files, under the names of model.json: those
#: of `models`, and the network of denoisers, which classifies nothing and has
#: no name there.
ARCHITECTURES: Mapping[str, Any] = {
  **{
    name: models.ARCHITECTURES[name]
    for name in ('beit', 'cifar_resnet', 'resnet', 'vit')
  },
  'diffusion_unet': models.DiffusionUNet,
}

_DESCRIPTION = 'model.json'


def save(
  directory: str | os.PathLike,
  model: nnx.Module,
  sizes: Mapping[str, Any],
  *,
  source: str,
) -> dict[str, Any]:
  """Saves an imported model for `load` and `checkpoints.load_model`.

  Args:
    directory: where to; it must not hold a model yet.
    model: the model.
    sizes: the arguments of its architecture, without `rngs` and `dtype`.
    source: the file that the weights are from, or the index of several.

  Returns:
    What model.json says: architecture, sizes, number of parameters, source
    and its SHA-256; of several files, that of the SHA-256 of each of them, as
    bytes, behind that of the index.

  Raises:
    FileExistsError: the directory holds a model.
  """
  refuse_occupied(directory)
  directory = folders.expand(directory)
  names = {kind: name for name, kind in ARCHITECTURES.items()}
  description = {
    'architecture': names[type(model)],
    'sizes': dict(sizes),
    'parameters': number_of_parameters(model),
    'source': pathlib.Path(source).name,
    'sha256': _digest(folders.expand(source)),
  }
  state = {checkpoints.MODEL: checkpoints.model_state(model)}
  with checkpoints.Saver(directory, keep=1) as saver:
    saver.save(0, state, description)
  # Written last: a folder with it is complete.
  unfinished = directory / f'{_DESCRIPTION}.unfinished'
  unfinished.write_text(json.dumps(description, indent=2) + '\n')
  os.replace(unfinished, directory / _DESCRIPTION)
  return description


def _digest(source: pathlib.Path) -> str:
  several = shards.files(source) if source.name.endswith(shards.ENDING) else []
  digests = []
  for path in (source, *several):
    with path.open('rb') as file:
      digests.append(hashlib.file_digest(file, 'sha256'))
  if not several:
    return digests[0].hexdigest()
  return hashlib.sha256(b''.join(d.digest() for d in digests)).hexdigest()


def refuse_occupied(directory: str | os.PathLike) -> None:
  """Refuses a folder to which a model was saved.

  Args:
    directory: the folder, which need not exist.

  Raises:
    FileExistsError: it holds a model, whole or not, or is no folder.
  """
  path = folders.expand(directory)
  if path.exists() and not path.is_dir():
    raise FileExistsError(f'{directory} is no folder: give a new one')
  if not checkpoints.steps(directory):
    return
  if (folders.expand(directory) / _DESCRIPTION).exists():
    raise FileExistsError(
      f'{directory} holds a model already: give a new folder, or remove the'
      ' folder'
    )
  raise FileExistsError(
    f'{directory} holds a conversion that was interrupted: remove the folder'
  )


def describe(directory: str | os.PathLike) -> dict[str, Any]:
  """What model.json says, see `save`.

  Args:
    directory: the folder of a converted model.

  Raises:
    ImportFailure: it is none, or model.json is not that of the weights.
  """
  path = folders.expand(directory) / _DESCRIPTION
  meta = checkpoints.newest_meta(directory)
  try:
    description = json.loads(path.read_bytes())
    known = description['architecture'] in ARCHITECTURES
    same = meta is None or meta == description
    description['sizes'] = {
      name: tuple(value) if isinstance(value, list) else value
      for name, value in description['sizes'].items()
    }
  except (OSError, ValueError, LookupError, TypeError, AttributeError):
    known = same = False
  if known and same:
    return description
  if meta is None:
    raise ImportFailure(
      f'{directory} holds no converted model; make one with'
      ' `python -m dualrs_jax.pretrained`, see docs/pretrained.md, or, where it'
      ' is to be the checkpoints of a stage, train that stage first'
    )
  raise ImportFailure(
    f'{path} is not the description of the weights beside it: put its own back,'
    ' or remove the folder and convert the model again'
  )


def load(directory: str | os.PathLike, *, dtype: Any = jnp.float32) -> Any:
  """Reads a converted model, ready for votes.

  Args:
    directory: the folder.
    dtype: of the activations; parameters are float32 in any case.

  Returns:
    A model of the architecture that was saved.

  Raises:
    ImportFailure: the folder holds no converted model.
    dualrs_jax.checkpoints.CheckpointError: its weights are damaged.
  """
  description = describe(directory)
  architecture = ARCHITECTURES[description['architecture']]
  abstract = matching.abstract(architecture, description['sizes'], dtype=dtype)
  return models.inference_view(checkpoints.load_model(directory, abstract))


def number_of_parameters(model: nnx.Module) -> int:
  """The number of entries of all parameters, without stored statistics."""
  return sum(
    int(np.prod(leaf.shape))
    for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))
  )
