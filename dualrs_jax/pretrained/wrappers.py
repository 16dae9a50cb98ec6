"""Where in a checkpoint the weights are, and what is put around them.

A program wraps them in a dictionary beside the state of its optimizer, and has
a second copy of them that is averaged over time; libraries put a word before
each name. Where that leaves one choice it is made, otherwise it is asked for.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dualrs_jax.pretrained.matching import ImportFailure

#: Keys under which programs put weights, and the averages of weights.
USUAL = (
  'state_dict',
  'model_state_dict',
  'model',
  'module',
  'net',
  'network',
  'params',
  'weights',
)
#: Names of what holds moving averages of the weights.
AVERAGED = (
  'ema',
  'ema_model',
  'ema_state_dict',
  'model_ema',
  'model_ema_state_dict',
  'params_ema',
  'state_dict_ema',
)

#: Counters that averaging programs put among the weights.
_COUNTERS = ('n_averaged',)


def unwrap(
  content: Any, path: Any, *, key: str | None = None
) -> tuple[Mapping[str, Any], dict[str, str | int | float], str | None]:
  """The innermost dictionary, of tensors, and the plain entries on the way.

  The last of three is the key, if no entry has it.

  Args:
    content: of the file.
    path: the file, as messages are to name it.
    key: which entry to take, where several hold weights. One that is not there
      may be a prefix of names, see `without_prefix`.

  Raises:
    ImportFailure: there are no tensors, or several entries that would do.
  """
  notes: dict[str, str | int | float] = {}
  while isinstance(content, Mapping):
    notes |= {
      name: value
      for name, value in content.items()
      if isinstance(value, str | int | float)
    }
    would_do = [name for name, value in content.items() if _holds(value)]
    known = [name for name in would_do if name in (*USUAL, *AVERAGED)]
    if key in would_do:
      content, key = content[key], None
    elif len(known) == 1:
      content = content[known[0]]
    elif known or (would_do and not _has_tensors(content)):
      raise ImportFailure(
        f'{path} has weights in {_listed(known or would_do)}: choose with'
        f' --key, as in --key {(known or would_do)[0]}'
      )
    else:
      break
  if not isinstance(content, Mapping):
    raise ImportFailure(
      f'{path} holds a {type(content).__name__}, not a dictionary of tensors'
    )
  if not _has_tensors(content):
    others = ', only ' + ', '.join(map(str, content)) if content else ''
    raise ImportFailure(f'{path} holds no tensors{others}')
  return content, notes, key


def without_prefix(
  arrays: Mapping[str, np.ndarray],
  first: str,
  *,
  source: str,
  key: str | None = None,
) -> dict[str, np.ndarray]:
  """The arrays by their published names, without what was put before these.

  Args:
    arrays: of a file.
    first: a name that each file of the family has.
    source: the file, as messages are to name it.
    key: the prefix to take, where several networks are in the file.

  Raises:
    ImportFailure: several prefixes would do, or not the one asked for.
  """
  prefix = prefix_of(arrays, first, source=source, key=key)
  return {
    name.removeprefix(prefix): array
    for name, array in arrays.items()
    if name.rpartition('.')[2] not in _COUNTERS
    and (key is None or not prefix or name.startswith(prefix))
  }


def prefix_of(
  arrays: Mapping[str, np.ndarray],
  first: str,
  *,
  source: str,
  key: str | None = None,
) -> str:
  """What was put before the names of a network, see `without_prefix`."""
  endings = [n for n in arrays if n == first or n.endswith(f'.{first}')]
  found = [name.removesuffix(first) for name in endings]
  # A layer may have, further inside, one of the same name.
  found = [
    prefix
    for prefix in found
    if not any(prefix != p and prefix.startswith(p) for p in found)
  ]
  if key is not None:
    chosen = [prefix for prefix in found if prefix.startswith(f'{key}.')]
    if not chosen:
      others = [prefix.rstrip('.') for prefix in found if prefix]
      there = f', only {_listed(others)}' if others else ''
      raise ImportFailure(f'{source} has no weights in {key!r}{there}')
    found = chosen
  if len(found) > 1:
    names = [prefix.rstrip('.') for prefix in found]
    raise ImportFailure(
      f'{source} has weights in {_listed(names)}: choose with --key, as in'
      f' --key {names[0]}'
    )
  return found[0] if found else ''


def _holds(value: Any) -> bool:
  """Whether something is a dictionary with weights in it, at any depth."""
  return (
    isinstance(value, Mapping)
    and 'param_groups' not in value  # of an optimizer
    and (_has_tensors(value) or any(map(_holds, value.values())))
  )


def _has_tensors(content: Mapping[Any, Any]) -> bool:
  return any(hasattr(value, 'numpy') for value in content.values())


def _listed(names: list[Any]) -> str:
  return ' and '.join(map(repr, names))
