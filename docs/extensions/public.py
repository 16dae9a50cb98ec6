"""The public names of the library, read from its source and not imported.

A name is public where neither it nor a module on the way to it begins with an
underscore. What `import dualrs_jax` offers is documented as that; all else in
its module.
"""

import ast
import functools
import pathlib
from collections.abc import Iterator

import griffe

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = 'dualrs_jax'
_STYLE = griffe.GoogleOptions(
  returns_named_value=False,
  returns_multiple_items=False,
  warn_missing_types=False,
)


@functools.cache
def package() -> griffe.Module:
  found = griffe.load(
    PACKAGE,
    search_paths=[ROOT],
    docstring_parser='google',
    docstring_options=_STYLE,
  )
  assert isinstance(found, griffe.Module)
  return found


def modules(under: str = PACKAGE) -> Iterator[griffe.Module]:
  """The public modules of a package, itself included, by name."""
  start = package() if under == PACKAGE else package()[_inside(under)]
  yield start
  for name in sorted(start.members):
    member = start.members[name]
    if not member.is_alias and member.is_module and name[0] != '_':
      yield from modules(member.path)


def _inside(path: str) -> str:
  return path.removeprefix(f'{PACKAGE}.')


@functools.cache
def door() -> dict[str, str]:
  """The names of `import dualrs_jax`, each with the path of what it is."""
  tree = ast.parse((ROOT / PACKAGE / '__init__.py').read_text())
  [names] = [
    ast.literal_eval(node.value)
    for node in tree.body
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '_NAMES'
  ]
  return {
    f'{PACKAGE}.{name}': f'{PACKAGE}.{home}.{name}'
    for home, homes in names.items()
    for name in homes
  }


def members(of: griffe.Module | griffe.Class) -> Iterator[griffe.Object]:
  """What a module or a class defines, in the order of its source."""
  for member in of.members.values():
    if (
      isinstance(member, griffe.Object)
      and not isinstance(member, griffe.Module)
      and not member.name.startswith('_')
      and member.name != 'logger'
      and not _is_type_variable(member)
    ):
      yield member


def _is_type_variable(of: griffe.Object) -> bool:
  value = of.value if isinstance(of, griffe.Attribute) else ''
  return str(value).startswith('TypeVar(')


def names(module: griffe.Module) -> list[griffe.Object]:
  """What the page of a module documents."""
  return [m for m in members(module) if m.path not in door().values()]


def every() -> set[str]:
  """The public names, each as it is documented."""
  found = {m.path for module in modules() for m in names(module)}
  return found | set(door())


def comment(attribute: griffe.Object) -> str:
  """What the lines `#: ...` above an attribute say of it."""
  assert isinstance(attribute.filepath, pathlib.Path)
  lines = attribute.filepath.read_text().splitlines()
  said: list[str] = []
  for line in reversed(lines[: (attribute.lineno or 1) - 1]):
    if not line.strip().startswith('#:'):
      break
    said.insert(0, line.strip().removeprefix('#:').strip())
  return ' '.join(said)


def text(of: griffe.Object) -> str:
  """The docstring of something, or the comment above a value."""
  if of.docstring:
    return of.docstring.value
  return comment(of) if of.is_attribute else ''


def fields(of: griffe.Class) -> set[str]:
  """The public fields that a class declares in its body."""
  [tree] = ast.parse(of.source).body
  assert isinstance(tree, ast.ClassDef)
  named = {
    ast.unparse(node.target)
    for node in tree.body
    if isinstance(node, ast.AnnAssign)
  }
  return {name for name in named if not name.startswith('_')}
