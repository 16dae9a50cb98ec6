"""How the layers of PyTorch lay out their arrays, and those of Flax theirs.

The functions for layers return what the arrays of one become, by their names
in a checkpoint.
"""

from collections.abc import Mapping

import numpy as np

from dualrs_jax.pretrained.matching import Target

#: Where a parameter is in a network: the keys on the way to it.
Path = tuple[str | int, ...]


def linear(name: str, path: Path, *, bias: bool = True) -> dict[str, Target]:
  """A linear layer: [outputs, inputs] there, [inputs, outputs] here.

  Args:
    name: Of the layer in the checkpoint.
    path: Of the layer in the model.
    bias: Whether it has one.
  """
  return _layer(name, path, 'kernel', np.transpose, bias)


def convolution(
  name: str, path: Path, *, bias: bool = True
) -> dict[str, Target]:
  """A convolution: channels are in front there and behind here.

  Args:
    name: Of the layer in the checkpoint.
    path: Of the layer in the model.
    bias: Whether it has one.
  """
  return _layer(name, path, 'kernel', _channels_last, bias)


def norm(name: str, path: Path) -> dict[str, Target]:
  """A normalisation without stored statistics.

  Args:
    name: Of the layer in the checkpoint.
    path: Of the layer in the model.
  """
  return _layer(name, path, 'scale', as_it_is, True)


def batch_norm(name: str, path: Path) -> dict[str, Target]:
  """A normalisation with stored statistics.

  Args:
    name: Of the layer in the checkpoint.
    path: Of the layer in the model.
  """
  return norm(name, path) | {
    f'{name}.running_mean': Target((*path, 'mean'), as_it_is),
    f'{name}.running_var': Target((*path, 'var'), as_it_is),
  }


def as_it_is(array: np.ndarray) -> np.ndarray:
  """The array, for parameters that are laid out alike."""
  return array


def without(
  arrays: Mapping[str, np.ndarray], *suffixes: str
) -> dict[str, np.ndarray]:
  """The arrays but for counters and tables that no parameter comes from.

  Args:
    arrays: The arrays of a checkpoint.
    *suffixes: The last parts of the names that are left out.
  """
  return {
    name: array
    for name, array in arrays.items()
    if name.rpartition('.')[2] not in suffixes
  }


def _layer(name, path, parameter, transform, bias):
  targets = {f'{name}.weight': Target((*path, parameter), transform)}
  if bias:
    targets[f'{name}.bias'] = Target((*path, 'bias'), as_it_is)
  return targets


def _channels_last(array):
  return array.transpose(2, 3, 1, 0)
