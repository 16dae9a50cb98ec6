"""What a checkpoint says of itself, beside its arrays."""

import os
import pathlib
import re
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dualrs_jax import folders

#: The item that holds the weights; `load_model` reads no other.
MODEL = 'model'
#: The item that holds the description.
DESCRIPTION = 'description'


class CheckpointError(Exception):
  """A checkpoint is missing, damaged, of another architecture, or not saved."""


def model_state(model: nnx.Module) -> dict[str, Any]:
  """The arrays of a model, as the item 'model' of a checkpoint holds them."""
  _, parameters, rest = nnx.split(model, nnx.Param, ...)
  return {'parameters': parameters, 'rest': rest}


def absolute(directory: str | os.PathLike) -> pathlib.Path:
  """The path as Orbax wants it."""
  return folders.expand(directory).absolute()


def steps(directory: str | os.PathLike) -> list[int]:
  """The steps of the complete checkpoints in a directory, newest first."""
  path = absolute(directory)
  if not path.is_dir():
    return []
  found = (int(p.name) for p in path.iterdir() if p.name.isdecimal())
  return sorted(found, reverse=True)


def describe(tree: Any, *, checksum: bool = True) -> dict[str, str]:
  """Dtype, shape and checksum of each array, by its path in the tree."""
  described = {}
  for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
    text = f'{leaf.dtype}[{",".join(map(str, leaf.shape))}]'
    if checksum:
      if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
      text += f' {zlib.crc32(np.asarray(leaf).tobytes()):08x}'
    described[jax.tree_util.keystr(path, simple=True, separator='.')] = text
  return described


def check_architecture(
  path: pathlib.Path, saved: Mapping[str, str], wanted: Mapping[str, str]
) -> None:
  """Raises CheckpointError unless the arrays are those that are wanted."""
  for array in [*wanted, *(name for name in saved if name not in wanted)]:
    there = saved.get(array, 'missing').split(' ')[0]
    here = wanted.get(array, 'missing')
    if there != here:
      raise CheckpointError(
        f'checkpoint {path} is of another architecture: {array} is {there}'
        f' there and {here} here'
      )


def system_error(error: BaseException) -> int | None:
  """The number that the operating system gave an error, if it did."""
  if isinstance(error, OSError):
    return error.errno
  found = re.search(r"os_error_code='(\d+)'", str(error))  # tensorstore's
  return int(found[1]) if found else None
