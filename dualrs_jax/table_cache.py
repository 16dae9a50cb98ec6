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

logger = logging.getLogger(__name__)

#: Names another folder for the tables.
VARIABLE = 'DUALRS_JAX_CACHE'


def default_folder() -> pathlib.Path:
  """`$DUALRS_JAX_CACHE`, else `dualrs_jax` in the user's cache folder."""
  named = os.environ.get(VARIABLE)
  if named:
    return pathlib.Path(named)
  caches = os.environ.get('XDG_CACHE_HOME', '')
  root = pathlib.Path(caches if os.path.isabs(caches) else '~/.cache')
  return root / 'dualrs_jax'


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
    folder: Where the files are; `default_folder()` if None. If it cannot be
      written, that is logged once and the array is returned all the same.

  Returns:
    A read-only array.
  """
  text = json.dumps(key, sort_keys=True)
  name = hashlib.sha256(text.encode()).hexdigest()[:32] + '.npz'
  path = pathlib.Path(default_folder() if folder is None else folder) / name
  values = None
  try:
    path = path.expanduser()
    values = _read(path, text)
  except (OSError, RuntimeError) as error:  # RuntimeError: no home directory
    _warn_once(str(path.parent), 'read', type(error).__name__)
  if values is None:
    values = compute()
    try:
      _write(path, text, values)
    except OSError as error:
      _warn_once(str(path.parent), 'written', type(error).__name__)
  values.flags.writeable = False
  return values


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


@functools.cache
def _warn_once(folder: str, verb: str, reason: str) -> None:
  logger.warning(
    'the cache folder %s cannot be %s (%s): tables are computed in memory;'
    ' %s names another folder',
    folder,
    verb,
    reason,
    VARIABLE,
  )
