"""Networks that were trained here, by the folder of their checkpoints.

What `train.py` leaves in `checkpoints/single-0.5`, say, can stand where a
converted model can: as an expert, or where another training starts. Such a
folder says what its network is; there is nothing to convert.
"""

import hashlib
import json
import os
from typing import Any

import jax.numpy as jnp
from flax import nnx

from dualrs_jax import checkpoints, models, named
from dualrs_jax.checkpoints import origin
from dualrs_jax.pretrained.matching import ImportFailure


def is_trained(directory: str | os.PathLike) -> bool:
  """Whether a folder has checkpoints of a training, finished or not."""
  return origin.STAGE in (checkpoints.newest_meta(directory) or {})


def describe(
  directory: str | os.PathLike, *, name: str | None = None
) -> dict[str, Any]:
  """What the network of a stage is: `name`, sizes and `dtype`, as in `create`.

  Args:
    directory: Of the checkpoints of a stage.
    name: Where its class is, for one of a file of the user's own: checkpoints
      do not know folders.

  Raises:
    ImportFailure: The checkpoint does not say it, its network was not made
      from a name and sizes, or `name` is missing or names another class.
  """
  found = recorded(directory)
  short = found['name']
  if name is not None and named.short(name) != short:
    raise ImportFailure(
      f'the network in {directory} is of {short}, and not of {name}, which is'
      ' named beside the folder'
    )
  if name is None and named.is_file(short):
    raise ImportFailure(
      f'the network in {directory} is of {short}, and its checkpoint does not'
      ' know in which folder that is: put name = path/to/'
      f'{short} beside the folder in the description of the network'
    )
  return found | ({} if name is None else {'name': name})


def recorded(directory: str | os.PathLike) -> dict[str, Any]:
  """The same as its checkpoint has it: `name` without the folder of a file.

  Args:
    directory: Of the checkpoints of a stage.

  Raises:
    ImportFailure: The checkpoint does not say it, or its network was not made
      from a name and sizes.
  """
  meta = checkpoints.newest_meta(directory) or {}
  role = 'classifier'
  if str(meta.get(origin.STAGE)).startswith('estimator'):
    role = 'estimator'
  try:
    found = dict(meta[origin.SETTINGS]['model'][role])
  except (LookupError, TypeError, ValueError):
    raise ImportFailure(
      f'the checkpoint in {directory} does not say what network it holds: train'
      ' it again with this version, or name a converted model'
    ) from None
  if 'name' not in found:
    raise ImportFailure(
      f'the network in {directory} began as {", ".join(sorted(found))}, and its'
      ' checkpoint does not say of what architecture: only networks that'
      ' model.classifier.name named can be taken from their checkpoints'
    )
  return {
    name: tuple(value) if isinstance(value, list) else value
    for name, value in found.items()
  }


def digest(directory: str | os.PathLike) -> str:
  """A SHA-256 of the newest checkpoint's weights, by their checksums."""
  arrays = checkpoints.newest_arrays(directory)
  return hashlib.sha256(json.dumps(arrays, sort_keys=True).encode()).hexdigest()


def load(
  directory: str | os.PathLike,
  *,
  num_classes: int,
  image_shape: tuple[int, int, int],
  name: str | None = None,
  dtype: Any = None,
) -> nnx.Module:
  """Reads the network of a finished stage, ready for votes.

  Args:
    directory: Of the checkpoints of a stage.
    num_classes: Number of logits.
    image_shape: Height, width and channels of an image.
    name: See `describe`.
    dtype: Of the activations; that of its training by default.

  Raises:
    ImportFailure: See `describe`.
    dualrs_jax.checkpoints.CheckpointError: The training has not ended, the
      weights are damaged, or they are for other images or classes.
  """
  options = describe(directory, name=name)
  if dtype is not None:
    options['dtype'] = jnp.dtype(dtype).name
  network = models.create(
    **options, num_classes=num_classes, image_shape=image_shape, seed=0
  )
  return models.inference_view(checkpoints.load_model(directory, network))
