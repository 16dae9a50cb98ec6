"""Data sets by name: the one place where a name becomes images."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dualrs_jax import named
from dualrs_jax.data import splits
from dualrs_jax.data.source import Source, refuse_unusable

_MODULES = {
  name: f'dualrs_jax.data.{name}'
  for name in ('digits', 'cifar10', 'imagenet', 'folder', 'arrays')
}

#: What is always the same images, wherever they are.
PUBLISHED = ('digits', 'cifar10', 'imagenet')

_TFDS = 'tfds:'
_FUNCTION = 'load'

#: What data sets of one's own can be told, unset: fields for a configuration,
#: so that its data set can be exchanged on the command line.
OPTIONS: Mapping[str, Any] = {
  'data_dir': '',
  'size': (),
  'resize': 0,
  'crop': 0,
  'channels': 0,
  'validation_share': 0.1,
  'test_share': 0.2,
  'image_feature': '',
  'label_feature': '',
  'train_split': '',
  'validation_split': '',
  'test_split': '',
  'download': False,
}

#: What does not decide which images there are.
_PLACES = ('data_dir', 'download')


class _Found(NamedTuple):
  """A data set by its name.

  Attributes:
    load: takes a split and options, and returns a `Source`.
    fixed: options that the name stands for.
    own: where `load` is, if it is the user's.
  """

  load: Callable[..., Any]
  fixed: Mapping[str, Any]
  own: str | None = None

  @property
  def options(self) -> Mapping[str, inspect.Parameter]:
    """What `load` can be told."""
    known = dict(inspect.signature(self.load).parameters)
    for name in [*known][:1] + [*self.fixed]:  # the first is the split
      del known[name]
    return known

  @property
  def takes_all(self) -> bool:
    """Whether `load` takes options of any name."""
    kinds = [option.kind for option in self.options.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds


def load(name: str, split: str, **options: Any) -> Source:
  """One split of a data set.

  Args:
    name: 'digits', 'cifar10' or 'imagenet'; 'folder', a folder of image files
      for each class; 'arrays', files of NumPy; 'tfds:name', 'tfds:name/config'
      or these with ':version', of tensorflow-datasets; or the user's own
      `load(split, **options)`, which returns a `Source`:
      `my_package.my_module` or `path/to/file.py`, with `:function` behind it
      where that has another name.
    split: 'train' to train on; 'validation', images of the published training
      set to look at while training; 'test', which published results are about.
    **options: the options of that data set's own `load`.

  Returns:
    The split. The same arguments give the same images.

  Raises:
    ValueError: an unknown data set or option, what its own `load` refuses, no
      images, or such as could not be trained on or certified.
    DatasetNotFound: its files are not there; the text says what to do.
  """
  found = _find(name)
  unknown = [option for option in options if option not in found.options]
  if unknown and not found.takes_all:
    nearest = difflib.get_close_matches(unknown[0], found.options, n=1)
    hint = f'; did you mean {nearest[0]!r}?' if nearest else ''
    raise ValueError(
      f'the data set {name} has no option {unknown[0]!r}, only'
      f' {", ".join(found.options) or "none"}{hint}'
    )
  arguments = {**options, **found.fixed}
  if found.own is not None:
    source = _load_own(found.load, name, split, arguments)
  else:
    source = found.load(split, **arguments)
  refuse_unusable(source, f'the split {split!r} of {name}')
  return source


def chosen(options: Mapping[str, Any]) -> dict[str, Any]:
  """What a configuration says of its data set, without what is for others.

  A configuration has fields for data sets of several kinds, so that one can be
  exchanged for another. Those that the data set does not have are left out, and
  so are `OPTIONS` that are unset.

  Args:
    options: `name` and the other fields.

  Returns:
    Arguments of `load` but for the split.

  Raises:
    ValueError: an unknown data set.
  """
  found = _find(options['name'])
  unset = {n for n, x in OPTIONS.items() if n in options and options[n] == x}
  taken = {
    name: value
    for name, value in options.items()
    if name != 'name'
    and name not in unset
    and (name in found.options or found.takes_all)
  }
  others = [n for n in options if n not in {'name', *unset, *taken}]
  if others:
    splits.tell_once(
      f'the data set {options["name"]} does not take {", ".join(others)}, which'
      ' are for others'
    )
  return {'name': options['name'], **taken}


def identity(options: Mapping[str, Any]) -> dict[str, Any]:
  """The options of `load` that decide which images there are.

  Where they are stored is not among them.

  Args:
    options: as `chosen` takes them.
  """
  found = _find(options['name'])
  taken = chosen(options)
  usual = {}
  if not is_published(options['name']):  # whose runs never recorded them
    usual = {
      name: option.default
      for name, option in found.options.items()
      if option.default is not option.empty
    }
  known = {**usual, **taken}
  if found.own is not None:  # the folder of its file may move
    known['name'] = named.short(found.own).removesuffix(f':{_FUNCTION}')
  return {name: x for name, x in known.items() if name not in _PLACES}


def sources(options: Mapping[str, Any]) -> dict[str, str | None]:
  """The hash of the file with a `load` of the user's own, see `named`."""
  own = _find(options['name']).own
  return {} if own is None else {'data': named.source_hash(own)}


def is_published(name: str) -> bool:
  """Whether a data set is known by its name, wherever its files are."""
  return name in PUBLISHED


def _find(name: str) -> _Found:
  if name in _MODULES:
    return _Found(importlib.import_module(_MODULES[name]).load, {})
  if name.startswith(_TFDS):
    module = importlib.import_module('dualrs_jax.data.tfds')
    return _Found(module.load, {'dataset': name.removeprefix(_TFDS)})
  if not (named.is_reference(name) or '.' in name):
    nearest = difflib.get_close_matches(name, _MODULES, n=1, cutoff=0)[0]
    raise ValueError(
      f'unknown data set {name!r}; did you mean {nearest!r}? Others are'
      f' {_TFDS}{name}, my_package.my_module and path/to/file.py'
    )
  reference = name if named.is_reference(name) else f'{name}:{_FUNCTION}'
  function = named.attribute(reference)
  if not callable(function):
    raise ValueError(f'{reference} is no function, but {function!r}')
  try:
    parameters = inspect.signature(function).parameters
  except (TypeError, ValueError) as error:
    raise ValueError(f'{reference} does not say what it takes') from error
  if not parameters:
    raise ValueError(
      f'{reference} takes nothing: it is called with the name of a split, and'
      ' with options by name'
    )
  return _Found(function, {}, own=reference)


def _load_own(
  function: Callable[..., Any], name: str, split: str, options: dict[str, Any]
) -> Source:
  try:
    source = function(split, **options)
  except Exception as error:
    first = str(error).strip().partition('\n')[0]
    raise ValueError(
      f'{name}, given the split {split!r}'
      + ''.join(f' and {option} = {x!r}' for option, x in options.items())
      + f', raised {type(error).__name__}: {first}'
    ) from error
  if not isinstance(source, Source):
    raise ValueError(
      f'{name} returned a {type(source).__name__} for the split {split!r}, and'
      ' should return a dualrs_jax.data.Source'
    )
  return source
