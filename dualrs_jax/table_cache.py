"""Tables that take seconds to compute, kept in the user's cache folder.

A file is data without code (no pickle), named by a hash of everything that
its contents depend on, and carries a checksum of them: one that is damaged,
cut short or of another key is computed again. It is written under another
name and renamed, so that processes may share the folder.
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
import pathlib
import secrets
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

from dualrs_jax import folders

logger = logging.getLogger(__name__)

#: Names another folder for the tables.
VARIABLE = 'DUALRS_JAX_CACHE'


def default_folder() -> pathlib.Path | None:
  """`$DUALRS_JAX_CACHE`, else the user's cache folder; None without one."""
  named = os.environ.get(VARIABLE)
  return folders.expand(named) if named else folders.cache()


def cached(
  key: Mapping[str, str | int | list],
  compute: Callable[[], Float[np.ndarray, 'entries']],
  *,
  folder: str | os.PathLike | None = None,
) -> Float[np.ndarray, 'entries']:
  """Reads an array from the cache, or computes and stores it.

  Args:
    key: Everything that the array depends on, with a version of the method.
    compute: Returns the array. It is called where no intact file exists.
    folder: Where the files are; `default_folder()` if None. If there is none,
      or it cannot be written, that is logged once and the array is returned all
      the same.

  Returns:
    A read-only array.
  """
  text = json.dumps(key, sort_keys=True)
  name = hashlib.sha256(text.encode()).hexdigest()[:32] + '.npz'
  path = _path(folder, name)
  values = None
  if path is not None:
    try:
      values = _read(path, text)
    except OSError as error:
      _warn_once(f'the cache folder {path.parent} cannot be read', error)
  if values is None:
    values = compute()
    if path is not None:
      try:
        _write(path, text, values)
      except OSError as error:
        _warn_once(f'the cache folder {path.parent} cannot be written', error)
  values.flags.writeable = False
  return values


def _path(folder: str | os.PathLike | None, name: str) -> pathlib.Path | None:
  """Where a file is kept; None, with a warning, where there is no folder."""
  try:
    found = default_folder() if folder is None else folders.expand(folder)
  except folders.NoHome as error:
    _warn_once(f'{error}')
    return None
  if found is None:
    _warn_once('there is no cache folder, as no home directory is known')
    return None
  return found / name


def _read(path: pathlib.Path, key: str) -> np.ndarray | None:
  """The array of an intact file with this key."""
  if not path.exists():
    return None
  try:
    # NumPy closes only what it opened if it finds an archive there.
    with open(path, 'rb') as raw, np.load(raw, allow_pickle=False) as file:
      values, checksum = file['values'], file['checksum'].tobytes()
    if checksum != _checksum(key, values):
      raise ValueError('its checksum is wrong')
  except OSError:
    raise
  except Exception as error:  # of the archive, the compression, the header
    logger.warning('%s is damaged and computed again: %s', path, error)
    return None
  return values


def _write(path: pathlib.Path, key: str, values: np.ndarray) -> None:
  """Replaces a file as a whole and durably."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'.{path.name}.{secrets.token_hex(8)}')
  checksum = np.frombuffer(_checksum(key, values), np.uint8)
  try:
    with open(temporary, 'xb') as file:
      np.savez_compressed(file, values=values, checksum=checksum)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  finally:
    with contextlib.suppress(FileNotFoundError):
      temporary.unlink()


def _checksum(key: str, values: np.ndarray) -> bytes:
  described = f'{key} {values.dtype.str} {values.shape}'.encode()
  return hashlib.sha256(described + values.tobytes()).digest()


def _warn_once(trouble: str, error: OSError | None = None) -> None:
  _warn(trouble + (f' ({type(error).__name__})' if error else ''))


@functools.cache
def _warn(trouble: str) -> None:
  logger.warning(
    '%s: tables are computed in memory; %s names another folder',
    trouble,
    VARIABLE,
  )
