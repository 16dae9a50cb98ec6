"""Things of the user's own, by name: where they are, and what they are called.

A module is `my_package.my_module`, which Python can import, or a file,
`path/to/file.py`; a thing in it is `my_package.my_module:thing` or
`path/to/file.py:thing`.
"""

import difflib
import hashlib
import importlib
import importlib.util
import pathlib
import sys
from types import ModuleType
from typing import Any

from dualrs_jax import folders


def is_reference(name: str) -> bool:
  """Whether a name says in which module a thing is."""
  return ':' in name


def is_file(reference: str) -> bool:
  """Whether the module of a reference is a file, which has a folder."""
  return _is_file(reference.rpartition(':')[0])


def attribute(reference: str) -> Any:
  """The thing that a reference names.

  Args:
    reference: `module:thing` or `file.py:thing`, see the module.

  Raises:
    ValueError: there is no such module, file or thing, or importing it fails.

  Example:
    >>> attribute('math:sqrt')(4)
    2.0
  """
  place, _, name = reference.rpartition(':')
  if not place or not name.isidentifier():
    raise ValueError(
      f'{reference!r} names nothing: write my_package.my_module:Name or'
      ' path/to/file.py:Name'
    )
  found = module(place)
  if not hasattr(found, name):
    own = [known for known in vars(found) if not known.startswith('_')]
    nearest = difflib.get_close_matches(name, own, n=1)
    hint = f'; did you mean {nearest[0]!r}?' if nearest else ''
    raise ValueError(f'{place} has no {name!r}{hint}')
  return getattr(found, name)


def module(name: str) -> ModuleType:
  """The module that a name stands for, imported once in a process.

  Args:
    name: `my_package.my_module` or `path/to/file.py`.

  Raises:
    ValueError: there is no such module or file, or importing it fails.
  """
  if _is_file(name):
    return _of_file(name)
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    if error.name is None or not f'{name}.'.startswith(f'{error.name}.'):
      raise _failed(name, error) from error
    raise ValueError(
      f'there is no module {error.name!r}, of {name!r}: install it, set'
      ' PYTHONPATH to its folder, or name its file, as in path/to/file.py'
    ) from None
  except Exception as error:
    raise _failed(name, error) from error


def short(reference: str) -> str:
  """A reference without the folder of its file, which may move.

  Example:
    >>> short('~/nets/wide.py:Net'), short('nets.wide:Net')
    ('wide.py:Net', 'nets.wide:Net')
  """
  place, colon, name = reference.rpartition(':')
  return (pathlib.Path(place).name if _is_file(place) else place) + colon + name


def source_hash(reference: str) -> str | None:
  """A text that changes with the file in which a thing is.

  What that file imports does not count.

  Args:
    reference: of the thing.

  Returns:
    The beginning of a SHA-256; None where there is no such file, as in an
    interactive session.
  """
  file = getattr(module(reference.rpartition(':')[0]), '__file__', None)
  if file is None or not pathlib.Path(file).is_file():
    return None
  return hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest()[:16]


def _is_file(place: str) -> bool:
  return place.endswith('.py')


def _of_file(name: str) -> ModuleType:
  path = folders.expand(name).resolve()
  if not path.is_file():
    raise ValueError(f'there is no file {name} (in full {path})')
  # One name for one file, so that its classes are the same ones ever after.
  known = hashlib.sha256(str(path).encode()).hexdigest()[:8]
  full = f'{path.stem}_{known}'
  if full in sys.modules:
    return sys.modules[full]
  spec = importlib.util.spec_from_file_location(full, path)
  assert spec is not None
  assert spec.loader is not None
  made = importlib.util.module_from_spec(spec)
  sys.modules[full] = made
  try:
    spec.loader.exec_module(made)
  except Exception as error:
    del sys.modules[full]
    raise _failed(name, error) from error
  return made


def _failed(name: str, error: Exception) -> ValueError:
  return ValueError(f'importing {name} raised {type(error).__name__}: {error}')
