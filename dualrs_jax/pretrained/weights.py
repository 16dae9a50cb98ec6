"""Weights in any form: safetensors, files of PyTorch, or several of a kind."""

import os
import pathlib

from dualrs_jax import folders
from dualrs_jax.pretrained import shards, torch_files
from dualrs_jax.pretrained.matching import ImportFailure
from dualrs_jax.pretrained.safetensors import read_safetensors
from dualrs_jax.pretrained.torch_files import TorchFile

#: What a folder's weights are called, the preferred name first.
NAMES = ('model.safetensors', 'pytorch_model.bin')


def find(folder: str | os.PathLike) -> pathlib.Path:
  """The file with the weights in a folder, or the index of several.

  Raises:
    ImportFailure: there is none.
  """
  folder = folders.expand(folder)
  for name in NAMES:
    for path in (folder / name, folder / f'{name}{shards.ENDING}'):
      if path.is_file():
        return path
  others = sorted(path.name for path in folder.glob('*.safetensors'))
  there = f', only {", ".join(others)}' if others else ''
  raise ImportFailure(
    f'{folder} holds neither {" nor ".join(NAMES)}, nor an index of'
    f' several{there}'
  )


def read(path: str | os.PathLike, *, key: str | None = None) -> TorchFile:
  """Reads a file, or all files of an index.

  Args:
    path: the file; its ending says what it is.
    key: which entry, where several of a file of PyTorch hold weights.

  Raises:
    ImportFailure: in one sentence, what is wrong with it.
  """
  path = folders.expand(path)
  name = path.name
  if name.endswith(shards.ENDING):
    reader = lambda shard: read(shard).arrays
    return TorchFile(shards.read(path, reader), {}, key)
  if name.endswith('.safetensors'):
    return TorchFile(read_safetensors(path), {}, key)
  return torch_files.read_torch(path, key=key)
