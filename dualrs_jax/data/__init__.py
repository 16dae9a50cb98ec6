"""Sources of images: splits of data sets that yield 8-bit arrays."""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

from dualrs_jax.data.source import Source as Source
from dualrs_jax.data.source import StoredImages as StoredImages
from dualrs_jax.data.source import refuse_unusable as refuse_unusable
from dualrs_jax.data.source import to_unit as to_unit
from dualrs_jax.data.splits import DatasetNotFound as DatasetNotFound
from dualrs_jax.data.worker import WorkerDied as WorkerDied

_MODULES = {
  'digits': 'dualrs_jax.data.digits',
  'cifar10': 'dualrs_jax.data.cifar10',
  'imagenet': 'dualrs_jax.data.imagenet',
}


def load(name: str, split: str, **options: Any) -> Source:
  """One split of a data set.

  Args:
    name: the data set, a module of this package: 'digits', 'cifar10' or
      'imagenet'.
    split: 'train' to train on; 'validation', images of the published training
      set to look at while training; 'test', which published results are about.
    **options: the options of that data set's own `load`.

  Returns:
    The split. The same arguments give the same images.

  Raises:
    ValueError: an unknown data set, what its own `load` refuses, no images, or
      labels that are none of its classes.
    DatasetNotFound: its files are not there; the text says what to do.
  """
  if name not in _MODULES:
    nearest = difflib.get_close_matches(name, _MODULES, n=1, cutoff=0)[0]
    raise ValueError(f'unknown data set {name!r}; did you mean {nearest!r}?')
  source = importlib.import_module(_MODULES[name]).load(split, **options)
  refuse_unusable(source, f'the split {split!r} of {name}')
  return source


def identity(options: Mapping[str, Any]) -> dict[str, Any]:
  """The options of `load` that decide which images there are.

  Where they are stored is not among them.
  """
  return {name: x for name, x in options.items() if name != 'data_dir'}
