"""CIFAR-10: the same images, in the published order, from all three forms."""

import io
import logging
import shutil
import tarfile

import numpy as np
import pytest

from dualrs_jax import data

FORMS = ('array_record', 'tfrecord', 'archive')


@pytest.fixture(scope='module')
def published(drawings):
  """Images and labels as the archive's description says, parsed by hand."""
  sets = {'train': [], 'test': []}
  path = drawings / 'archive' / 'cifar-10-binary.tar.gz'
  with tarfile.open(path) as archive:
    for name in sorted(archive.getnames()):
      if name.endswith('.bin'):
        file = archive.extractfile(name)
        assert file
        sets['test' if 'test' in name else 'train'].append(file.read())
  return {name: b''.join(parts) for name, parts in sets.items()}


def load(drawings, split, form='archive', **options):
  return data.load('cifar10', split, data_dir=str(drawings / form), **options)


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize(('split', 'size'), [('train', 200), ('test', 100)])
def test_every_form_gives_the_published_images(
  drawings, published, form, split, size
):
  source = load(drawings, split, form)
  assert len(source) == size
  assert source.in_memory
  assert source.num_classes == 10
  assert source.images.dtype == np.uint8
  assert source.images.shape == (size, 32, 32, 3)
  assert source.labels.dtype == np.int32
  assert source.indices.tolist() == list(range(size))
  for number in range(size):
    record = published[split][number * 3073 : (number + 1) * 3073]
    assert source.labels[number] == record[0]
    for channel in range(3):
      plane = record[1 + channel * 1024 : 1 + (channel + 1) * 1024]
      assert source.images[number, :, :, channel].tobytes() == plane


def test_validation_is_held_out_of_training(drawings):
  everything = load(drawings, 'train')
  train = load(drawings, 'train', held_out=30)
  held = load(drawings, 'validation', held_out=30)
  assert (len(train), len(held)) == (170, 30)
  together = np.concatenate([train.indices, held.indices])
  assert sorted(together.tolist()) == list(range(200))
  assert set(np.diff(held.indices)) == {6, 7}
  for source in (train, held):
    assert np.array_equal(source.images, everything.images[source.indices])
    assert np.array_equal(source.labels, everything.labels[source.indices])
  assert len(load(drawings, 'test', held_out=30)) == 100


@pytest.mark.parametrize(
  ('split', 'held_out', 'message'),
  [
    ('val', 5, 'split must be one of'),
    ('validation', 0, 'held_out is 0: CIFAR-10 is published without'),
    ('train', -1, 'held_out must be at least 0, not -1'),
    ('train', 200, 'leave some of the 200 training images, not 200'),
  ],
)
def test_splits_that_do_not_exist_are_refused(
  drawings, split, held_out, message
):
  with pytest.raises(ValueError, match=message):
    load(drawings, split, held_out=held_out)


def test_an_incomplete_set_is_reported(drawings, caplog):
  with caplog.at_level(logging.WARNING):
    load(drawings, 'test')
  assert 'cifar10-test has 100 images' in caplog.text
  assert 'the published set has 10000' in caplog.text


def test_it_is_found_by_the_environment(drawings, monkeypatch, tmp_path):
  monkeypatch.setenv('TFDS_DATA_DIR', str(drawings / 'tfrecord'))
  assert len(data.load('cifar10', 'test')) == 100
  monkeypatch.delenv('TFDS_DATA_DIR')
  monkeypatch.setenv('HOME', str(tmp_path))
  with pytest.raises(data.DatasetNotFound, match='not in') as refusal:
    data.load('cifar10', 'test')
  assert str(tmp_path / 'tensorflow_datasets') in str(refusal.value)
  assert 'https://www.cs.toronto.edu/' in str(refusal.value)
  assert 'TFDS_DATA_DIR' in str(refusal.value)


def archive_without_test_batch(content):
  small = io.BytesIO()
  with (
    tarfile.open(fileobj=io.BytesIO(content)) as whole,
    tarfile.open(fileobj=small, mode='w:gz') as part,
  ):
    for member in whole:
      if 'test' not in member.name:
        part.addfile(member, whole.extractfile(member))
  return small.getvalue()


@pytest.mark.parametrize(
  'damage',
  [
    lambda content: b'<!doctype html><html><title>Not found</title></html>',
    lambda content: b'',
    lambda content: content[: len(content) * 3 // 4],
    lambda content: content[:9_000] + bytes(99) + content[9_099:],
    archive_without_test_batch,
  ],
  ids=['page', 'empty', 'cut', 'overwritten', 'incomplete'],
)
def test_damaged_archives_are_refused(drawings, tmp_path, damage):
  name = 'cifar-10-binary.tar.gz'
  content = (drawings / 'archive' / name).read_bytes()
  (tmp_path / name).write_bytes(damage(content))
  with pytest.raises(ValueError, match='download it again from https://'):
    data.load('cifar10', 'test', data_dir=str(tmp_path))


def with_test_batch(content):
  """An archive whose test set has this content."""

  def damage(_):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w:gz') as archive:
      member = tarfile.TarInfo('cifar-10-batches-bin/test_batch.bin')
      member.size = len(content)
      archive.addfile(member, io.BytesIO(content))
    return file.getvalue()

  return damage


@pytest.mark.parametrize(
  ('damage', 'message'),
  [
    (with_test_batch(b''), 'test_batch.bin has 0 bytes, not a multiple of'),
    (
      with_test_batch(bytes(3072)),
      'has 3072 bytes, not a multiple of the 3073',
    ),
    (
      with_test_batch(bytes(3073) + b'\x0a' + bytes(3072)),
      'record 1 of test_batch.bin has label 10, where there are 10 classes',
    ),
    (archive_without_test_batch, 'test_batch.bin is missing'),
    # The checksum of what was packed is behind all that is needed of it.
    (lambda content: content[:-8] + bytes(8), 'CRC check failed'),
    (lambda content: content[:-2], 'ended before the end-of-stream'),
  ],
)
def test_what_an_archive_lacks_is_named(drawings, tmp_path, damage, message):
  name = 'cifar-10-binary.tar.gz'
  content = (drawings / 'archive' / name).read_bytes()
  (tmp_path / name).write_bytes(damage(content))
  with pytest.raises(ValueError, match=message) as raised:
    data.load('cifar10', 'test', data_dir=str(tmp_path))
  assert str(tmp_path / name) in str(raised.value)


def test_a_missing_file_is_named(drawings, tmp_path):
  copy = tmp_path / 'cifar10' / '3.0.2'
  shutil.copytree(drawings / 'tfrecord' / 'cifar10' / '3.0.2', copy)
  (copy / 'cifar10-test.tfrecord-00000-of-00001').unlink()
  with pytest.raises(data.DatasetNotFound, match='cifar10-test.tfrecord-00000'):
    data.load('cifar10', 'test', data_dir=str(tmp_path))
  assert len(data.load('cifar10', 'train', data_dir=str(tmp_path))) == 200


def test_the_newest_version_is_taken(drawings, tmp_path):
  for version, form in (('3.0.2', 'tfrecord'), ('3.0.10', 'array_record')):
    shutil.copytree(
      drawings / form / 'cifar10' / '3.0.2', tmp_path / 'cifar10' / version
    )
  unfinished = tmp_path / 'cifar10' / 'incomplete.ABC_4.0.0'
  shutil.copytree(drawings / 'tfrecord' / 'cifar10' / '3.0.2', unfinished)
  for path in (tmp_path / 'cifar10' / '3.0.2').glob('*tfrecord*'):
    path.unlink()
  assert len(data.load('cifar10', 'test', data_dir=str(tmp_path))) == 100
