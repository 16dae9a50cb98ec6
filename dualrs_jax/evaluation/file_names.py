"""Which image a row is about, where images are files."""

import pathlib

import numpy as np
from jaxtyping import Int

from dualrs_jax.data import Source
from dualrs_jax.runtime import files

#: Beside the rows of images that are files.
NAME = 'files.tsv'

_FACT = 'file'


def write(
  directory: pathlib.Path,
  source: Source,
  positions: Int[np.ndarray, ' images'],
) -> None:
  """Lists the files of images; nothing where they are none.

  Args:
    directory: Where the rows are.
    source: The images, with the fact `file` if they are files.
    positions: Those that were asked for.
  """
  if _FACT not in source.facts:
    return
  lines = ['idx\tfile']
  for position in positions.tolist():
    name = bytes(source.facts[_FACT][position]).decode(errors='replace')
    lines.append(f'{source.indices[position]}\t{name}')
  files.write_atomic(directory / NAME, '\n'.join(lines) + '\n')


def read(directory: pathlib.Path) -> dict[int, str]:
  """The files of images by dataset index, of those that `write` listed.

  Args:
    directory: Where the rows are.

  Returns:
    Nothing where images are no files.

  Raises:
    ValueError: If the list is damaged.
  """
  path = directory / NAME
  if not path.exists():
    return {}
  lines = path.read_text(encoding='utf-8').split('\n')[1:-1]
  try:
    pairs = [line.split('\t', 1) for line in lines]
    return {int(idx): name for idx, name in pairs}
  except ValueError:
    raise ValueError(
      f'{path} is no list of numbers and files: remove it, and the same'
      ' command writes it again'
    ) from None
