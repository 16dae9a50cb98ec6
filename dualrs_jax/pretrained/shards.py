"""Weights in several files, and the index that says which array is where."""

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from dualrs_jax import folders
from dualrs_jax.pretrained.huggingface_config import read_json
from dualrs_jax.pretrained.matching import ImportFailure

#: How the names of files end that list those of a model.
ENDING = '.index.json'

#: Reads one file: its arrays by their names.
Reader = Callable[[pathlib.Path], Mapping[str, Any]]


def files(index: str | os.PathLike) -> list[pathlib.Path]:
  """The files that an index names, in the order of their names.

  Raises:
    ImportFailure: it is no index, or a file that it names is missing.
  """
  index = folders.expand(index)
  shards = [index.parent / name for name in sorted(set(_map(index).values()))]
  missing = [shard.name for shard in shards if not shard.is_file()]
  if missing:
    raise ImportFailure(
      f'{index} names {len(shards)} files, of which {len(missing)} are missing:'
      f' {", ".join(missing)}'
    )
  return shards


def read(index: str | os.PathLike, reader: Reader) -> dict[str, Any]:
  """The arrays of all files that an index names.

  Args:
    index: such as model.safetensors.index.json.
    reader: of one file.

  Raises:
    ImportFailure: as `files`; or a file holds other arrays than the index says.
  """
  index = folders.expand(index)
  where, arrays = _map(index), {}
  for shard in files(index):
    found = reader(shard)
    expected = {name for name, file in where.items() if file == shard.name}
    for what, names in (
      ('lacks', expected - found.keys()),
      ('also holds', found.keys() - expected),
    ):
      if names:
        raise ImportFailure(
          f'{shard} {what} {", ".join(sorted(names))}, other than'
          f' {index.name} says'
        )
    arrays |= found
  return {name: arrays[name] for name in where}


def _map(index: pathlib.Path) -> dict[str, str]:
  """The file of each array."""
  where = read_json(index).get('weight_map')
  if not isinstance(where, dict) or not where:
    raise ImportFailure(f'{index} has no weight_map, so it is no index')
  for name, file in where.items():
    if not isinstance(file, str) or pathlib.PurePath(file).name != file:
      raise ImportFailure(
        f'{index} has {name} in {file!r}, which is no file beside it'
      )
    if file.endswith(ENDING):
      raise ImportFailure(
        f'{index} has {name} in {file!r}, which is an index and no weights:'
        ' download the index again'
      )
  return where
