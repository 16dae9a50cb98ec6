"""Multiplications of a function, counted in its jaxpr; nothing is computed."""

import math
from collections.abc import Mapping
from typing import Any

import jax

#: What runs its jaxpr once; a loop would run it more often.
_CALLS = ('jit', 'pjit', 'custom_jvp_call', 'custom_vjp_call')


def multiply_adds(function: Any, *arguments: Any) -> int:
  """Multiplications in the matrix products and convolutions of a function.

  Resizing, normalisation and activations are not counted, as usual.

  Args:
    function: A function without loops.
    *arguments: Its arguments; their shapes and types suffice.

  Raises:
    ValueError: If something that is counted stands in a loop or a branch.

  Example:
    >>> square = jax.ShapeDtypeStruct((10, 10), 'float32')
    >>> multiply_adds(lambda x: x @ x, square)
    1000
  """
  return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: Any) -> int:
  total = 0
  for equation in jaxpr.eqns:
    name, parameters = equation.primitive.name, equation.params
    outputs = math.prod(equation.outvars[0].aval.shape)
    if name == 'dot_general':
      (contracted, _), _ = parameters['dimension_numbers']
      shape = equation.invars[0].aval.shape
      total += outputs * math.prod(shape[axis] for axis in contracted)
    elif name == 'conv_general_dilated':
      axes = parameters['dimension_numbers'].rhs_spec[1:]  # all but outputs
      shape = equation.invars[1].aval.shape
      total += outputs * math.prod(shape[axis] for axis in axes)
    else:
      inner = sum(map(_count, _inside(parameters)))
      if inner and name not in _CALLS:
        raise ValueError(f'{name} may compute its inside more than once')
      total += inner
  return total


def _inside(parameters: Mapping[str, Any]) -> list[Any]:
  """The jaxprs among the parameters of an equation."""
  leaves = jax.tree.leaves(list(parameters.values()))
  inner = [getattr(leaf, 'jaxpr', leaf) for leaf in leaves]
  return [leaf for leaf in inner if hasattr(leaf, 'eqns')]
