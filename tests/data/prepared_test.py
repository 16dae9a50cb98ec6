"""What describes a prepared data set: missing, empty, damaged, of another."""

import json
import shutil

import pytest

from dualrs_jax import data

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
