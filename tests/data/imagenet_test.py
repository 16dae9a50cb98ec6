"""ImageNet: read from disk as needed, numbered as published results are."""

import dataclasses
import io
import logging
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from dualrs_jax import data

FORMS = ('array_record', 'tfrecord')


@pytest.fixture(scope='module')
def stored(drawings):
  """What tensorflow-datasets itself reads: examples in the order on disk."""
  folder = drawings / 'array_record' / 'imagenet2012' / '5.1.0'
  builder = tfds.builder_from_directory(folder)
  return builder.as_data_source(
    decoders={'image': tfds.decode.SkipDecoding()}
  ), builder.info.features['label']


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize(
  ('split', 'published'), [('train', 'train'), ('test', 'validation')]
)
def test_images_are_numbered_as_in_a_folder_per_class(
  imagenet, stored, form, split, published
):
  examples, classes = stored
  # As `sorted` lists folder/file of the published archives once unpacked.
  listed = sorted(
    (classes.int2str(example['label']), example['file_name'].decode(), example)
    for example in examples[published]
  )
  source = imagenet(split, form)
  assert not source.in_memory
  assert source.num_classes == 1000
  assert source.images.shape == (len(listed), 32, 32, 3)
  assert source.images.dtype == np.uint8
  assert source.labels.dtype == np.int32
  assert source.indices.tolist() == list(range(len(listed)))
  names = [name.decode() for name in source.facts['file_name']]
  assert names == [name for _, name, _ in listed]
  assert source.labels.tolist() == [e['label'] for _, _, e in listed]
  images, labels = source.gather(np.arange(len(source)))
  assert np.array_equal(labels, source.labels)
  for image, (_, _, example) in zip(images, listed, strict=True):
    assert np.array_equal(image, published_view(example['image']))


def published_view(encoded):
  """Resize(40) and CenterCrop(32), as their documentation describes them."""
  image = Image.open(io.BytesIO(encoded)).convert('RGB')
  scale = 40 / min(image.size)
  width, height = (int(side * scale + 1e-9) for side in image.size)
  pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
  top, left = (round((side - 32) / 2) for side in pixels.shape[:2])
  return pixels[top : top + 32, left : left + 32]


def test_order_on_disk_is_another(stored):
  names = [example['file_name'] for example in stored[0]['validation']]
  assert names != sorted(names)


def test_numbers_in_file_names_are_ordered_as_texts(imagenet):
  names = imagenet('train').facts['file_name'][:12].tolist()
  numbers = [int(name.split(b'_')[1].split(b'.')[0]) for name in names]
  assert numbers != sorted(numbers)


def test_grey_and_cmyk_become_colour(imagenet):
  source = imagenet('test')
  names = source.facts['file_name'].tolist()
  grey = names.index(b'ILSVRC2012_val_00000003.JPEG')
  four = names.index(b'ILSVRC2012_val_00000004.JPEG')
  images, _ = source.gather(np.array([grey, four]))
  assert np.ptp(images[0], axis=-1).max() == 0
  assert np.ptp(images[1], axis=-1).max() > 50


def test_validation_is_held_out_of_training(imagenet):
  everything = imagenet('train')
  train = imagenet('train', held_out=20)
  held = imagenet('validation', held_out=20)
  assert (len(train), len(held)) == (100, 20)
  together = np.concatenate([train.indices, held.indices])
  assert sorted(together.tolist()) == list(range(120))
  assert np.bincount(held.labels).tolist() == [2] * 10
  for source in (train, held):
    some = np.array([0, 7, len(source) - 1])
    images, labels = source.gather(some)
    expected = everything.gather(source.indices[some])
    assert np.array_equal(images, expected[0])
    assert np.array_equal(labels, expected[1])


def test_both_forms_have_one_fingerprint(imagenet):
  source = imagenet('test')
  assert source.fingerprint() == imagenet('test', 'tfrecord').fingerprint()
  others = [
    imagenet('train'),
    imagenet('test', crop=31),
    imagenet('test', resize=41),
    source.take(np.arange(79)),
    dataclasses.replace(source, labels=source.labels + 1),
  ]
  prints = {other.fingerprint() for other in [source, *others]}
  assert len(prints) == 6


def test_random_views_depend_on_stream_and_index_alone(imagenet):
  source = imagenet('train')
  some = np.array([5, 50, 110])
  views, labels = source.gather(some, stream=(3, 1))
  assert np.array_equal(labels, source.labels[some])
  assert views.shape == (3, 32, 32, 3)
  reordered, _ = source.take(some[::-1]).gather(np.array([2, 0]), stream=(3, 1))
  assert np.array_equal(reordered, views[[0, 2]])
  renamed = dataclasses.replace(
    source.images, indices=source.images.indices + 1
  )
  for others in (
    source.gather(some, stream=(3, 2))[0],
    source.gather(some, stream=(4, 1))[0],
    renamed.augmented(some, (3, 1)),
  ):
    for view, other in zip(views, others, strict=True):
      assert not np.array_equal(view, other)


def test_numpy_does_not_swallow_the_data_set(imagenet):
  with pytest.raises(TypeError, match='imagenet2012-train stays on disk'):
    np.asarray(imagenet('train').images)


def test_a_file_that_changed_is_noticed(imagenet, drawings, tmp_path):
  copy = tmp_path / 'imagenet2012' / '5.1.0'
  shutil.copytree(drawings / 'tfrecord' / 'imagenet2012' / '5.1.0', copy)
  source = data.load('imagenet', 'test', data_dir=str(tmp_path))
  path = copy / 'imagenet2012-validation.tfrecord-00000-of-00002'
  content = path.read_bytes()
  last = content.rindex(b'\xff\xd9')  # of the last JPEG
  path.write_bytes(content[: last - 1] + b'\0' + content[last:])
  position = int(
    np.argmax(np.where(source.images.files == 0, source.images.places, -1))
  )
  with pytest.raises(ValueError, match=f'image {position} of .* is not what'):
    source.gather(np.array([position]))


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'split': 'validation'}, "published validation set.*is the split 'test'"),
    ({'split': 'val'}, 'split must be one of'),
    ({'split': 'test', 'crop': 41}, 'crop must be from 1 to resize, which is'),
    ({'split': 'train', 'held_out': 120}, 'leave some of the 120'),
  ],
)
def test_bad_options_are_refused(imagenet, options, message):
  with pytest.raises(ValueError, match=message):
    imagenet(**options)


def test_what_is_missing_is_said(imagenet, drawings, tmp_path):
  with pytest.raises(data.DatasetNotFound) as refusal:
    imagenet('test', form=tmp_path)
  for part in (
    'ILSVRC2012_img_val.tar',
    'https://image-net.org',
    str(tmp_path / 'downloads' / 'manual'),
    f'tfds build imagenet2012 --data_dir={tmp_path}',
    'TFDS_DATA_DIR',
  ):
    assert part in str(refusal.value)
  assert '\n' not in str(refusal.value)


def test_an_unprepared_split_is_said(imagenet, drawings, tmp_path):
  copy = tmp_path / 'imagenet2012' / '5.1.0'
  shutil.copytree(drawings / 'tfrecord' / 'imagenet2012' / '5.1.0', copy)
  info = copy / 'dataset_info.json'
  info.write_text(info.read_text().replace('"validation"', '"other"'))
  with pytest.raises(data.DatasetNotFound, match="no split 'validation'"):
    imagenet('test', form=tmp_path)
  info.write_text(info.read_text().replace('tfrecord"', 'riegeli"'))
  with pytest.raises(ValueError, match='prepare it again with'):
    imagenet('train', form=tmp_path)


def test_an_incomplete_set_is_reported(imagenet, caplog):
  with caplog.at_level(logging.WARNING):
    imagenet('test')
  assert 'imagenet2012-validation has 80 images' in caplog.text
