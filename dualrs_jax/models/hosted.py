"""Classifiers of other frameworks, by the names of functions that return them.

`module:function` or `path/to/file.py:function` is called without arguments. It
returns a PyTorch module, as it comes; or a function of NumPy images, see
`host.host_classifier`; or a list of either, the same model on several devices.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from dualrs_jax import host, host_calls, named
from dualrs_jax.models import torch_module

#: What a description may say beside the functions.
_OPTIONS = ('functions', 'image_mean', 'image_deviation', 'identity')


def create(
  description: Mapping[str, Any], *, num_classes: int
) -> tuple[host.HostClassifier, ...]:
  """The classifiers that a description names.

  Args:
    description: `{'functions': (reference, ...)}`, and perhaps `image_mean`
      and `image_deviation`, which normalise images for PyTorch modules, and
      `identity`, a text that stands for the weights of other functions.
    num_classes: The width of their logits.

  Raises:
    ValueError: If there is no such function, it refuses to be called, or what
      it returns is no model.
  """
  names = _references(description)
  return tuple(
    host.host_classifier(
      _functions(reference, *_scales(description)),
      num_classes,
      name=f'the model of {named.short(reference)}',
      identity=_identity(reference, description),
    )
    for reference in names
  )


def identity(description: Mapping[str, Any]) -> dict[str, Any]:
  """A description that says of which weights the models are.

  Raises:
    ValueError: If that cannot be known; see `create` for others.
  """
  names = _references(description)
  known = [_identity(reference, description) for reference in names]
  return {
    **{name: value for name, value in description.items() if name in _OPTIONS},
    'functions': [
      f'{named.short(reference)} {each}'.strip()
      for reference, each in zip(names, known, strict=True)
    ],
  }


def source_hash(description: Mapping[str, Any]) -> str | None:
  """A text that changes with the files in which the functions are."""
  found = [named.source_hash(name) for name in _references(description)]
  known = dict.fromkeys(each for each in found if each is not None)
  return ' '.join(known) or None


def _references(description: Mapping[str, Any]) -> Sequence[str]:
  """The names of the functions.

  Raises:
    ValueError: If the description holds something else.
  """
  unknown = [name for name in description if name not in _OPTIONS]
  if unknown:
    raise ValueError(
      f'functions are described by {", ".join(_OPTIONS)}, and not by'
      f' {unknown[0]!r}'
    )
  names = description['functions']
  if isinstance(names, str):
    names = (names,)
  if not names:
    raise ValueError(
      'functions names no model: write my_module:function or'
      ' path/to/file.py:function, which returns it'
    )
  return tuple(names)


def _scales(description: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
  mean = description.get('image_mean', (0.0,))
  deviation = description.get('image_deviation', (1.0,))
  return tuple(mean), tuple(deviation)


def _identity(reference: str, description: Mapping[str, Any]) -> str:
  """What stands for the weights of a model: their hash, or what was given."""
  given = description.get('identity', '')
  if given:
    return given
  functions = _functions(reference, *_scales(description))
  wrong = [
    f for f in functions if not isinstance(f, torch_module.TorchFunction)
  ]
  if wrong:
    raise ValueError(
      f'{reference} returns a {type(wrong[0]).__name__}, whose weights cannot'
      ' be looked at: give model.classifier.identity, a text such as'
      " 'weights of May' that you change whenever the model changes"
    )
  return functions[0].fingerprint()


@functools.lru_cache(maxsize=64)
def _functions(reference: str, mean: tuple, deviation: tuple) -> tuple:
  """The functions of NumPy images that a reference stands for."""
  make = named.attribute(reference)
  if torch_module.is_module(make):
    raise ValueError(
      f'{reference} is a PyTorch module, and should be a function that returns'
      ' one'
    )
  if not callable(make):
    raise ValueError(f'{reference} is no function, but {make!r:.60}')
  try:
    made = make()
  except Exception as error:
    raise ValueError(
      f'{reference}, called without arguments, raised {host_calls.told(error)}'
    ) from error
  several = made if isinstance(made, list | tuple) else (made,)
  wrong = [each for each in several if not callable(each)]
  if wrong or not several:
    what = f'a {type(wrong[0]).__name__}' if wrong else 'an empty list'
    raise ValueError(
      f'{reference} returns {what}, and should return a PyTorch module or a'
      ' function of NumPy images'
    )
  return tuple(
    torch_module.torch_function(each, mean=mean, deviation=deviation)
    if torch_module.is_module(each)
    else each
    for each in several
  )
