"""Which images a split is made of."""

import functools
import logging
import os
import pathlib
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from dualrs_jax import folders
from dualrs_jax.data import hashing

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
  check_name(split)
  if held_out < 0:
    raise ValueError(f'held_out must be at least 0, not {held_out}')
  if split == 'validation' and not held_out:
    raise ValueError(f'held_out is 0: {about_validation}')


def check_name(split: str) -> None:
  """Raises ValueError, in one sentence, for a name that is no split's."""
  if split not in SPLITS:
    raise ValueError(f'split must be one of {[*SPLITS]}, not {split!r}')


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


class Carved(NamedTuple):
  """A part of the training images.

  Attributes:
    positions: which of them.
    provenance: how it came about, in a few words; '' where nothing was carved.
  """

  positions: Int[np.ndarray, ' members']
  provenance: str


def carve(
  names: Sequence[str],
  split: str,
  *,
  missing: Collection[str],
  validation_share: float,
  test_share: float,
  where: str,
) -> Carved:
  """Divides training images where a data set has no other splits.

  Which image is in which split is decided by the hash of its name alone, for
  good, whatever other images there are.

  Args:
    names: of the training images, that name them for good.
    split: which part: 'train', or one of `missing`.
    missing: 'validation' and 'test', as far as the data set has no such split.
    validation_share: of the training images, the share of 'validation'.
    test_share: the same of 'test'.
    where: what messages call the data set.

  Raises:
    ValueError: shares that are none, or a part without images.
  """
  shares = {'validation': validation_share, 'test': test_share}
  for name, share in shares.items():
    if not 0 <= share < 1:
      raise ValueError(
        f'data.{name}_share must be at least 0 and less than 1, not {share}'
      )
  if validation_share + test_share >= 1:
    raise ValueError(
      'data.validation_share and data.test_share must leave something to train'
      f' on, unlike {validation_share} and {test_share}'
    )
  place = hashing.places(names)
  parts = {
    'test': (place < test_share) & ('test' in missing),
    'validation': (place >= 1 - validation_share) & ('validation' in missing),
  }
  parts['train'] = ~(parts['test'] | parts['validation'])
  chosen = np.flatnonzero(parts[split])
  if not len(chosen):
    raise ValueError(
      f'{where} has no split {split!r}, and none of its {len(names)} training'
      f' images stands in for it with data.{split}_share ='
      f' {shares.get(split, 1)}: choose a larger share'
      if split != 'train'
      else f'{where} has no training images left beside the'
      f' data.validation_share of {validation_share} and the data.test_share of'
      f' {test_share}: choose smaller ones'
    )
  if split == 'train':
    return Carved(chosen, '')
  provenance = (
    f'{len(chosen):,} of {len(names):,} images, by the hash of their names'
  )
  tell_once(f'{where} has no split {split!r}: it is {provenance}')
  return Carved(chosen, provenance)


@functools.cache
def tell_once(text: str) -> None:
  """Logs what should be known, however often it is found out."""
  logger.info('%s', text)
