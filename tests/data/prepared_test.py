"""What describes a prepared data set: missing, empty, damaged, of another."""

import json
import shutil
import struct

import pytest

from dualrs_jax import data
from dualrs_jax.data.crc32c import masked_crc32c
from dualrs_jax.data.record_files import FORMS

NAMES = ('features.json', 'dataset_info.json')


@pytest.fixture(params=['cifar10', 'imagenet2012'])
def version(request, drawings, tmp_path):
  """The folder of a copy of a data set."""
  [source] = (drawings / 'tfrecord' / request.param).iterdir()
  return shutil.copytree(source, tmp_path / request.param / source.name)


def failure(version, kind: type[Exception] = ValueError):
  name = version.parent.name.removesuffix('2012')
  with pytest.raises(kind) as raised:
    data.load(name, 'test', data_dir=str(version.parents[1]))
  assert '\n' not in str(raised.value)
  return str(raised.value)


@pytest.mark.parametrize('name', NAMES)
def test_a_missing_description_is_told(version, name):
  (version / name).unlink()
  message = f'{version / name} is missing: copy or prepare it again'
  assert failure(version, data.DatasetNotFound) == message


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize(
  'content', [b'', b'{', b'[]', b'\xff\xfe', b'<html>', b'{"a": [1]}', b'{}']
)
def test_a_damaged_description_is_told(version, name, content):
  (version / name).write_bytes(content)
  message = failure(version)
  assert str(version) in message
  assert message.endswith('prepare it again')


@pytest.mark.parametrize('name', NAMES)
def test_a_byte_order_mark_is_told(version, name):
  path = version / name
  path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
  assert f'{path} is not what tensorflow-datasets reads (a byte-' in failure(
    version
  )


def test_the_features_of_another_version_are_told(version):
  path = version / 'features.json'
  used = {'cifar10': 'id', 'imagenet2012': 'file_name'}[version.parent.name]
  content = json.loads(path.read_text())
  del content['featuresDict']['features'][used]
  path.write_text(json.dumps(content))
  message = failure(version)
  assert f'{path} has no feature {used!r}, only [' in message


def test_another_number_of_classes_is_told(version):
  labels = version / 'label.labels.txt'
  labels.unlink()
  path = version / 'features.json'
  content = json.loads(path.read_text())
  label = content['featuresDict']['features']['label']
  label['classLabel']['numClasses'] = '7'
  path.write_text(json.dumps(content))
  assert 'has 7 classes where the published data set has' in failure(version)


def test_a_split_without_examples_is_told(version):
  path = version / 'dataset_info.json'
  info = json.loads(path.read_text())
  for split in info['splits']:
    split['shardLengths'] = ['0'] * len(split['shardLengths'])
  path.write_text(json.dumps(info))
  for records in version.glob('*tfrecord-*'):
    records.write_bytes(b'')
  assert 'has no examples of the split' in failure(version)


def test_empty_files_are_told(version):
  for records in version.glob('*tfrecord-*'):
    records.write_bytes(b'')
  assert 'holds 0 examples where dataset_info.json' in failure(version)


def test_a_label_that_is_no_class_is_told(drawings, tmp_path):
  folder = tmp_path / 'cifar10' / '3.0.2'
  shutil.copytree(drawings / 'tfrecord' / 'cifar10' / '3.0.2', folder)
  path = folder / 'cifar10-test.tfrecord-00000-of-00001'
  records = [bytearray(r) for _, r in FORMS['tfrecord'].scan(path)]
  label = records[7].index(b'label') + len(b'label') + 6  # a varint, of a byte
  assert records[7][label] < 10
  records[7][label] = 64
  with path.open('wb') as file:
    for record in records:
      for part in (struct.pack('<Q', len(record)), bytes(record)):
        file.write(part + struct.pack('<I', masked_crc32c(part)))
  with pytest.raises(
    ValueError, match=f'^record 7 of {path} has label 64, whe'
  ):
    data.load('cifar10', 'test', data_dir=str(tmp_path))
