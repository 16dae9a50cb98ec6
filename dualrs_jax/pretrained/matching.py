"""From the arrays of a published checkpoint to the parameters of a model.

An importer states which array of the file becomes which parameter. This module
checks that statement against the file and the model, exactly, before anything
is copied: a checkpoint that is almost right gives a model that is quietly
wrong.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx


class ImportFailure(ValueError):
  """A file is not the checkpoint that it was taken for."""


class Target(NamedTuple):
  """The parameter that an array of a checkpoint becomes.

  Attributes:
    path: Where the parameter is: attribute names, and positions in lists.
    transform: From the array as it is in the file to the parameter. It must
      not lose an entry, and where the array has another shape than the one
      expected, give another shape or raise a `ValueError`.
  """

  path: tuple[str | int, ...]
  transform: Callable[[np.ndarray], np.ndarray]


class Published(NamedTuple):
  """A published checkpoint that was read, and what it is taken for.

  Attributes:
    source: The file, as messages name it.
    architecture: The class of the model.
    sizes: Its arguments, without `rngs` and `dtype`.
    arrays: The arrays of the file by name, without those that have no
      parameter by design.
    correspondence: From a model of this architecture to what `assign` needs.
  """

  source: str
  architecture: type
  sizes: Mapping[str, Any]
  arrays: Mapping[str, np.ndarray]
  correspondence: Callable[[Any], Mapping[str, 'Target | Sequence[Target]']]


def build(published: Published, *, dtype: Any = jnp.float32) -> Any:
  """The model of a published checkpoint, which is checked in every array.

  Args:
    published: The checkpoint.
    dtype: Of the activations; parameters are float32 in any case.

  Raises:
    ImportFailure: The file is not the checkpoint that it was taken for.
    ValueError: Sizes that the architecture does not have, or that do not fit
      together.
  """
  source, architecture, sizes = published[:3]
  _refuse_sizes(source, architecture, sizes)
  try:
    model = abstract(architecture, sizes, dtype=dtype)
  except (ArithmeticError, TypeError) as error:
    listed = ', '.join(f'{name}={value}' for name, value in sizes.items())
    reason = str(error).partition('\n')[0]
    raise ValueError(
      f'{source}: no {architecture.__name__} has the sizes {listed} ({reason})'
    ) from error
  assign(
    model, published.arrays, published.correspondence(model), source=source
  )
  return model


def abstract(
  architecture: type, sizes: Mapping[str, Any], *, dtype: Any = jnp.float32
) -> Any:
  """A model with shapes in place of its weights.

  It takes `nnx.eval_shape` seconds to draw, one after the other, keys that
  nobody uses: here all weights have the same.

  Args:
    architecture: The class of the model.
    sizes: Its arguments, without `rngs` and `dtype`.
    dtype: Of the activations.
  """

  def make():
    rngs = nnx.Rngs(0)
    rngs.default = _OneKey(0, tag='default')  # pyright: ignore
    return architecture(**sizes, dtype=dtype, rngs=rngs)

  return nnx.eval_shape(make)


class _OneKey(nnx.RngStream):
  def __call__(self):
    return self.key[...]


def _refuse_sizes(
  source: str, architecture: type, sizes: Mapping[str, Any]
) -> None:
  """Refuses names that the architecture does not have, and other values."""
  known = [
    name
    for name in inspect.signature(architecture.__init__).parameters
    if name not in ('self', 'rngs', 'dtype')
  ]
  for name, value in sizes.items():
    if name not in known:
      nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
      raise ValueError(f'unknown size {name!r}; did you mean {nearest!r}?')
    several = value if isinstance(value, tuple | list) else (value,)
    if not all(isinstance(one, int | float) for one in several):
      raise ValueError(
        f'{source}: {name} is a number or several, not {value!r}'
      )


def assign(
  model: nnx.Module,
  arrays: Mapping[str, np.ndarray],
  correspondence: Mapping[str, Target | Sequence[Target]],
  *,
  source: str,
) -> None:
  """Gives a model the weights of a checkpoint, all of them or none.

  Every array of the file is used, every parameter and stored statistic of the
  model is set once, and every shape is the one expected.

  Args:
    model: The model, in place. It may be abstract, from `nnx.eval_shape`: the
      arrays then take the place of its shapes, and it is never initialised.
    arrays: The arrays of the file by name, without those that have no
      parameter by design. Any floating type; the model's own is kept.
    correspondence: What becomes of each array that the file must hold; an
      array may be cut into several parameters.
    source: The file, as messages are to name it.

  Raises:
    ImportFailure: With the name of every array that is missing, unexpected,
      of another shape, not of a floating type, or not finite.
    KeyError: The correspondence itself does not fit the model.
  """
  variables = dict(nnx.to_flat_state(nnx.state(model)))
  targets = {
    name: (target,) if isinstance(target, Target) else tuple(target)
    for name, target in correspondence.items()
  }
  paths = [target.path for several in targets.values() for target in several]
  if sorted(map(str, paths)) != sorted(map(str, variables)):
    unset = set(map(str, variables)) ^ set(map(str, paths))
    raise KeyError(f'set not exactly once: {sorted(unset) or paths}')
  faults = _wrong_names(arrays, targets, source)
  values, misfits = {}, []
  for name, several in targets.items():
    for target in several if name in arrays else ():
      shape = variables[target.path].shape
      values[target.path], fault = _transformed(arrays[name], target, shape)
      if fault:
        misfits.append(f'{name} {fault}')
        break
  if misfits:
    faults.append(f'{len(misfits)} misfit: {", ".join(misfits)}')
  if faults:
    raise ImportFailure(f'{source} does not fit the model: {"; ".join(faults)}')
  filled = {
    path: variable.replace(jnp.asarray(values[path], variable.dtype))
    for path, variable in variables.items()
  }
  nnx.update(model, nnx.from_flat_state(filled.items()))


def _wrong_names(
  arrays: Mapping[str, np.ndarray],
  targets: Mapping[str, Sequence[Target]],
  source: str,
) -> list[str]:
  """The names that only one side has; an error where no name agrees."""
  missing = [name for name in targets if name not in arrays]
  unexpected = [name for name in arrays if name not in targets]
  if len(missing) == len(targets):
    others = f', but {unexpected[0]!r} and so on' if unexpected else ''
    raise ImportFailure(
      f'{source} is of another architecture: it holds none of the'
      f' {len(targets)} arrays expected, such as {missing[0]!r}{others}'
    )
  return [
    f'{len(names)} {what}: {", ".join(names)}'
    for what, names in (('missing', missing), ('unexpected', unexpected))
    if names
  ]


def _transformed(
  array: np.ndarray, target: Target, shape: tuple[int, ...]
) -> tuple[np.ndarray, str]:
  """The parameter, and what is wrong with it ('' if nothing)."""
  if not jnp.issubdtype(array.dtype, jnp.floating):
    return array, f'is of type {array.dtype}, not floating'
  try:
    value = target.transform(array)
  except ValueError:
    value = None
  if value is None or value.shape != shape:
    where = '.'.join(map(str, target.path))
    return array, f'of shape {array.shape} does not give {where} {shape}'
  if not np.isfinite(value).all():
    return array, 'holds NaN or infinite values'
  return value, ''
