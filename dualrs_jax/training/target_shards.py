"""Files with the votes of some training images each.

A shard is written in one piece, and belongs to the settings that its mark is
the fingerprint of.
"""

import io
import logging
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Num

from dualrs_jax.runtime import files, processes

logger = logging.getLogger(__name__)


def save(
  path: pathlib.Path,
  indices: Int[np.ndarray, ' shard'],
  counts: Num[np.ndarray, 'shard levels *kinds'],
  mark: str,
) -> None:
  """Writes the counts or radii of a shard, as a whole or not at all."""
  content = io.BytesIO()
  np.savez(content, indices=indices, counts=counts, settings=np.array(mark))
  files.write_atomic(path, content.getvalue())


def read(
  paths: Sequence[pathlib.Path],
  indices: Sequence[Int[np.ndarray, ' _']],
  shape: tuple[int, ...],
  mark: str,
) -> Int[np.ndarray, 'examples levels *kinds']:
  """The counts of all shards, of a shape each, once all are written."""
  directory = paths[0].parent
  processes.await_shown(
    lambda: all(path.exists() for path in paths) or None, directory
  )
  table = []
  for path, chosen in zip(paths, indices, strict=True):
    shard = load(path, chosen, shape, mark)
    if shard is None:
      raise OSError(
        f'{path} is not there: {directory} must be one folder for all processes'
      )
    table.append(shard)
  return np.concatenate(table)


def load(
  path: pathlib.Path,
  indices: Int[np.ndarray, ' shard'],
  shape: tuple[int, ...],
  mark: str,
) -> Num[np.ndarray, 'shard levels *kinds'] | None:
  """What was saved of a shard, of that shape per image.

  None if it is missing, damaged or of others.
  """
  if not path.exists():
    return None
  try:
    with path.open('rb') as file, np.load(file) as shard:
      saved, counts = shard['indices'], shard['counts']
      found = str(shard['settings']) if 'settings' in shard else ''
  except Exception as error:  # the kinds differ with the bytes
    logger.warning('%s is damaged (%s); it is computed again', path, error)
    return None
  if found != mark:
    logger.warning('%s is of other settings; it is computed again', path)
    return None
  if not np.array_equal(saved, indices) or counts.shape != (len(saved), *shape):
    logger.warning('%s holds other images; it is computed again', path)
    return None
  return counts
