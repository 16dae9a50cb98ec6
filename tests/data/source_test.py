"""Sources in memory: what is picked, what is kept, what tells them apart."""

import dataclasses
import hashlib

import numpy as np
import pytest

from dualrs_jax import data


@pytest.fixture
def source():
  rng = np.random.default_rng(0)
  return data.Source(
    rng.integers(0, 256, (6, 4, 3, 2), np.uint8),
    np.array([0, 1, 2, 0, 1, 2], np.int32),
    np.array([10, 20, 30, 40, 50, 60]),
    3,
    {'size': np.arange(6.0)},
  )


def test_gather_picks_by_position_whatever_the_stream(source):
  for stream in (None, (0, 1)):
    images, labels = source.gather(np.array([5, 0, 5]), stream=stream)
    assert np.array_equal(images, source.images[[5, 0, 5]])
    assert labels.tolist() == [2, 0, 2]


def test_take_keeps_names_and_facts(source):
  part = source.take(np.array([4, 1]))
  assert np.array_equal(part.images, source.images[[4, 1]])
  assert part.indices.tolist() == [50, 20]
  assert part.labels.tolist() == [1, 1]
  assert part.facts['size'].tolist() == [4, 1]
  assert part.num_classes == 3
  assert part.image_shape == (4, 3, 2)
  assert (len(part), part.in_memory) == (2, True)


def test_fingerprint_is_of_images_labels_and_indices(source):
  expected = hashlib.sha256()
  for array in (source.images, source.labels, source.indices):
    expected.update(f'{array.dtype}{array.shape}'.encode() + array.tobytes())
  assert source.fingerprint() == expected.hexdigest()[:16]
  flipped = source.images.copy()
  flipped[3, 2, 1, 0] ^= 1
  others = [
    dataclasses.replace(source, images=flipped),
    dataclasses.replace(source, labels=source.labels[::-1]),
    dataclasses.replace(source, indices=source.indices + 1),
    source.take(np.arange(5)),
  ]
  assert len({s.fingerprint() for s in [source, *others]}) == 5
  same = dataclasses.replace(source, facts={})
  assert same.fingerprint() == source.fingerprint()


@pytest.mark.parametrize(
  ('labels', 'message'),
  [
    ([0, 1, 3, 0, 1, 2], '^it has label 3 at image 30, where there are 3 cla'),
    ([0, 1, 2, 0, 1, -1], '^it has label -1 at image 60, where there are 3'),
  ],
)
def test_labels_that_are_no_classes_are_refused(source, labels, message):
  data.refuse_unusable(source, 'it')
  other = dataclasses.replace(source, labels=np.array(labels, np.int32))
  with pytest.raises(ValueError, match=message):
    data.refuse_unusable(other, 'it')
  with pytest.raises(ValueError, match='^it has no images$'):
    data.refuse_unusable(source.take(np.arange(0)), 'it')
