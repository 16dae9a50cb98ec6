"""Conversion from the command line, and what is left without it."""

import json
import shutil
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dualrs_jax import checkpoints, models, pretrained
from dualrs_jax.models.cifar_resnet import RESNET110
from dualrs_jax.pretrained import converted
from dualrs_jax.pretrained.__main__ import main
from tests import parity_classifiers as parity

VIT = parity.DATA / 'hf_vit_a' / 'hf'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A converted ViT, made without PyTorch."""
  path = tmp_path_factory.mktemp('converted') / 'vit'
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(sys.modules, 'torch', None)
    assert main(['huggingface', str(VIT), '--out', str(path)]) == 0
  return path


def logits(model):
  return parity.logits(model, parity.pixels('hf_vit_a'))


def test_a_converted_model_is_the_model(folder):
  expected = logits(parity.model('hf_vit_a'))
  np.testing.assert_array_equal(logits(pretrained.load(folder)), expected)


def test_checkpoints_read_it_too(folder):
  sizes = converted.describe(folder)['sizes']
  other = nnx.eval_shape(lambda: models.ViT(**sizes, rngs=nnx.Rngs(1)))
  model = checkpoints.load_model(folder, other)
  expected = parity.model('hf_vit_a').logits.kernel
  np.testing.assert_array_equal(model.logits.kernel, expected)


def test_the_type_of_the_activations_is_chosen_when_it_is_read(folder):
  low = logits(pretrained.load(folder, dtype=jnp.bfloat16))
  expected = logits(parity.model('hf_vit_a', dtype='bfloat16'))
  np.testing.assert_array_equal(low, expected)


def test_a_converted_network_uses_its_stored_statistics(tmp_path):
  name = 'cifar_resnet20_a'
  source = str(parity.DATA / name / 'weights.npz')
  model, images = parity.model(name), parity.pixels(name)
  training = nnx.view(model, use_running_average=False)
  sizes = RESNET110 | {'depth': 20}
  converted.save(tmp_path, training, sizes, source=source)
  np.testing.assert_array_equal(
    parity.logits(pretrained.load(tmp_path), images),
    parity.logits(model, images),
  )


@pytest.mark.parametrize('change', ['sizes', 'sha256', 'empty', 'gone'])
def test_the_description_must_be_that_of_the_weights(folder, tmp_path, change):
  copy = tmp_path / 'copy'
  shutil.copytree(folder, copy)
  path = copy / 'model.json'
  description = json.loads(path.read_text())
  if change == 'sizes':  # the same arrays make another function of them
    description['sizes']['deviation'] = [1.0, 1.0, 1.0]
  elif change == 'sha256':
    description['sha256'] = '0' * 64
  path.write_text('' if change == 'empty' else json.dumps(description))
  if change == 'gone':
    path.unlink()
  for read in (converted.describe, pretrained.load):
    with pytest.raises(pretrained.ImportFailure, match='not the description'):
      read(copy)


def test_the_folder_says_what_it_holds(folder):
  description = converted.describe(folder)
  assert description == {
    'architecture': 'vit',
    'sizes': description['sizes'],
    'parameters': 114_698,
    'source': 'model.safetensors',
    'sha256': '6f16c51cd6af4fdcecb885f7d40e20b9'
    '860c7e6ba8953c71b8e9113daef01398',
  }


def test_the_command_says_what_it_found_and_checks_it(tmp_path, capsys):
  sizes = [f'{k}={v}' for k, v in parity.TIMM_SIZES.items()]
  out = tmp_path / 'beit'
  path = parity.DATA / 'timm_beit_a'
  arguments = ['timm_beit', str(path), '--out', str(out), '--sizes', *sizes]
  assert main([*arguments, 'mean=.5,.5,.5']) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == f'read {path / "model.safetensors"}: 55 arrays'
  assert lines[1].startswith('BEiT, 164,612 parameters: num_classes=20, image')
  assert lines[2].startswith('output on a fixed image: shape (20,), mean -0.2')
  assert lines[3] == f'saved in {out}, and read back'
  assert pretrained.load(out).mean == (0.5, 0.5, 0.5)


def test_a_folder_in_use_is_left_alone(folder, capsys):
  before = (folder / 'model.json').read_text()
  assert main(['timm_beit', 'nowhere', '--out', str(folder)]) == 1
  message = f'error: {folder} holds a model already: give a new folder, or'
  assert capsys.readouterr().err.startswith(message)
  assert (folder / 'model.json').read_text() == before


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['huggingface', 'nowhere'], 'nowhere is no folder'),
    (['timm_beit', 'nowhere'], 'there is no file nowhere'),
    (['openai_diffusion', 'nowhere.pt'], 'there is no file nowhere.pt'),
    (['resnet', 'nowhere.pth'], 'there is no file nowhere.pth'),
    (['huggingface', str(VIT), '--sizes', 'heads=5'], 'not divide into 5'),
    (['huggingface', str(VIT), '--sizes', 'head=5'], "did you mean 'heads'"),
    (
      ['timm_beit', str(VIT / 'model.safetensors'), '--sizes', 'depth=1'],
      'of another architecture',
    ),
  ],
)
def test_errors_are_one_sentence_and_leave_nothing(
  tmp_path, capsys, arguments, message
):
  out = tmp_path / 'out'
  assert main([*arguments, '--out', str(out)]) == 1
  error = capsys.readouterr().err
  assert error.startswith('error: ')
  assert message in error
  assert error.count('\n') == 1
  assert not out.exists()


def test_weights_that_make_no_finite_output_are_refused(tmp_path, capsys):
  path = shutil.copytree(VIT, tmp_path / 'hf')
  weights = path / 'model.safetensors'
  content = bytearray(weights.read_bytes())
  start = 8 + int.from_bytes(content[:8], 'little')
  header = json.loads(content[8:start])
  first, last = header['classifier.bias']['data_offsets']
  huge = np.full((last - first) // 4, np.finfo('f4').max)
  content[start + first : start + last] = huge.tobytes()
  kernel, end = header['classifier.weight']['data_offsets']
  content[start + kernel : start + end] = np.full(
    (end - kernel) // 4, np.finfo('f4').max
  ).tobytes()
  weights.write_bytes(content)
  assert main(['huggingface', str(path), '--out', str(tmp_path / 'out')]) == 1
  assert 'output is not finite' in capsys.readouterr().err
  assert not (tmp_path / 'out').exists()


def test_a_folder_that_was_not_converted_is_told(tmp_path):
  with pytest.raises(pretrained.ImportFailure, match='no converted model'):
    pretrained.load(tmp_path)
