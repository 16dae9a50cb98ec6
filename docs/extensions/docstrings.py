"""What a docstring says, as Markdown: its sections, its shapes in words."""

import collections
import functools
import re
import textwrap
from collections.abc import Iterable
from typing import TypeGuard

import griffe

from docs.extensions import public, shapes

#: Begins what stands in quotes in a signature and is no string there.
PLAIN = '§'
_GUARANTEE = re.compile(r'^Guarantee: (.*?)(?=\n\n|\Z)', re.M | re.S)


def of_module(module: griffe.Module) -> str:
  """The part of a page that is about one module."""
  told = [path for path in public.door().values() if _home(path) == module.path]
  # A program, `dualrs_jax.certify`, has the name of a function.
  kind = 'currentmodule' if module.path in public.door() else 'module'
  parts = [
    f'## `{module.path.removeprefix("dualrs_jax.")}`',
    f'```{{py:{kind}}} {module.path}\n```',
    _body(module),
  ]
  if told and module.path != public.PACKAGE:
    names = ', '.join(f'`{path.rpartition(".")[2]}`' for path in told)
    parts.append(f'On the page of [the library](library.md): {names}.')
  parts += map(_entry, public.names(module))
  return '\n\n'.join(parts) + '\n'


def of_the_library(name: str) -> str:
  """The entry of a name that `import dualrs_jax` offers."""
  path = public.door()[f'{public.PACKAGE}.{name}']
  module = f'```{{py:currentmodule}} {public.PACKAGE}\n```\n\n'
  entry = _entry(public.package()[path.removeprefix(f'{public.PACKAGE}.')])
  return f'{module}{entry}\n'


def attributes(of: griffe.Class) -> set[str]:
  """The attributes that the docstring of a class describes."""
  return {
    item.name
    for section in (of.docstring.parsed if of.docstring else ())
    if section.kind.value in ('attributes', 'parameters')
    for item in section.value
  }


def _home(path: str) -> str:
  return path.rpartition('.')[0]


def _entry(found: griffe.Object) -> str:
  if isinstance(found, griffe.Function):
    return _directive('py:function', _signed(found), _body(found))
  if isinstance(found, griffe.Class):
    methods = [
      _method(member)
      for member in public.members(found)
      if member.is_function or 'property' in member.labels
    ]
    bases = ', '.join(f'`{base}`' for base in found.bases)
    kind = 'exception' if _is_error(found) else 'class'
    parts = [*([f'Bases: {bases}'] if bases else []), _body(found), *methods]
    return _directive(f'py:{kind}', found.name, '\n\n'.join(parts))
  assert isinstance(found, griffe.Attribute)
  value = str(found.value)
  if len(value) > 60 or '\n' in value:
    value = '...'
  return _directive('py:data', found.name, _body(found), value=value)


def _is_error(found: griffe.Class) -> bool:
  return any(str(base).endswith(('Error', 'Exception')) for base in found.bases)


def _method(found: griffe.Object) -> str:
  if isinstance(found, griffe.Function):
    return _directive('py:method', _signed(found), _body(found))
  return _directive('py:property', found.name, _body(found))


def _directive(kind: str, head: str, body: str, **options: str) -> str:
  # Colons, more of them outside than inside: a class holds its methods.
  longest = max((len(c) for c in re.findall(r'^:{3,}', body, re.M)), default=2)
  fence = ':' * (longest + 1)
  said = ''.join(f':{key}: {value}\n' for key, value in options.items())
  return f'{fence}{{{kind}}} {head}\n{said}\n{body}\n{fence}'


def _signed(of: griffe.Function) -> str:
  """The name and the arguments.

  They have their annotations where no section of the docstring describes them.
  """
  described = any(
    section.kind.value == 'parameters'
    for section in (of.docstring.parsed if of.docstring else ())
  )
  written: list[str] = []
  kinds = griffe.ParameterKind
  starred = False
  for argument in of.parameters:
    if argument.name in ('self', 'cls'):
      continue
    if argument.kind is kinds.keyword_only and not starred:
      written.append('*')
      starred = True
    stars = {'variadic positional': '*', 'variadic keyword': '**'}.get(
      argument.kind.value if argument.kind else '', ''
    )
    said = stars + argument.name
    starred = starred or stars == '*'
    if argument.annotation is not None and not described:
      said += f': {_quoted(str(argument.annotation))}'
    if argument.default is not None and not stars:
      said += f'={argument.default}'
    written.append(said)
  returned = f' -> {_quoted(str(of.returns))}' if of.returns else ''
  return f'{of.name}({", ".join(written)}){returned}'.replace('\n', ' ')


def _quoted(annotation: str) -> str:
  """An annotation that can be parsed: in quotes where it is words.

  So are names that several modules have: Sphinx would take the first of them.
  """
  said = shapes.words(annotation)
  several = set(re.findall(r'\w+', annotation)) & _ambiguous()
  return repr(PLAIN + said) if said != annotation or several else annotation


@functools.cache
def _ambiguous() -> set[str]:
  counts = collections.Counter(
    path.rpartition('.')[2] for path in public.every()
  )
  return {name for name, count in counts.items() if count > 1}


def _body(of: griffe.Object) -> str:
  if not of.docstring:
    return public.text(of)
  parts = []
  for section in of.docstring.parsed:
    kind, value = section.kind.value, section.value
    if kind == 'text':
      parts.append(_with_guarantee(value))
    elif kind in ('parameters', 'attributes'):
      title = 'Arguments' if kind == 'parameters' else 'Fields'
      parts.append(f'{{.section}}\n**{title}**\n\n{_listed(of, value)}')
    elif kind in ('returns', 'yields'):
      said = '\n'.join(item.description for item in value)
      parts.append(f'{{.section}}\n**{kind.title()}**\n\n{said}')
    elif kind == 'raises':
      said = '\n'.join(
        f'`{item.annotation}`\n{_indented(item.description)}\n'
        for item in value
      )
      parts.append(f'{{.section}}\n**Raises**\n\n{said}')
    else:
      said = value.description if kind == 'admonition' else str(value)
      if '>>>' in said:
        said = f'```pycon\n{said}\n```'
      title = section.title or kind.title()
      parts.append(f'{{.section}}\n**{title}**\n\n{said}')
  return '\n\n'.join(parts)


def _with_guarantee(text: str) -> str:
  return _GUARANTEE.sub(
    lambda found: (
      ':::{admonition} Guarantee\n:class: guarantee\n'
      f'{found[1][0].upper()}{found[1][1:]}\n:::'
    ),
    text,
  )


def _listed(of: griffe.Object, items: Iterable) -> str:
  """A definition list: a name, what kind of array, and what it means."""
  written = []
  for item in items:
    annotation = item.annotation
    if annotation is None and isinstance(of, griffe.Class):
      field = of.members.get(item.name)
      annotation = field.annotation if _is_field(field) else None
    said = f' {shapes.words(str(annotation))}' if annotation else ''
    said = said.replace('*', r'\*').replace('[', r'\[')
    written.append(f'`{item.name}`{said}\n{_indented(item.description)}\n')
  return '\n'.join(written)


def _is_field(found: object) -> TypeGuard[griffe.Attribute]:
  return isinstance(found, griffe.Attribute)


def _indented(text: str) -> str:
  return ': ' + textwrap.indent(text, '  ').lstrip()
