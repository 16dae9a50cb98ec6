"""Reads files of PyTorch as NumPy arrays.

Such a file is a pickle, a program that runs when it is read carelessly. It is
read with `weights_only=True`, which builds tensors and plain containers and
refuses everything else. PyTorch is imported where it is needed, and only here.
"""

import codecs
import contextlib
import importlib
import os
import pathlib
import re
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dualrs_jax import folders
from dualrs_jax.pretrained.matching import ImportFailure

#: Names under which training programs wrap the weights in their checkpoints.
WRAPPERS = ('state_dict', 'model', 'module')


class TorchFile(NamedTuple):
  """What a file of PyTorch holds.

  Attributes:
    arrays: The weights by name, in the order of the file.
    notes: The plain entries beside them, such as 'epoch' and 'arch'.
  """

  arrays: dict[str, np.ndarray]
  notes: dict[str, str | int | float]


def read_torch(path: str | os.PathLike) -> TorchFile:
  """Reads a .pt, .pth, .pth.tar or .bin file, zipped or of the older kind.

  Nothing in the file is executed. Tensors of a GPU are read to the CPU, those
  of 16 bits become float32, and optimizer state is left out.

  Args:
    path: the file.

  Raises:
    ImportFailure: the file is something else, cut short, holds objects other
      than tensors and plain containers, or PyTorch is not installed.
  """
  path = folders.expand(path)
  refuse_other_files(path)
  content = _load(path)
  notes = {}
  while isinstance(content, Mapping):
    notes |= {
      name: value
      for name, value in content.items()
      if isinstance(value, str | int | float)
    }
    inner = [
      name for name in WRAPPERS if isinstance(content.get(name), Mapping)
    ]
    if not inner:
      break
    content = content[inner[0]]
  if not isinstance(content, Mapping):
    raise ImportFailure(
      f'{path} holds a {type(content).__name__}, not a dictionary of tensors'
    )
  arrays = {
    str(name): _array(value, f'{path}: {name}')
    for name, value in content.items()
    if hasattr(value, 'numpy')
  }
  if not arrays:
    others = ', only ' + ', '.join(map(str, content)) if content else ''
    raise ImportFailure(f'{path} holds no tensors{others}')
  return TorchFile(arrays, notes)


def refuse_other_files(path: pathlib.Path) -> None:
  """Refuses what is often saved under the name of a checkpoint.

  Raises:
    ImportFailure: the file is missing, empty, a web page or a stand-in for a
      file that was not fetched.
  """
  if path.is_dir():
    raise ImportFailure(f'{path} is a folder: give the file that is in it')
  if not path.is_file():
    raise ImportFailure(f'there is no file {path}')
  with path.open('rb') as file:
    start = file.read(512).removeprefix(codecs.BOM_UTF8).lstrip().lower()
  if not start:
    raise ImportFailure(f'{path} is empty')
  if start.startswith((b'<!doctype', b'<!--', b'<html', b'<?xml', b'<head')):
    raise ImportFailure(
      f'{path} is a web page, not a checkpoint; download the file itself'
    )
  if start.startswith(b'version https://git-lfs'):
    raise ImportFailure(
      f'{path} is a pointer of Git LFS, not a checkpoint; run `git lfs pull`'
    )


def _load(path: pathlib.Path) -> Any:
  """What the pickle holds, without executing any of it."""
  try:
    torch = importlib.import_module('torch')
  except ModuleNotFoundError:
    raise ImportFailure(
      f'{path} is a file of PyTorch, which reading needs once:'
      " pip install 'dualrs-jax[torch]'"
    ) from None
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # on pickles of unusual protocols
      return torch.load(path, weights_only=True, map_location='cpu')
  except Exception as error:  # the kinds differ with format, damage, version
    reason = str(error)
  raise ImportFailure(f'{path} {_fault(path, reason)}')


def _fault(path: pathlib.Path, reason: str) -> str:
  """What is wrong with a file that PyTorch did not read, for this reason."""
  refused = re.search(r'[Uu]nsupported (?:global: )?GLOBAL ([\w.]+)', reason)
  if refused:
    return (
      f'holds {refused[1]} besides tensors, which would be code to execute,'
      ' so it is not read; save its state_dict alone'
    )
  if 'TorchScript' in reason:
    return (
      'is a TorchScript program, which would be code to execute, so it is not'
      ' read; save its state_dict alone'
    )
  with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as file:
    if not any(name.endswith('data.pkl') for name in file.namelist()):
      return 'is a zip archive, but no file of PyTorch'
  with path.open('rb') as file:
    known = file.read(2) in (b'PK', b'\x80\x02')
  return 'is cut short or damaged' if known else 'is not a file of PyTorch'


def _array(tensor: Any, name: str) -> np.ndarray:
  try:
    if tensor.is_floating_point():
      tensor = tensor.float()
    return tensor.detach().contiguous().numpy()
  except (RuntimeError, TypeError) as error:  # sparse, quantized, too large
    reason = str(error).partition('\n')[0]
    raise ImportFailure(f'{name} is no plain array ({reason})') from error
