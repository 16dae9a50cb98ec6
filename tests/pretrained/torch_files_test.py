"""Files of PyTorch: read without running them; what is not one is told."""

import argparse
import io
import os
import pickle
import sys
import zipfile

import numpy as np
import pytest

from dualrs_jax.pretrained import torch_files
from dualrs_jax.pretrained.matching import ImportFailure
from tests import parity_classifiers as parity

LEGACY = parity.DATA / 'cifar_resnet20_a' / 'checkpoint_legacy_cuda.pth.tar'
ZIPPED = parity.DATA / 'imagenet_resnet_a' / 'checkpoint.pth.tar'


class Code:
  """Makes a file where the pickle that holds it is executed."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (str(self.path),)


@pytest.fixture
def torch():
  return pytest.importorskip('torch')


def failure(path):
  with pytest.raises(ImportFailure) as raised:
    torch_files.read_torch(path)
  message = str(raised.value)
  assert message.startswith(str(path)) or str(path) in message
  assert '\n' not in message
  return message


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'', 'is empty'),
    (b'\n<!DOCTYPE html><html><body>Sign in', 'is a web page'),
    (b'<html lang="en">', 'is a web page'),
    (b'version https://git-lfs.github.com/spec/v1\n', 'git lfs pull'),
  ],
)
def test_what_is_saved_in_its_place_is_told_without_torch(
  tmp_path, monkeypatch, content, message
):
  monkeypatch.setitem(sys.modules, 'torch', None)
  path = tmp_path / 'model.pt'
  path.write_bytes(content)
  assert message in failure(path)


def test_a_missing_file_is_told(tmp_path):
  assert 'there is no file' in failure(tmp_path / 'model.pt')


def test_without_torch_the_message_says_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, 'torch', None)
  assert "pip install 'dualrs-jax[torch]'" in failure(LEGACY)


@pytest.mark.torch
@pytest.mark.parametrize(
  ('path', 'name'),
  [(LEGACY, 'cifar_resnet20'), (ZIPPED, 'resnet50')],
)
@pytest.mark.usefixtures('torch')
def test_real_checkpoints_are_read_whatever_their_format(path, name):
  file = torch_files.read_torch(path)
  expected = parity.arrays(path.parent.name, 'weights')
  assert file.notes == {'epoch': 90, 'arch': name}
  assert list(file.arrays) == list(expected)
  for array, values in expected.items():
    np.testing.assert_array_equal(file.arrays[array], values, strict=True)


@pytest.mark.torch
@pytest.mark.parametrize('path', [LEGACY, ZIPPED])
@pytest.mark.parametrize('kept', [0.9, 0.1, 0.001])
@pytest.mark.usefixtures('torch')
def test_a_file_cut_short_is_told(tmp_path, path, kept):
  content = path.read_bytes()
  short = tmp_path / path.name
  short.write_bytes(content[: int(kept * len(content))])
  assert 'is cut short or damaged' in failure(short)


def changed(content, name):
  """A zipped file, the last byte of one of its records changed."""
  with zipfile.ZipFile(io.BytesIO(content)) as file:
    member = file.getinfo(name)
  at = member.header_offset  # what stands before a record is told there
  lengths = np.frombuffer(content, '<u2', 2, at + 26)
  at += 30 + int(lengths.sum()) + member.file_size - 1
  return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.torch
@pytest.mark.usefixtures('torch')
def test_one_changed_bit_is_told(tmp_path):
  content = ZIPPED.read_bytes()
  path = tmp_path / 'model.pt'
  with zipfile.ZipFile(ZIPPED) as file:
    names = [i.filename for i in file.infolist() if i.file_size]
  for name in (n for n in names if n.endswith(('.pkl', '/data/0', '/data/9'))):
    path.write_bytes(changed(content, name))
    told = failure(path)
    assert f"Bad CRC-32 for file '{name}'" in told
    assert told.endswith(': copy or download it again')


@pytest.mark.torch
def test_a_file_without_checksums_is_read(torch, tmp_path):
  path = tmp_path / 'model.pt'
  torch.serialization.set_crc32_options(False)
  try:
    torch.save({'a': torch.ones(2)}, path)
  finally:
    torch.serialization.set_crc32_options(True)
  np.testing.assert_array_equal(torch_files.read_torch(path).arrays['a'], 1)


@pytest.mark.torch
@pytest.mark.parametrize('zipped', [True, False])
def test_code_is_refused_and_not_executed(torch, tmp_path, zipped):
  trace = tmp_path / 'executed'
  path = tmp_path / 'model.pt'
  torch.save(
    {'state_dict': {'a': torch.ones(2)}, 'optimizer': Code(trace)},
    path,
    _use_new_zipfile_serialization=zipped,
  )
  assert 'mkdir besides tensors, which would be code' in failure(path)
  assert not trace.exists()
  torch.load(path, weights_only=False)
  assert trace.exists()  # the file is as dangerous as it was meant to be


@pytest.mark.torch
@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.usefixtures('torch')
def test_plain_pickles_are_not_executed(tmp_path, protocol):
  trace = tmp_path / 'executed'
  path = tmp_path / 'model.pt'
  path.write_bytes(pickle.dumps(Code(trace), protocol))
  failure(path)
  assert not trace.exists()


@pytest.mark.torch
def test_other_objects_are_refused(torch, tmp_path):
  path = tmp_path / 'model.pt'
  content = {'state_dict': {'a': torch.ones(2)}, 'args': argparse.Namespace()}
  torch.save(content, path)
  message = failure(path)
  assert 'holds argparse.Namespace besides tensors' in message
  assert 'save its state_dict alone' in message


@pytest.mark.torch
@pytest.mark.parametrize('content', [b'hello, world', bytes(64), b'{"a": 1}'])
@pytest.mark.usefixtures('torch')
def test_other_files_are_told(tmp_path, content):
  path = tmp_path / 'model.pt'
  path.write_bytes(content)
  assert 'is not a file of PyTorch' in failure(path)


@pytest.mark.torch
def test_wrappers_are_opened_and_types_and_strides_do_not_matter(
  torch, tmp_path
):
  whole = torch.arange(6.0).reshape(2, 3)
  arrays = {
    'transposed': whole.T,
    'row': whole[1],
    'half': whole.half(),
    'bfloat16': whole.bfloat16(),
    'parameter': torch.nn.Parameter(whole),
    'count': torch.tensor(3),
  }
  path = tmp_path / 'model.pth'
  torch.save({'model': {'module': arrays}, 'arch': 'x', 'best': 0.5}, path)
  file = torch_files.read_torch(path)
  assert file.notes == {'arch': 'x', 'best': 0.5}
  for name, tensor in arrays.items():
    np.testing.assert_array_equal(
      file.arrays[name], tensor.detach().float().numpy()
    )
  assert file.arrays['half'].dtype == np.float32
  assert file.arrays['count'].dtype == np.int64


@pytest.mark.torch
@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda torch: torch.ones(2), 'holds a Tensor, not a dictionary'),
    (lambda torch: {'epoch': 3, 'arch': 'x'}, 'no tensors, only epoch, arch'),
    (lambda torch: {}, 'holds no tensors'),
  ],
)
def test_files_without_weights_are_told(torch, tmp_path, make, message):
  path = tmp_path / 'model.pth'
  torch.save(make(torch), path)
  assert message in failure(path)


@pytest.mark.torch
@pytest.mark.parametrize('zipped', [True, False])
def test_numbers_of_numpy_beside_the_weights_are_read(torch, tmp_path, zipped):
  path = tmp_path / 'model.pth'
  content = {
    'state_dict': {'a': torch.ones(2)},
    'best': np.float64(0.5),
    'step': np.int64(3),
    'fine': np.bool_(True),
  }
  kind = {'_use_new_zipfile_serialization': zipped}
  torch.save(content, path, **kind)
  assert torch_files.read_torch(path).notes == {'best': 0.5}
  assert list(torch_files.read_torch(path).arrays) == ['a']
  torch.save(content, path, pickle_protocol=3, **kind)  # NumPy writes it so
  assert 'is pickled by protocol 3, which is not read' in failure(path)
  torch.save(content['state_dict'], path, pickle_protocol=3, **kind)
  assert list(torch_files.read_torch(path).arrays) == ['a']


def test_a_directory_that_points_before_the_file(tmp_path):
  """Nothing of PyTorch is needed to see it: the records do not fit."""
  path = tmp_path / 'model.pth'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('archive/data.pkl', b'content')
  whole = bytearray(path.read_bytes())
  whole[-4] ^= 1  # of the offset of the directory, 2**16 more
  path.write_bytes(whole)
  with pytest.raises(ImportFailure, match='is damaged .a record begins before'):
    torch_files._check_checksums(path)


@pytest.mark.torch
@pytest.mark.parametrize('zipped', [True, False])
def test_single_bits_are_harmless_or_told(torch, tmp_path, zipped):
  path = tmp_path / 'model.pth'
  content = {'state_dict': torch.nn.Linear(3, 4).state_dict(), 'epoch': 3}
  torch.save(content, path, _use_new_zipfile_serialization=zipped)
  whole = path.read_bytes()
  rng = np.random.default_rng(0)
  messages = []
  for _ in range(100):
    damaged = bytearray(whole)
    damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
    path.write_bytes(damaged)
    try:
      torch_files.read_torch(path)
    except ImportFailure as error:
      messages.append(str(error))
  assert messages
  assert all(text.startswith(f'{path}') for text in messages)
  assert not any('\n' in text for text in messages)


@pytest.mark.torch
def test_big_endian_files_are_read(torch, tmp_path):
  whole = tmp_path / 'whole.pth'
  torch.save({'a': torch.arange(3.0)}, whole)
  path = tmp_path / 'big.pth'
  with zipfile.ZipFile(whole) as file, zipfile.ZipFile(path, 'w') as big:
    for name in file.namelist():
      content = file.read(name)
      if name.endswith('/byteorder'):
        content = b'big'
      elif name.endswith('/data/0'):
        content = np.frombuffer(content, '<f4').astype('>f4').tobytes()
      big.writestr(name, content)
  np.testing.assert_array_equal(
    torch_files.read_torch(path).arrays['a'], range(3)
  )
