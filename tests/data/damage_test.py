"""Damaged files: the right data, or one sentence that says where.

Single bits are flipped and ends cut off at random places of every format.
`outcome` is what a longer search uses as well.
"""

import re
import shutil

import numpy as np
import pytest

from dualrs_jax import data

SPLITS = {'cifar10': 'test', 'imagenet': 'test'}
#: Data set and form, the file that is damaged, and how messages name a part.
CASES = {
  'cifar10-tfrecord': ('cifar10', 'tfrecord', 'cifar10/3.0.2/*-test*'),
  'cifar10-array_record': ('cifar10', 'array_record', 'cifar10/3.0.2/*-test*'),
  'cifar10-archive': ('cifar10', 'archive', '*.tar.gz'),
  'imagenet-tfrecord': ('imagenet', 'tfrecord', '*/5.1.0/*-validation*00-of*'),
  'imagenet-array_record': (
    'imagenet',
    'array_record',
    '*/5.1.0/*-validation*00-of*',
  ),
}
PART = {
  'tfrecord': r'record \d+|holds \d+ examples|image \d+ of',
  'array_record': r'record \d+|holds \d+ examples|its index|image \d+ of',
  'archive': 'damaged or incomplete',
}


def read(name, folder):
  sizes = {'resize': 40, 'crop': 32} if name == 'imagenet' else {}
  source = data.load(name, 'test', data_dir=str(folder), **sizes)
  return source.gather(np.arange(len(source)))


def damaged(content, rng):
  """The content with a flipped bit; in one of four cases, cut short."""
  place = int(rng.integers(len(content)))
  if rng.integers(4) == 0:
    return content[:place]
  flipped = bytearray(content)
  flipped[place] ^= 1 << int(rng.integers(8))
  return bytes(flipped)


def outcome(case, drawings, folder, rngs):
  """Counts what became of a data set whose file was damaged."""
  name, form, pattern = CASES[case]
  shutil.copytree(drawings / form, folder)
  expected = read(name, folder)
  [path] = folder.glob(pattern)
  content = path.read_bytes()
  counts = {'right': 0, 'refused': 0}
  for rng in rngs:
    path.write_bytes(damaged(content, rng))
    try:
      images, labels = read(name, folder)
    except ValueError as error:
      message = str(error)
      assert path.name in message, message
      assert '\n' not in message, message
      assert re.search(PART[form], message), message
      counts['refused'] += 1
    else:
      assert np.array_equal(images, expected[0])
      assert np.array_equal(labels, expected[1])
      counts['right'] += 1
  return counts


@pytest.mark.parametrize('case', CASES)
def test_damage_is_harmless_or_told(case, drawings, tmp_path):
  rngs = [np.random.default_rng([7, number]) for number in range(16)]
  counts = outcome(case, drawings, tmp_path / 'data', rngs)
  assert counts['refused'] >= 4
