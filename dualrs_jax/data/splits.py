"""Which published images a split is made of."""

import logging
import os
import pathlib

import numpy as np
from jaxtyping import Int

from dualrs_jax import folders

logger = logging.getLogger(__name__)

#: The splits that every data set has.
SPLITS = ('train', 'validation', 'test')


class DatasetNotFound(FileNotFoundError):
  """A data set is not where it was looked for; the text says what to do."""


def data_folder(data_dir: str) -> pathlib.Path:
  """The folder of the data sets: as given, TFDS_DATA_DIR, or the default.

  Raises:
    DatasetNotFound: it is in the home directory, and none is known.
  """
  default = os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
  try:
    return folders.expand(data_dir or default)
  except folders.NoHome as error:
    raise DatasetNotFound(
      f'{error}; TFDS_DATA_DIR or data_dir names the folder of the data sets'
    ) from error


def check(split: str, held_out: int, about_validation: str) -> None:
  """Raises ValueError, in one sentence, where there is no such split.

  Args:
    split: its name.
    held_out: how many training images make up 'validation'.
    about_validation: what 'validation' is in this data set.
  """
  if split not in SPLITS:
    raise ValueError(f'split must be one of {[*SPLITS]}, not {split!r}')
  if held_out < 0:
    raise ValueError(f'held_out must be at least 0, not {held_out}')
  if split == 'validation' and not held_out:
    raise ValueError(f'held_out is 0: {about_validation}')


def members(
  split: str, *, examples: int, held_out: int
) -> Int[np.ndarray, ' members']:
  """Positions of a split's images in the published set that they are from.

  Args:
    split: 'test' is all of its own published set. 'train' and 'validation'
      share the published training set, and no image is in both.
    examples: images of the published set.
    held_out: how many training images make up 'validation', at equal
      distances in the published order.

  Raises:
    ValueError: nothing would be left to train on.
  """
  if split == 'test':
    return np.arange(examples)
  if held_out >= examples:
    raise ValueError(
      f'held_out must leave some of the {examples} training images, not'
      f' {held_out}'
    )
  held = np.arange(held_out) * examples // max(held_out, 1)
  if split == 'validation':
    return held
  return np.delete(np.arange(examples), held)


def warn_if_incomplete(name: str, *, examples: int, published: int) -> None:
  """Says so where dataset indices will not be those of published results."""
  if examples != published:
    logger.warning(
      '%s has %d images here where the published set has %d: dataset indices'
      ' do not name the images that they name in published results',
      name,
      examples,
      published,
    )
