"""What an image gets by the hash of its name: its number, and its split.

Both are functions of the name alone, so that images may come and go and the
others keep theirs.
"""

import hashlib
import logging
import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

logger = logging.getLogger(__name__)


def indices(names: Sequence[str]) -> Int[np.ndarray, ' images']:
  """Dataset indices, each a function of a name.

  Args:
    names: no two the same. Names that only differ in how accents are encoded
      count as one name, as file systems do not agree on it.

  Returns:
    For each name a number in [0, 2**31). Where the hash of two names is the
    same, the one that sorts later takes another number, and a warning names
    both. So an image that is added to N others changes the number of one of
    them with a probability of N / 2**32, and that is told.

  Example:
    >>> indices(['cat/1.png', 'dog/1.png']).tolist()
    [1155470658, 38559806]
    >>> indices(['dog/1.png', 'ant/1.png']).tolist()
    [38559806, 612992419]
  """
  taken: dict[int, str] = {}
  for name in sorted(names):
    attempt = 0
    while (number := _number(f'index {attempt}', name, 4) >> 1) in taken:
      logger.warning(
        '%s and %s have the same hash; the latter is numbered by another one,'
        ' and its noise may change where images are added',
        taken[number],
        name,
      )
      attempt += 1
    taken[number] = name
  by_name = {name: number for number, name in taken.items()}
  return np.array([by_name[name] for name in names], np.int64)


def places(names: Sequence[str]) -> Float[np.ndarray, ' images']:
  """For each name a number in [0, 1), by which splits are divided."""
  return np.array([_number('split', name, 6) / 2**48 for name in names])


def _number(purpose: str, name: str, size: int) -> int:
  text = f'{purpose}\0{unicodedata.normalize("NFC", name)}'
  # A name that is no UTF-8 is a name all the same.
  content = text.encode('utf-8', 'surrogateescape')
  return int.from_bytes(hashlib.sha256(content).digest()[:size])
