"""Sources of images: splits of data sets that yield 8-bit arrays."""

import difflib
import importlib
from typing import Any

from dualrs_jax.data.source import Source as Source
from dualrs_jax.data.source import to_unit as to_unit

_MODULES = {'digits': 'dualrs_jax.data.digits'}


def load(name: str, split: str, **options: Any) -> Source:
  """One split of a data set.

  Args:
    name: the data set; 'digits' is `dualrs_jax.data.digits`.
    split: 'train', 'validation' or 'test'.
    **options: the options of that data set's own `load`.

  Returns:
    The split as arrays. The same arguments give the same arrays.

  Raises:
    ValueError: an unknown data set, or what its own `load` refuses.
  """
  if name not in _MODULES:
    nearest = difflib.get_close_matches(name, _MODULES, n=1, cutoff=0)[0]
    raise ValueError(f'unknown data set {name!r}; did you mean {nearest!r}?')
  return importlib.import_module(_MODULES[name]).load(split, **options)
