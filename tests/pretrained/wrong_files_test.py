"""Whatever the command is given instead: one sentence, nothing executed."""

import gzip
import io
import os
import pickle
import shutil
import zipfile

import pytest

from dualrs_jax.pretrained.__main__ import main
from tests import parity_classifiers as parity

#: Where each importer finds weights of PyTorch.
FILES = {
  'openai_diffusion': 'model.pt',
  'huggingface': 'pytorch_model.bin',
  'timm_beit': 'beit.pth',
  'cifar_resnet': 'checkpoint.pth.tar',
  'resnet': 'resnet50.pth',
}
KINDS = list(FILES)

VIT = parity.DATA / 'hf_vit_a' / 'hf'
LEGACY = parity.DATA / 'cifar_resnet20_a' / 'checkpoint_legacy_cuda.pth.tar'
ZIPPED = parity.DATA / 'imagenet_resnet_a' / 'checkpoint.pth.tar'

CODE = (
  'FILE holds posix.mkdir besides tensors, which would be code to execute, so'
  ' it is not read; save its state_dict alone'
)


class Code:
  """Makes a folder where the pickle that holds it is executed."""

  def __init__(self, folder):
    self.folder = folder

  def __reduce__(self):
    return os.mkdir, (str(self.folder),)


@pytest.fixture
def executed(tmp_path):
  return tmp_path / 'executed'


@pytest.fixture
def failure(tmp_path, capsys, executed):
  """What the command says of a path; it must leave nothing behind."""

  def of(kind, path):
    out = tmp_path / 'out'
    assert main([kind, str(path), '--out', str(out)]) == 1
    assert not out.exists()
    assert not executed.exists()
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert error.count('\n') == 1
    return error.removeprefix('error: ').rstrip('\n')

  return of


@pytest.fixture
def of_content(tmp_path, failure):
  """What the command says of a file, which it calls FILE here."""

  def of(kind, content, name=None):
    file = tmp_path / 'given' / (name or FILES[kind])
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    if kind == 'huggingface':
      shutil.copy(VIT / 'config.json', file.parent)
    given = file.parent if kind == 'huggingface' else file
    return failure(kind, given).replace(str(file), 'FILE')

  return of


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'', 'FILE is empty'),
    (
      b'\xef\xbb\xbf\n<!DOCTYPE html><html><body>Sign in',
      'FILE is a web page, not a checkpoint; download the file itself',
    ),
    (
      b'version https://git-lfs.github.com/spec/v1\noid sha256:8f\nsize 9\n',
      'FILE is a pointer of Git LFS, not a checkpoint; run `git lfs pull`',
    ),
  ],
)
def test_what_is_saved_in_its_place(of_content, kind, content, message):
  assert of_content(kind, content) == message


@pytest.mark.parametrize('kind', ['huggingface', 'timm_beit'])
@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (
      b'<html>',
      'FILE is a web page, not a checkpoint; download the file itself',
    ),
    (b'PK\x03\x04' + bytes(100), 'FILE is no safetensors file'),
    (pickle.dumps(Code('executed'), 2), 'FILE is no safetensors file'),
    (
      (1000).to_bytes(8, 'little') + b'{"a": ',
      'FILE is cut short or damaged in its header',
    ),
    (
      (58).to_bytes(8, 'little')
      + b'{"a":{"dtype":"F32","shape":[9,9],"data_offsets":[0,324]}}'
      + bytes(323),
      'FILE is cut short or damaged at a',
    ),
  ],
)
def test_what_is_no_safetensors_file(of_content, kind, content, message):
  assert of_content(kind, content, 'model.safetensors') == message


@pytest.mark.parametrize('kind', KINDS)
def test_a_folder_or_a_file_in_place_of_the_other(tmp_path, failure, kind):
  folder = tmp_path / 'models'
  folder.mkdir()
  file = folder / 'a'
  file.write_bytes(b'a')
  given, message = {
    'huggingface': (
      file,
      f'{file} is no folder: give the one that holds config.json and the'
      ' weights',
    ),
    'timm_beit': (
      folder,
      f'{folder} holds neither model.safetensors nor pytorch_model.bin, nor an'
      ' index of several',
    ),
  }.get(kind, (folder, f'{folder} is a folder: give the file that is in it'))
  assert failure(kind, given) == message


def test_safetensors_of_another_architecture(of_content):
  content = (VIT / 'model.safetensors').read_bytes()
  assert of_content('timm_beit', content, 'model.safetensors') == (
    'FILE is of another architecture: it holds none of the 391 arrays'
    " expected, such as 'cls_token', but 'classifier.bias' and so on"
  )


def saved(content, *, zipped=True, **options):
  torch = pytest.importorskip('torch')
  file = io.BytesIO()
  torch.save(content, file, _use_new_zipfile_serialization=zipped, **options)
  return file.getvalue()


@pytest.mark.torch
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('zipped', [True, False])
def test_code_in_a_checkpoint(of_content, executed, kind, zipped):
  content = {'state_dict': {}, 'optimizer': Code(executed)}
  assert of_content(kind, saved(content, zipped=zipped)) == CODE


@pytest.mark.torch
@pytest.mark.parametrize('kind', KINDS)
def test_code_alone(of_content, executed, kind):
  pytest.importorskip('torch')
  assert of_content(kind, pickle.dumps(Code(executed), 2)) == CODE


@pytest.mark.torch
@pytest.mark.filterwarnings('ignore:.torch.jit:DeprecationWarning')
@pytest.mark.parametrize('kind', KINDS)
def test_a_program(of_content, kind):
  torch = pytest.importorskip('torch')
  file = io.BytesIO()
  torch.jit.save(torch.jit.trace(torch.sin, torch.ones(1)), file)
  assert of_content(kind, file.getvalue()) == (
    'FILE is a TorchScript program, which would be code to execute, so it is'
    ' not read; save its state_dict alone'
  )


@pytest.mark.torch
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('whole', [LEGACY, ZIPPED])
def test_a_file_cut_short(of_content, kind, whole):
  pytest.importorskip('torch')
  content = whole.read_bytes()
  half = content[: len(content) // 2]
  assert of_content(kind, half) == 'FILE is cut short or damaged'


@pytest.mark.torch
@pytest.mark.parametrize('kind', KINDS)
def test_another_zip_archive(of_content, kind):
  pytest.importorskip('torch')
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w') as archive:
    archive.writestr('weights.npy', b'a')
  message = 'FILE is a zip archive, but no file of PyTorch'
  assert of_content(kind, file.getvalue()) == message


@pytest.mark.torch
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
  'content', [b'hello, world', (VIT / 'model.safetensors').read_bytes()]
)
def test_another_file(of_content, kind, content):
  pytest.importorskip('torch')
  assert of_content(kind, content) == 'FILE is not a file of PyTorch'


@pytest.mark.torch
@pytest.mark.filterwarnings('ignore:.*quantize_per_tensor:UserWarning')
@pytest.mark.parametrize('kind', KINDS)
def test_what_is_no_plain_array(of_content, kind):
  torch = pytest.importorskip('torch')
  for name, tensor in {
    'sparse': torch.eye(3).to_sparse(),
    'absent': torch.ones(2, device='meta'),
    'endless': torch.ones(1).expand(10**13),
    'steps': torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
  }.items():
    message = of_content(kind, saved({'state_dict': {name: tensor}}))
    assert message.startswith(f'FILE: {name} is no plain array (')


PROTOCOL = (
  'FILE is pickled by protocol {}, which is not read; load it in PyTorch and'
  ' save it again with torch.save, without pickle_protocol'
)


@pytest.mark.torch
@pytest.mark.parametrize('kind', ['huggingface', 'resnet'])
@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize(
  ('protocol', 'name'), [(0, '0 or 1'), (1, '0 or 1'), (4, '4'), (5, '5')]
)
def test_another_protocol(of_content, kind, zipped, protocol, name):
  torch = pytest.importorskip('torch')
  weights = {'state_dict': {'a': torch.ones(3)}}
  content = saved(weights, zipped=zipped, pickle_protocol=protocol)
  assert of_content(kind, content) == PROTOCOL.format(name)


@pytest.mark.torch
@pytest.mark.parametrize('zipped', [True, False])
def test_a_whole_module(of_content, zipped):
  torch = pytest.importorskip('torch')
  message = of_content('resnet', saved(torch.nn.Linear(2, 3), zipped=zipped))
  assert message == CODE.replace(
    'posix.mkdir', 'torch.nn.modules.linear.Linear'
  )


@pytest.mark.torch
@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (gzip.compress(b'weights'), 'FILE is compressed by gzip; unpack it'),
    (
      pickle.dumps({'a': 1}, 4),
      'FILE is a pickle, but not of torch.save, or cut short or damaged; save'
      ' its state_dict with torch.save',
    ),
  ],
  ids=['gzip', 'pickle'],
)
def test_other_packages(of_content, content, message):
  pytest.importorskip('torch')
  assert of_content('resnet', content) == message


OTHERS = {
  'openai_diffusion': "FILE is no diffusion model of OpenAI's: it has no array"
  ' time_embed.0.weight',
  'huggingface': 'FILE is of another architecture: it holds none of the 56'
  " arrays expected, such as 'vit.embeddings.cls_token', but"
  " '1.module.conv1.weight' and so on",
  'timm_beit': 'FILE is of another architecture: it holds none of the 391'
  " arrays expected, such as 'cls_token', but '1.module.conv1.weight' and so"
  ' on',
  'cifar_resnet': "FILE holds a network 'resnet50', which is no CIFARResNet",
  'resnet': "FILE holds a network 'cifar_resnet20', which is no ResNet",
}


@pytest.mark.torch
@pytest.mark.parametrize('kind', KINDS)
def test_another_architecture(of_content, kind):
  pytest.importorskip('torch')
  other = LEGACY if kind == 'resnet' else ZIPPED
  assert of_content(kind, other.read_bytes()) == OTHERS[kind]
