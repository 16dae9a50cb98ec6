"""Reads files of PyTorch as NumPy arrays.

Such a file is a pickle, a program that runs when it is read carelessly. It is
read with `weights_only=True`, which builds tensors and plain containers and
refuses everything else. PyTorch is imported where it is needed, and only here.
"""

import codecs
import contextlib
import errno
import importlib
import os
import pathlib
import re
import warnings
import zipfile
import zlib
from typing import Any, NamedTuple

import numpy as np

from dualrs_jax import folders
from dualrs_jax.pretrained import wrappers
from dualrs_jax.pretrained.matching import ImportFailure

#: The scalars of NumPy that are read beside tensors: numbers and truth values.
_SCALARS = '?bhilqBHILQefd'

#: What a file of the older kind begins with, behind its protocol.
_MAGIC = bytes.fromhex('6cfc9c46f9206aa85019')
_MAGIC_TEXT = b'L119547037146038801333356L'

#: How much of a record is in memory while its checksum is computed.
_CHECKED_BYTES = 2**22


class TorchFile(NamedTuple):
  """What a file of PyTorch holds.

  Attributes:
    arrays: The weights by name, in the order of the file.
    notes: The plain entries beside them, such as 'epoch' and 'arch'.
    key: The key that was asked for, if no entry has it: it may be a prefix.
  """

  arrays: dict[str, np.ndarray]
  notes: dict[str, str | int | float]
  key: str | None = None


def read_torch(path: str | os.PathLike, *, key: str | None = None) -> TorchFile:
  """Reads a .pt, .pth, .pth.tar or .bin file, zipped or of the older kind.

  Nothing in the file is executed. Tensors of a GPU are read to the CPU, those
  of 16 bits become float32, and optimizer state is left out.

  Args:
    path: the file.
    key: which of its entries, where several hold weights, see
      `wrappers.unwrap`.

  Raises:
    ImportFailure: the file is something else, cut short, damaged where it has
      checksums, holds objects other than tensors and plain containers, or
      PyTorch is not installed; or several entries would do.
  """
  path = folders.expand(path)
  refuse_other_files(path)
  content, notes, key = wrappers.unwrap(_load(path), path, key=key)
  arrays = {
    str(name): _array(value, f'{path}: {name}')
    for name, value in content.items()
    if hasattr(value, 'numpy')
  }
  return TorchFile(arrays, notes, key)


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
  _check_checksums(path)
  try:
    with warnings.catch_warnings(), _allowed(torch):
      warnings.simplefilter('ignore')  # on pickles of unusual protocols
      return torch.load(path, weights_only=True, map_location='cpu')
  except Exception as error:  # the kinds differ with format, damage, version
    reason = str(error)
  raise ImportFailure(f'{path} {_fault(path, reason)}')


def _check_checksums(path: pathlib.Path) -> None:
  """Compares the checksums of a zipped file, which PyTorch does not.

  A file of the older kind has none, nor has one that was saved after
  `torch.serialization.set_crc32_options(False)`, where they are 0.

  Raises:
    ImportFailure: one of its records is not what was saved.
  """
  with path.open('rb') as file:
    if file.read(2) != b'PK':
      return
  try:
    archive = zipfile.ZipFile(path)
  except (zipfile.BadZipFile, ValueError, NotImplementedError):
    return  # PyTorch does not read it either
  with archive:
    for member in archive.infolist():
      if not member.CRC:
        continue
      try:
        with archive.open(member) as record:
          while record.read(_CHECKED_BYTES):
            pass
      except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        reason = ' '.join(f'{error}'.split()) or type(error).__name__
      except OSError as error:
        if error.errno != errno.EINVAL:
          raise  # says nothing of what was saved
        reason = 'a record begins before the file does'
      except (NotImplementedError, RuntimeError):  # no compression of PyTorch's
        return
      else:
        continue
      raise ImportFailure(
        f'{path} is damaged ({reason}): copy or download it again'
      )


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
  if 'legacy .tar format' in reason:
    return (
      'is in the tar format of early versions, which is not read; save it again'
      ' with torch.save'
    )
  with path.open('rb') as file:
    start = file.read(64)
  if start.startswith(b'\x1f\x8b'):
    return 'is compressed by gzip; unpack it'
  try:
    of_torch, start = _first_pickle(path, start)
  except Exception:  # the kinds differ with the bytes
    return 'is cut short or damaged'
  pickled = re.match(rb'\x80([\x01-\x05])', start)
  protocol = pickled[1][0] if pickled else 0
  if not of_torch:
    if start.startswith(b'PK'):
      return 'is a zip archive, but no file of PyTorch'
    if pickled:
      return (
        'is a pickle, but not of torch.save, or cut short or damaged; save its'
        ' state_dict with torch.save'
      )
    return 'is not a file of PyTorch'
  unread = protocol not in (2, 3) or 'Unsupported operand' in reason
  if protocol != 2 and unread:
    return (
      f'is pickled by protocol {protocol or "0 or 1"}, which is not read; load'
      ' it in PyTorch and save it again with torch.save, without'
      ' pickle_protocol'
    )
  return 'is cut short or damaged'


def _first_pickle(path: pathlib.Path, start: bytes) -> tuple[bool, bytes]:
  """Whether a file is of PyTorch, and what its first pickle begins with.

  Raises:
    Exception: it is a damaged archive.
  """
  if not start.startswith(b'PK'):
    return _MAGIC in start or start.startswith(_MAGIC_TEXT), start
  with zipfile.ZipFile(path) as file:
    for name in file.namelist():
      if name.endswith('data.pkl'):
        with file.open(name) as member:
          return True, member.read(64)
  return False, start


def _allowed(torch: Any) -> contextlib.AbstractContextManager:
  """Lets scalars of NumPy be read, such as the best accuracy so far."""
  module = importlib.import_module('numpy._core.multiarray')
  names = [f'numpy.{core}.multiarray.scalar' for core in ('core', '_core')]
  return torch.serialization.safe_globals(
    [
      *((module.scalar, name) for name in names),
      np.dtype,
      *{type(np.dtype(kind)) for kind in _SCALARS},
    ]
  )


def _array(tensor: Any, name: str) -> np.ndarray:
  try:
    if tensor.is_floating_point():
      tensor = tensor.float()
    return tensor.detach().contiguous().numpy()
  except (RuntimeError, TypeError) as error:  # sparse, quantized, too large
    reason = str(error).partition('\n')[0]
    raise ImportFailure(f'{name} is no plain array ({reason})') from error
