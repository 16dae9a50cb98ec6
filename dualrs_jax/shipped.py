"""Configurations that come with the package, by their name.

In a clone they are the files of `configs/`; an installed package has them as
`dualrs_jax/configs/`.
"""

import importlib.util
import pathlib
from typing import Any

_PACKAGE = 'dualrs_jax.configs'


def find(text: str) -> str:
  """The file of a configuration, with its argument behind a colon.

  Args:
    text: `digits`, `cifar10:small` and the like, or the path of a file. A file
      that exists goes before a shipped configuration of its name;
      `configs/digits.py` is the shipped one where there is no such file.

  Returns:
    The path of the shipped file, with the argument; `text` as it is where there
    is none of that name.
  """
  given, colon, argument = text.partition(':')
  path = pathlib.Path(given)
  plain = path.name == given and not path.suffix
  listed = path.parent.name == 'configs' and path.suffix == '.py'
  if path.is_file() or not (plain or listed):
    return text
  file = folder() / f'{path.stem}.py'
  return f'{file}{colon}{argument}' if file.is_file() else text


def get_config(text: str) -> Any:
  """A shipped configuration, for one's own that differs in some fields.

  Args:
    text: `own`, `cifar10:small` and the like.

  Returns:
    The locked `ml_collections.ConfigDict` that its file makes.

  Raises:
    ValueError: If there is none of that name.
  """
  name, _, argument = text.partition(':')
  if name not in names():
    raise ValueError(
      f'no configuration {text!r} comes with the package: there are'
      f' {", ".join(names())}'
    )
  spec = importlib.util.spec_from_file_location(name, folder() / f'{name}.py')
  assert spec is not None
  assert spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(*filter(None, [argument]))


def names() -> list[str]:
  """The names of all of them."""
  return sorted(
    path.stem for path in folder().glob('*.py') if path.stem != '__init__'
  )


def folder() -> pathlib.Path:
  """Where they are."""
  spec = importlib.util.find_spec(_PACKAGE)
  if spec is not None and spec.submodule_search_locations:
    return pathlib.Path(next(iter(spec.submodule_search_locations)))
  return pathlib.Path(__file__).resolve().parents[1] / 'configs'
