"""Images and their numbers, as they come: what is no example is refused."""

from collections.abc import Generator, Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from dualrs_jax import validation, voting

#: An image and its number.
Example = tuple[int, Float[Array | np.ndarray, '*image']]


def checked(
  examples: Iterable[Example], levels: Sequence[float], noise: Any
) -> Generator[Example]:
  """Refuses what is no example; copies images, as a caller may reuse memory.

  Args:
    examples: Pairs of a dataset index and an image.
    levels: Every noise level that will be drawn.
    noise: The sampler of noisy images.
  """
  shape = None
  try:
    pairs = iter(examples)
  except TypeError as error:
    raise _no_pair(examples) from error
  for example in pairs:
    try:
      index, image = example
      if np.ndim(index):
        raise TypeError
    except (TypeError, ValueError) as error:
      raise _no_pair(example) from error
    validation.check_whole('A dataset index', index)
    if not 0 <= index < 2**31:
      raise ValueError(f'A dataset index is in [0, 2**31), unlike {index}.')
    image = validation.as_array(image, 'The image')
    validation.check_image(image)
    voting.check_noise(noise, image, np.asarray(levels, np.float32))
    image = np.array(image, np.float32)
    if shape not in (None, image.shape):
      raise ValueError(
        f'The images of a run have one shape, but {image.shape} at index'
        f' {index} follows {shape}.'
      )
    shape = image.shape
    yield int(index), image


def _no_pair(example: Any) -> ValueError:
  return ValueError(
    'An example is a pair of a dataset index and an image, not a'
    f' {type(example).__name__}: enumerate(images) makes pairs of images.'
  )
