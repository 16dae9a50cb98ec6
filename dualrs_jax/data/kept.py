"""Tables of arrays in the user's cache: what takes a pass over all files."""

import logging
import os
import pathlib
import secrets
from collections.abc import Collection, Mapping

import numpy as np

logger = logging.getLogger(__name__)


def write(path: pathlib.Path, table: Mapping[str, np.ndarray]) -> None:
  """Writes a table as a whole, or says that it is not kept."""
  part = path.with_name(f'.{path.name}.{secrets.token_hex(4)}')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
      with part.open('xb') as file:
        np.savez(file, **table)  # pyright: ignore
      os.replace(part, path)
    finally:
      part.unlink(missing_ok=True)
  except OSError as error:
    logger.warning('the index is not kept: %s', error)


def read(
  path: pathlib.Path, names: Collection[str]
) -> dict[str, np.ndarray] | None:
  """The arrays of a table; None if it is missing or damaged."""
  try:
    if not path.exists():
      return None
    with path.open('rb') as file, np.load(file) as saved:
      return {name: saved[name] for name in names}
  except Exception as error:  # the kinds differ with the bytes
    logger.warning('%s is damaged (%s); it is built again', path, error)
    return None
