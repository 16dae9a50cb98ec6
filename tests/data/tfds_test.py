"""Data sets of tensorflow-datasets by name: both forms, any features."""

import logging
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from dualrs_jax import data
from dualrs_jax.data import encoded_images, splits, tfds_folder
from tests.data import pictures

SPLITS = {'train': 40, 'test': 12}


@pytest.fixture(autouse=True)
def told_again():
  splits.tell_once.cache_clear()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Data sets of all kinds, prepared."""
  root = tmp_path_factory.mktemp('tfds')
  pictures.prepare(root, 'plain', SPLITS)
  pictures.prepare(root / 'other', 'plain', SPLITS, form='tfrecord')
  names = {'image': 'picture', 'label': 'kind'}
  pictures.prepare(root, 'named', {'train': 30}, channels=1, **names)
  shape = (None, None, 3)
  pictures.prepare(root, 'loose', {'test': 9}, declared=shape)
  return root


def load(folder, name, split='test', **options):
  return data.load(f'tfds:{name}', split, data_dir=str(folder), **options)


@pytest.mark.parametrize('form', ['', 'other'])
def test_it_is_what_tensorflow_datasets_reads(folder, form):
  builder = tfds.builder_from_directory(folder / 'plain' / '1.0.0')
  examples = builder.as_data_source(
    'test', decoders={'image': tfds.decode.SkipDecoding()}
  )
  source = load(folder / form, 'plain')
  assert source.labels.tolist() == [example['label'] for example in examples]
  assert source.indices.tolist() == list(range(12))
  assert source.class_names == ('kind 0', 'kind 1', 'kind 2')
  known = {
    pictures.pixels(n % 3, n).tobytes(): n % 3
    for n in range(max(SPLITS.values()))
  }
  for image, label in zip(source.images, source.labels.tolist(), strict=True):
    assert known[image.tobytes()] == label


@pytest.mark.parametrize('form', ['', 'other'])
def test_a_validation_set_is_carved_out_and_told(folder, form, caplog):
  with caplog.at_level(logging.INFO):
    parts = [load(folder / form, 'plain', s) for s in ('train', 'validation')]
  together = np.concatenate([part.indices for part in parts])
  assert sorted(together.tolist()) == list(range(40))
  assert parts[0].provenance == ''
  assert 'of 40 images, by the hash' in parts[1].provenance
  assert "tfds:plain has no split 'validation': it is" in caplog.text


def test_names_of_features_and_splits(folder):
  sources = {split: load(folder, 'named', split) for split in splits.SPLITS}
  assert sum(map(len, sources.values())) == 30
  assert sources['train'].image_shape == (9, 7, 1)
  named = {'image_feature': 'picture', 'label_feature': 'kind'}
  again = load(folder, 'named', 'train', **named)
  assert again.fingerprint() == sources['train'].fingerprint()
  swapped = {'train_split': 'test', 'test_split': 'train'}
  assert len(load(folder, 'plain', 'test', **swapped)) == 40
  train = load(folder, 'plain', 'train', validation_share=0.2, **swapped)
  assert len(train) < 12
  # What serves for another split is no test set as well.
  rest = load(folder, 'plain', 'test', validation_split='test')
  assert 'of 40 images' in rest.provenance


def test_on_the_disk_they_are_the_same_images(folder, monkeypatch):
  memory = load(folder, 'loose', size=8)
  assert memory.in_memory
  assert load(folder, 'loose').image_shape == (9, 7, 3)  # all of one size
  monkeypatch.setattr(encoded_images, 'MOST_IN_MEMORY', 100)
  monkeypatch.setattr('dualrs_jax.data.tfds.MOST_IN_MEMORY', 100)
  for form in ('', 'other'):
    stored = load(folder / form, 'plain' if form else 'loose', size=8)
    assert not stored.in_memory
    if not form:
      images, labels = stored.gather(np.arange(9))
      assert np.array_equal(images, memory.images)
      assert np.array_equal(labels, memory.labels)


def test_the_version_and_the_only_configuration_are_found(folder, tmp_path):
  for variant in ('rgb', 'deep'):
    shutil.copytree(folder / 'plain', tmp_path / 'plain' / variant)
    if variant == 'rgb':
      assert len(load(tmp_path, 'plain')) == 12
  for name in ('plain/rgb', 'plain/rgb:1.0.0'):
    assert len(load(tmp_path, name)) == 12
  with pytest.raises(
    ValueError, match='one of tfds:plain/deep, tfds:plain/rgb'
  ):
    load(tmp_path, 'plain')
  with pytest.raises(
    data.DatasetNotFound, match='tfds build plain/rgb:2.0.0 -'
  ):
    load(tmp_path, 'plain/rgb:2.0.0')


WRONG = [
  (
    'absent',
    {},
    'absent is not prepared in .*data.download = True, or, with t',
  ),
  ('Plain!', {}, "'tfds:Plain!' names no data set: it is written tfds:name"),
  (
    'plain',
    {'image_feature': 'x'},
    "no feature 'x' that is the image .*image_f",
  ),
  (
    'plain',
    {'label_feature': 'remark'},
    "'remark' that is the class .*'label'",
  ),
  (
    'plain',
    {'test_split': 'tset'},
    "no split 'tset', which data.test_split nam",
  ),
  (
    'plain',
    {'test_split': 'train', 'train_split': 'train'},
    'given for several',
  ),
  ('loose', {'split': 'train'}, "no split 'train' and none to carve it out of"),
  ('plain', {'held_out': 3}, "no option 'held_out', only data_dir, download"),
  ('plain', {'size': (-1,)}, 'data.size must be height and width in pixels'),
]


@pytest.mark.parametrize(('name', 'options', 'message'), WRONG)
def test_what_is_wrong_is_told_in_a_sentence(folder, name, options, message):
  with pytest.raises((ValueError, OSError), match=message) as raised:
    load(folder, name, **options)
  assert '\n' not in str(raised.value)


def test_images_of_several_sizes_are_told(tmp_path):
  whole = pictures.pixels
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      pictures,
      'pixels',
      lambda kind, number, **shape: whole(
        kind, number, **{**shape, 'height': 9 + number}
      ),
    )
    pictures.prepare(tmp_path, 'uneven', {'test': 4}, declared=(None, None, 3))
  with pytest.raises(
    ValueError, match='several sizes, from 9 x 7 .* to 12 x 7'
  ):
    load(tmp_path, 'uneven')
  assert load(tmp_path, 'uneven', resize=6).image_shape == (6, 6, 3)


def test_labels_that_were_not_published_are_told(folder, monkeypatch):
  monkeypatch.setattr(
    tfds.features.FeaturesDict,
    'deserialize_example_np',
    lambda *_, **__: {'image': b'', 'label': -1},
  )
  with pytest.raises(ValueError, match=r'no label \(-1\).*another split'):
    load(folder, 'plain')


def test_it_is_prepared_if_that_is_asked_for(tmp_path, monkeypatch):
  def builder(name, *, data_dir, file_format):
    assert (name, file_format) == ('plain', 'array_record')

    class Builder:
      def download_and_prepare(self):
        pictures.prepare(tmp_path / 'there', 'plain', SPLITS)

    assert data_dir == str(tmp_path / 'there')
    return Builder()

  monkeypatch.setattr(tfds, 'builder', builder)
  source = load(tmp_path / 'there', 'plain', download=True)
  assert len(source) == 12
  monkeypatch.setattr(tfds, 'builder', None)  # it is there now
  again = load(tmp_path / 'there', 'plain', download=True)
  assert again.fingerprint() == source.fingerprint()


def test_preparing_that_fails_is_told(tmp_path):
  # No builder has this name, so that the network is not asked.
  with pytest.raises(
    ValueError, match='could not prepare no_such_set'
  ) as raised:
    load(tmp_path / 'none', 'no_such_set', download=True)
  assert '\n' not in str(raised.value)
  assert not (tmp_path / 'none').exists()


def test_a_builder_that_needs_tensorflow_is_told(tmp_path, monkeypatch):
  def builder(*_, **__):
    raise ModuleNotFoundError("No module named 'tensorflow'")

  monkeypatch.setattr(tfds, 'builder', builder)
  with pytest.raises(ValueError, match='install tensorflow, which its builder'):
    tfds_folder.find('plain', tmp_path, download=True)
