"""Every sentence with which the library refuses, read from its source.

A fence ```{errors}``` on a page stands for the list. What a sentence puts in,
a number or a name, is a blank in it: `‹alpha›`.
"""

import ast
import functools
import itertools
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from docs.extensions import public

_FENCE = re.compile(r'^```\{errors\}\n```$', re.M)
_BLANK = re.compile(r'‹[^›]*›')
_MOST = 8  # ways to put together one sentence; more are blanks


class Sentence(NamedTuple):
  """A sentence that may end a call or a program.

  Attributes:
    module: The module that has it.
    line: Where, in its file.
    text: The words, with blanks.
  """

  module: str
  line: int
  text: str

  def matches(self, message: str) -> bool:
    """Whether a message is this sentence with its blanks filled."""
    parts = map(re.escape, _BLANK.split(self.text))
    return bool(re.search('.*'.join(parts), message, re.S))


@functools.cache
def sentences() -> tuple[Sentence, ...]:
  """All of them, by module and in the order of the source."""
  kinds = {name for tree in _trees().values() for name in _exceptions(tree)}
  return tuple(
    Sentence(module, line, text)
    for module, tree in _trees().items()
    for line, text in _of_module(tree, kinds)
  )


def markdown() -> str:
  """The list, by module."""
  parts = []
  for module, found in itertools.groupby(sentences(), lambda s: s.module):
    name = module.removeprefix(f'{public.PACKAGE}.')
    lines = dict.fromkeys(_escaped(sentence.text) for sentence in found)
    parts.append(f'### `{name}`\n\n' + '\n'.join(f'* {t}' for t in lines))
  return '\n\n'.join(parts)


@functools.cache
def _trees() -> dict[str, ast.Module]:
  paths = sorted((public.ROOT / public.PACKAGE).rglob('*.py'))
  return {_module(path): ast.parse(path.read_text()) for path in paths}


@functools.cache
def _constants() -> dict[str, list[str]]:
  """The texts that modules keep under a name."""
  return {
    ast.unparse(node.targets[0]): [node.value.value]
    for tree in _trees().values()
    for node in tree.body
    if isinstance(node, ast.Assign)
    and isinstance(node.value, ast.Constant)
    and isinstance(node.value.value, str)
  }


def _module(path: pathlib.Path) -> str:
  parts = path.relative_to(public.ROOT).with_suffix('').parts
  return '.'.join(part for part in parts if part != '__init__')


def _exceptions(tree: ast.AST) -> Iterator[str]:
  for node in ast.walk(tree):
    if isinstance(node, ast.ClassDef) and any(
      ast.unparse(base).endswith(('Error', 'Exception', 'Mismatch', 'Failure'))
      for base in node.bases
    ):
      yield node.name


def _of_module(tree: ast.AST, kinds: set[str]) -> Iterator[tuple[int, str]]:
  found: dict[tuple[int, str], None] = {}

  def visit(node: ast.AST, function: ast.AST):
    if isinstance(node, ast.FunctionDef):
      function = node
    call = node.exc if isinstance(node, ast.Raise) else node
    if isinstance(call, ast.Call) and (
      isinstance(node, ast.Raise) or _is_refusal(call, kinds)
    ):
      for argument in [*call.args, *(k.value for k in call.keywords)]:
        for text in texts(argument, function):
          if re.search(r'[a-z]{2}', _BLANK.sub('', text)) and ' ' in text:
            found[call.lineno, ' '.join(text.split())] = None
    for child in ast.iter_child_nodes(node):
      visit(child, function)

  visit(tree, tree)
  return iter(sorted(found))


def _is_refusal(call: ast.Call, kinds: set[str]) -> bool:
  name = ast.unparse(call.func)
  last = name.rpartition('.')[2]
  return (
    last in kinds
    or last in ('UsageError', 'ValueError', 'error')
    or name in ('sys.exit', 'super().__init__')
  )


def texts(node: ast.AST, function: ast.AST) -> list[str]:
  """The texts that an expression may give, with blanks.

  Args:
    node: The expression.
    function: What surrounds it, where names get their texts.
  """
  match node:
    case ast.Constant(value=str(text)):
      return [text]
    case ast.JoinedStr(values=parts):
      return _joined(parts, function)
    case ast.FormattedValue(value=value):
      return texts(value, function)
    case ast.BinOp(left=left, op=ast.Add(), right=right):
      return _joined([left, right], function)
    case ast.IfExp(body=body, orelse=orelse):
      return [*texts(body, function), *texts(orelse, function)]
    case ast.Name(id=name) | ast.Attribute(attr=name) if name.isupper():
      return _constants().get(name, [f'‹{name}›'])
    case ast.Name(id=name):
      return _assigned(name, function) or [f'‹{name}›']
  return [f'‹{_short(node)}›']


def _joined(parts: list, function: ast.AST) -> list[str]:
  choices = [texts(part, function) for part in parts]
  if len(list(itertools.product(*choices))) > _MOST:
    choices = [
      found if len(found) == 1 else [f'‹{_short(part)}›']
      for part, found in zip(parts, choices, strict=True)
    ]
  return [''.join(chosen) for chosen in itertools.product(*choices)]


def _assigned(name: str, function: ast.AST) -> list[str]:
  """The texts that a function gives to one of its names."""
  found = []
  for node in ast.walk(function):
    if isinstance(node, ast.Assign) and any(
      isinstance(target, ast.Name) and target.id == name
      for target in node.targets
    ):
      value = node.value
      if isinstance(value, ast.Constant | ast.JoinedStr | ast.IfExp):
        mentions = {n.id for n in ast.walk(value) if isinstance(n, ast.Name)}
        if name not in mentions:
          found += texts(value, function)
  return [text for text in found if _BLANK.sub('', text).strip()]


def _short(node: ast.AST) -> str:
  """A word or two for what is put in."""
  if isinstance(node, ast.FormattedValue):
    return _short(node.value)
  if isinstance(node, ast.Attribute):
    return node.attr
  if isinstance(node, ast.Subscript):
    return _short(node.value)
  if isinstance(node, ast.Name):
    return node.id
  if isinstance(node, ast.Call) and node.args:
    return _short(node.args[-1])
  return '…'


def _escaped(text: str) -> str:
  return re.sub(r'([\\`*_\[\]<>#|~$])', r'\\\1', text)


def _read(app, page: str, content: list[str]):
  content[0] = _FENCE.sub(lambda _: markdown(), content[0])


def setup(app):
  app.connect('source-read', _read)
  return {'parallel_read_safe': True, 'parallel_write_safe': True}
