"""One call of a model of any framework: what it is given, and may return."""

import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from dualrs_jax import validation


def told(error: BaseException) -> str:
  """The kind of an error, where it was raised, and the first line of it.

  Frames of installed packages are passed over, as far as there are others.
  """
  frames = traceback.extract_tb(error.__traceback__)[1:]
  own = [frame for frame in frames if 'site-packages' not in frame.filename]
  where = ''
  if frames:
    frame = (own or frames)[-1]
    where = f' in {frame.filename}, line {frame.lineno}'
  first = str(error).strip().partition('\n')[0]
  return f'{type(error).__name__}{where}: {first}'


def width(
  function: Callable[..., Any], images: Float[np.ndarray, 'batch *image']
) -> int:
  """How many logits a function gives for each of these images."""
  return called(function, [images], name_of(function)).shape[1]


def name_of(function: Any) -> str:
  """What a function is called in messages."""
  name = getattr(function, '__name__', type(function).__name__)
  return f'the model {name}'


def at_the_start(name: str) -> str:
  """A name at the start of a sentence."""
  return name[:1].upper() + name[1:]


def called(function: Any, given: Sequence[Any], name: str) -> np.ndarray:
  """The logits that a function returns; it is given copies of its own.

  Raises:
    ValueError: If it raises, or returns no logits of these images.
  """
  batch = given[0].shape
  try:
    found = function(*(np.array(array, np.float32) for array in given))
  except Exception as error:
    raise ValueError(
      f'{at_the_start(name)} raised {told(error)} (given images of shape'
      f' {batch}).'
    ) from error
  array = validation.as_array(found, f'What {name} returns')
  logits = np.array(array)  # it may hand out one buffer again and again
  if np.iscomplexobj(logits):
    raise ValueError(
      f'Logits are real numbers, not complex ones, as {name} returns.'
    )
  if logits.ndim != 2 or len(logits) != batch[0]:
    raise ValueError(
      f'{at_the_start(name)} maps images [{batch[0]}, *image] to logits'
      f' [{batch[0]}, classes], not to an array of shape {logits.shape}.'
    )
  return logits


def float32(logits: np.ndarray) -> Float[np.ndarray, 'batch classes']:
  """Logits as float32, the largest of each row still where it was."""
  with np.errstate(over='ignore'):
    narrow = logits.astype(np.float32)
  if logits.dtype == np.float32:
    return narrow
  top = np.argmax(logits, axis=1)
  moved = (np.argmax(narrow, axis=1) != top) & ~np.isnan(narrow).any(axis=1)
  narrow[moved] = np.equal.outer(top[moved], np.arange(logits.shape[1]))
  return narrow
