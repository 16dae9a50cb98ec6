"""Images in files of NumPy: taken as they are, or refused in a sentence."""

import logging

import numpy as np
import pytest

from dualrs_jax import data
from dualrs_jax.data import splits
from tests.data import pictures

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 5, 6, 3), np.uint8)
LABELS = np.arange(40) % 3


@pytest.fixture(autouse=True)
def told_again():
  splits.tell_once.cache_clear()


def load(folder, split='train', **options):
  return data.load('arrays', split, data_dir=str(folder), **options)


def save(folder, split='train', **arrays):
  np.savez(
    folder / f'{split}.npz', **{'images': IMAGES, 'labels': LABELS} | arrays
  )
  return folder


def test_files_are_the_splits(tmp_path):
  names = np.array(['ant', 'bee', 'cat', 'dog'])
  for count, split in enumerate(splits.SPLITS, start=7):
    save(
      tmp_path, split, images=IMAGES[:count], labels=LABELS[:count], names=names
    )
  for count, split in enumerate(splits.SPLITS, start=7):
    source = load(tmp_path, split)
    assert np.array_equal(source.images, IMAGES[:count])
    assert np.array_equal(source.labels, LABELS[:count])
    assert source.indices.tolist() == list(range(count))
    assert (source.num_classes, source.class_names) == (4, tuple(names))
    assert source.provenance == ''


def test_images_that_are_added_stay_behind_the_others(tmp_path):
  def found():
    parts = {split: load(tmp_path, split) for split in splits.SPLITS}
    return {
      (split, index): image.tobytes()
      for split, part in parts.items()
      for index, image in zip(part.indices.tolist(), part.images, strict=True)
    }

  save(tmp_path, images=IMAGES[:30], labels=LABELS[:30])
  before = found()
  assert len(before) == 30
  save(tmp_path)
  after = found()
  assert len(after) == 40
  assert before.items() <= after.items()


def test_numbers_in_0_1_are_rounded_and_told(tmp_path, caplog):
  save(tmp_path, images=(IMAGES[..., 0] / 255).astype(np.float32))
  save(tmp_path, 'test', images=np.full((40, 5, 6), 0.5))
  with caplog.at_level(logging.INFO):
    train, test = load(tmp_path), load(tmp_path, 'test')
  assert train.image_shape == (5, 6, 1)
  assert np.array_equal(train.images, IMAGES[train.indices, ..., :1])
  assert set(test.images.ravel()) == {128}
  assert 'test.npz has images of float64: they are rounded' in caplog.text
  assert 'changes a pixel by at most 0.002' in caplog.text


CHANNELS_FIRST = IMAGES.transpose(0, 3, 1, 2)
NAMES = np.array(['a', 'b'])
WRONG = [
  ({'images': CHANNELS_FIRST}, r'\(40, 3, 5, 6\).*transpose\(0, 2, 3, 1\) br'),
  ({'images': IMAGES[0]}, r'images of shape \(5, 6, 3\) and labels of shape'),
  ({'images': IMAGES.reshape(40, -1)}, r'of shape \(40, 90\), which should be'),
  ({'images': IMAGES.astype(np.int32)}, 'images of int32, which should be uin'),
  (
    {'images': IMAGES.astype(np.float32)},
    r'from 0.0 to 255.0, .* divide by 255',
  ),
  ({'images': np.full(IMAGES.shape, np.nan)}, 'from nan to nan, which should'),
  ({'images': np.zeros((40, 5, 6, 2), np.uint8)}, 'with 1 or 3 channels'),
  ({'labels': LABELS[:-1]}, r'labels of shape \(39,\), and should have one'),
  ({'labels': LABELS - 1}, 'has the label -1, and classes are numbered from'),
  ({'labels': LABELS / 1}, 'labels of float64 and shape'),
  ({'labels': np.eye(3, dtype=int)[LABELS]}, r'int64 and shape \(40, 3\)'),
  ({'labels': LABELS * 0}, 'has 1 class, and needs two or more'),
  ({'names': NAMES}, 'has the label 2 and names for 2 classes'),
  ({'names': np.arange(3)}, 'has names of int64 and shape'),
  ({'labels': LABELS + 2**30}, '1073741826, and only 40 images: number cl'),
  ({'names': np.array([b'ant', b'b\xff', b'c'])}, 'train.npz .* no UTF-8'),
  (
    {'images': np.nextafter(np.ones_like(IMAGES, np.float32), np.float32(2))},
    r'train.npz .* 1.0000001, which .*: numpy.clip\(images, 0, 1\)',
  ),
  ({'images': np.array([None] * 40)}, 'no .npz file of plain arrays'),
]


@pytest.mark.parametrize(('arrays', 'message'), WRONG)
def test_what_is_wrong_is_told_in_a_sentence(tmp_path, arrays, message):
  save(tmp_path, **arrays)
  with pytest.raises(ValueError, match=message) as raised:
    load(tmp_path)
  assert '\n' not in str(raised.value)
  assert [path.name for path in tmp_path.iterdir()] == ['train.npz']


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'', r'train.npz is no .npz file of plain arrays \(No data left'),
    (b'<html>', r'is no .npz file of plain arrays \('),
  ],
)
def test_what_is_no_file_of_numpy_is_told(tmp_path, content, message):
  (tmp_path / 'train.npz').write_bytes(content)
  with pytest.raises(ValueError, match=message) as raised:
    load(tmp_path)
  assert '\n' not in str(raised.value)


def test_a_damaged_or_other_file_is_told(tmp_path):
  path = pictures.write_arrays(tmp_path / 'train.npz', [9, 9])
  content = path.read_bytes()
  path.write_bytes(content[: len(content) // 2])
  with pytest.raises(ValueError, match='is no .npz file of plain arrays'):
    load(tmp_path)
  np.savez(path, x=IMAGES, labels=LABELS)
  with pytest.raises(ValueError, match="no array 'images', but x, labels: num"):
    load(tmp_path)
  save(tmp_path)
  (tmp_path / 'test.npz').write_bytes(content[: len(content) // 2])
  with pytest.raises(ValueError, match='test.npz is no .npz file of plain arr'):
    load(tmp_path)
  with path.open('wb') as file:
    np.save(file, IMAGES)
  with pytest.raises(ValueError, match='is no .npz file of plain arrays'):
    load(tmp_path)


def test_files_that_do_not_fit_together_are_told(tmp_path):
  save(tmp_path, names=np.array(['a', 'b', 'c']))
  save(tmp_path, 'test')
  with pytest.raises(ValueError, match='have other names of classes'):
    load(tmp_path)


def test_what_is_not_there_is_told(tmp_path):
  with pytest.raises(data.DatasetNotFound, match='no .*test.npz, nor .*train'):
    load(tmp_path, 'test')
  with pytest.raises(data.DatasetNotFound, match='data.data_dir names'):
    load('')
  save(tmp_path, 'test')
  assert len(load(tmp_path, 'test')) == 40
  with pytest.raises(data.DatasetNotFound, match='no .*train.npz: save images'):
    load(tmp_path)
