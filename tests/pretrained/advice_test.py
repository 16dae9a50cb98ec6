"""What a message advises is done, and the conversion succeeds."""

import gzip
import io
import json
import pickle
import re
import shutil

import numpy as np
import pytest

from dualrs_jax.pretrained import torch_files
from dualrs_jax.pretrained.__main__ import main
from dualrs_jax.pretrained.matching import ImportFailure
from tests import parity_classifiers, parity_unets

VIT = parity_classifiers.DATA / 'hf_vit_a' / 'hf'


def write(path, arrays, dtype=None):
  """A safetensors file, of a type of that name if one is given."""
  header, content = {}, b''
  for name, array in arrays.items():
    data = np.ascontiguousarray(array, np.float32).tobytes()
    offsets = [len(content), len(content) + len(data)]
    header[name] = {
      'dtype': dtype or 'F32',
      'shape': list(array.shape),
      'data_offsets': offsets,
    }
    content += data
  text = json.dumps(header).encode()
  path.write_bytes(len(text).to_bytes(8, 'little') + text + content)
  return str(path)


@pytest.fixture
def convert(tmp_path, capsys):
  """Converts to a folder; returns the sentence that says why it did not."""

  def run(*arguments, out=tmp_path / 'out'):
    status = main([*map(str, arguments), '--out', str(out)])
    error = capsys.readouterr().err
    assert (status, error.count('\n')) in ((0, 0), (1, 1))
    return error

  return run


def options(sizes):
  shown = {k: str(v).replace(' ', '') for k, v in sizes.items()}
  return ['--sizes', *(f'{k}={v}' for k, v in shown.items())]


def test_sizes_of_another_diffusion_model(convert, tmp_path):
  name = 'guided_unet_a'
  path = write(tmp_path / 'a.safetensors', parity_unets.weights(name))
  told = convert('openai_diffusion', path)
  assert told.endswith('; give all sizes of the model (--sizes)\n')
  sizes = parity_unets.SIZES[name] | {'channels': 3, 'learned_variance': True}
  assert not convert('openai_diffusion', path, *options(sizes))


def test_sizes_of_another_beit(convert, tmp_path):
  folder = shutil.copytree(
    parity_classifiers.DATA / 'timm_beit_a', tmp_path / 'beit'
  )
  config = folder / 'config.json'
  config.write_text(config.read_text().replace('beit_large', 'beit_small'))
  told = convert('timm_beit', folder)
  assert told.endswith(': give the sizes that differ (--sizes)\n')
  sizes = options(parity_classifiers.TIMM_SIZES)
  assert not convert('timm_beit', folder, *sizes)


def test_one_of_several_networks(convert, tmp_path):
  name = 'cifar_resnet20_a'
  weights = parity_classifiers.arrays(name, 'weights')
  both = {
    f'{k}.{n}': a for k in ('student', 'teacher') for n, a in weights.items()
  }
  path = write(tmp_path / 'a.safetensors', both)
  arguments = 'cifar_resnet', path, '--sizes', 'depth=20'
  told = convert(*arguments)
  advised = re.search(r'choose with --key, as in (--key) (\S+)\n$', told)
  assert advised
  assert not convert(*arguments, *advised.groups())


def test_another_type_of_arrays(convert, tmp_path):
  name = 'cifar_resnet20_a'
  weights = parity_classifiers.arrays(name, 'weights')
  path = write(tmp_path / 'a.safetensors', weights, 'F8_E8M0')
  arguments = 'cifar_resnet', path, '--sizes', 'depth=20'
  assert convert(*arguments).endswith(': save it as F32\n')
  write(tmp_path / 'a.safetensors', weights)
  assert not convert(*arguments)


@pytest.mark.parametrize('left', ['a file', 'a part', 'a whole'])
def test_a_folder_in_use(convert, tmp_path, left):
  out = tmp_path / 'out'
  if left == 'a file':
    out.write_text('')
    assert convert('huggingface', VIT).endswith('no folder: give a new one\n')
    out = tmp_path / 'new'
  else:
    assert not convert('huggingface', VIT)
    if left == 'a part':
      (out / 'model.json').unlink()
    assert convert('huggingface', VIT).endswith('remove the folder\n')
    shutil.rmtree(out)
  assert not convert('huggingface', VIT, out=out)


def saved(torch, content, **changes):
  file = io.BytesIO()
  torch.save(content, file, **changes)
  return file.getvalue()


def loaded(torch, content):
  return torch.load(io.BytesIO(content), weights_only=False)


#: What is wrong, the advice, and how it is followed.
FILES = [
  (
    lambda t: saved(t, t.nn.Linear(2, 3)),
    'save its state_dict alone',
    lambda t, content: saved(t, loaded(t, content).state_dict()),
  ),
  (
    lambda t: saved(t, {'a': t.ones(2)}, pickle_protocol=4),
    'save it again with torch.save, without pickle_protocol',
    lambda t, content: saved(t, loaded(t, content)),
  ),
  (
    lambda t: gzip.compress(saved(t, {'a': t.ones(2)})),
    'unpack it',
    lambda t, content: gzip.decompress(content),
  ),
  (
    lambda t: pickle.dumps({'a': t.ones(2)}),
    'save its state_dict with torch.save',
    lambda t, content: saved(t, pickle.loads(content)),
  ),
]


@pytest.mark.torch
@pytest.mark.parametrize(('wrong', 'advice', 'follow'), FILES)
def test_a_file_of_pytorch_is_saved_again(tmp_path, wrong, advice, follow):
  torch = pytest.importorskip('torch')
  path = tmp_path / 'model.pt'
  path.write_bytes(wrong(torch))
  with pytest.raises(ImportFailure, match=f'{advice}$'):
    torch_files.read_torch(path)
  path.write_bytes(follow(torch, path.read_bytes()))
  assert torch_files.read_torch(path).arrays
