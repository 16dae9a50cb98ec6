"""Folders of Hugging Face: the original's logits, sizes, and wrong folders."""

import json
import shutil

import numpy as np
import pytest

from dualrs_jax import models
from dualrs_jax.pretrained import huggingface, matching
from dualrs_jax.pretrained.matching import ImportFailure
from tests import parity_classifiers as parity


def folder(tmp_path, name='hf_vit_a', weights=None, **settings):
  """A copy of a fixture, with other settings or the weights of another."""
  copy = tmp_path / 'hf'
  shutil.copytree(parity.DATA / name / 'hf', copy)
  path = copy / 'config.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | settings))
  if weights:
    other = parity.DATA / weights / 'hf' / 'model.safetensors'
    shutil.copy(other, copy / 'model.safetensors')
  return copy


@pytest.mark.parametrize('name', ['hf_vit_a', 'hf_beit_a'])
def test_logits_are_those_of_the_original(name):
  logits = parity.logits(parity.model(name), parity.pixels(name))
  expected = parity.arrays(name)['logits']
  np.testing.assert_allclose(logits, expected, rtol=0, atol=3e-5)


@pytest.mark.parametrize(
  ('name', 'architecture', 'correspondence'),
  [
    (
      'hf_vit_base_patch16_224_cifar10',
      models.ViT,
      huggingface.vit_correspondence,
    ),
    (
      'hf_beit_large_patch16_512',
      models.BEiT,
      huggingface.beit_correspondence,
    ),
  ],
)
def test_published_files_map_one_to_one(name, architecture, correspondence):
  model = parity.full_size(architecture)
  ignored = ('relative_position_index',)
  parity.full_size_fits(name, model, correspondence(model), ignored)


def test_sizes_are_those_of_the_folder():
  published = huggingface.read(parity.DATA / 'hf_vit_a' / 'hf')
  assert published.sizes == {
    'num_classes': 10,
    'image_shape': (32, 32, 3),
    'patch': 8,
    'width': 64,
    'depth': 3,
    'heads': 4,
    'hidden': 128,
    'epsilon': 1e-12,
    'mean': (0.5, 0.5, 0.5),
    'deviation': (0.5, 0.5, 0.5),
  }


def test_normalisation_is_that_of_the_preprocessor(tmp_path):
  path = folder(tmp_path)
  preprocessor = path / 'preprocessor_config.json'
  preprocessor.write_text('{"image_mean": [0.1, 0.2, 0.3]}')
  sizes = huggingface.read(path).sizes
  assert (sizes['mean'], sizes['deviation']) == ((0.1, 0.2, 0.3), (0.5,) * 3)
  preprocessor.write_text('{"do_normalize": false, "image_std": [2, 2, 2]}')
  sizes = huggingface.read(path, {'mean': (1, 1, 1)}).sizes
  assert (sizes['mean'], sizes['deviation']) == ((1, 1, 1), (1.0,) * 3)


def test_fields_that_are_missing_have_their_usual_values(tmp_path):
  path = folder(tmp_path)
  settings = json.loads((path / 'config.json').read_text())
  for name in ('qkv_bias', 'layer_norm_eps', 'num_channels', 'hidden_act'):
    del settings[name]
  (path / 'config.json').write_text(json.dumps(settings))
  original = huggingface.read(parity.DATA / 'hf_vit_a' / 'hf')
  assert huggingface.read(path).sizes == original.sizes


def test_normalisation_may_be_that_of_all_channels_at_once(tmp_path):
  path = folder(tmp_path)
  preprocessor = path / 'preprocessor_config.json'
  preprocessor.write_text('{"image_mean": 0.1, "rescale_factor": 0.003921569}')
  assert huggingface.read(path).sizes['mean'] == (0.1, 0.1, 0.1)


@pytest.mark.parametrize(
  'settings', [{'do_rescale': False}, {'rescale_factor': 1 / 127.5}]
)
def test_other_pixel_units_are_refused(tmp_path, settings):
  path = folder(tmp_path)
  preprocessor = path / 'preprocessor_config.json'
  preprocessor.write_text(json.dumps(settings))
  with pytest.raises(ImportFailure, match='not say that pixels are divided by'):
    huggingface.read(path)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'hidden_size': '64'}, "hidden_size = '64', not a positive whole number"),
    ({'num_hidden_layers': 0}, 'num_hidden_layers = 0, not a positive whole'),
    ({'image_size': [32, 32]}, r'image_size = \[32, 32\], not a positive'),
    ({'layer_norm_eps': None}, 'layer_norm_eps = None, not a small positive'),
    ({'model_type': ['vit']}, r"holds a model of type \['vit'\], not one of"),
    ({'id2label': 10}, 'has no id2label, so .* holds no classifier'),
  ],
)
def test_settings_that_make_no_sense_are_told(tmp_path, settings, message):
  with pytest.raises(ImportFailure, match=message):
    huggingface.read(folder(tmp_path, **settings))


@pytest.mark.parametrize(
  ('name', 'settings', 'message'),
  [
    ('hf_vit_a', {'model_type': 'deit'}, "type 'deit', not one of vit, beit"),
    ('hf_vit_a', {'hidden_act': 'gelu_new'}, "= 'gelu_new', which must be"),
    ('hf_vit_a', {'qkv_bias': False}, 'qkv_bias = False'),
    ('hf_beit_a', {'use_mean_pooling': False}, 'use_mean_pooling = False'),
    (
      'hf_beit_a',
      {'use_shared_relative_position_bias': True},
      'use_shared_relative_position_bias = True',
    ),
  ],
)
def test_other_architectures_are_told(tmp_path, name, settings, message):
  with pytest.raises(ImportFailure, match=message):
    huggingface.read(folder(tmp_path, name, **settings))


def test_weights_of_another_architecture_are_told(tmp_path):
  published = huggingface.read(folder(tmp_path, weights='hf_beit_a'))
  with pytest.raises(ImportFailure) as failure:
    matching.build(published)
  message = str(failure.value)
  assert 'vit.encoder.layer.2.output.dense.weight' in message
  assert 'beit.encoder.layer.2.lambda_2' in message


def test_a_model_of_other_depth_is_told_by_every_array(tmp_path):
  published = huggingface.read(folder(tmp_path, num_hidden_layers=4))
  with pytest.raises(ImportFailure, match='16 missing: ') as failure:
    matching.build(published)
  for name in published.arrays:
    if name.startswith('vit.encoder.layer.2.'):
      assert name.replace('.2.', '.3.') in str(failure.value)


def test_folders_without_weights_or_settings_are_told(tmp_path):
  path = folder(tmp_path)
  for name in ('model.safetensors', 'pytorch_model.bin'):
    (path / name).unlink()
  with pytest.raises(ImportFailure, match='neither model.safetensors nor'):
    huggingface.read(path)
  (path / 'config.json').write_text('[]')
  with pytest.raises(ImportFailure, match='does not hold settings in JSON'):
    huggingface.read(path)
  (path / 'config.json').unlink()
  with pytest.raises(ImportFailure, match='there is no file .*config.json'):
    huggingface.read(path)


def test_a_model_that_is_no_classifier_is_told(tmp_path):
  path = folder(tmp_path)
  settings = json.loads((path / 'config.json').read_text())
  del settings['id2label']
  (path / 'config.json').write_text(json.dumps(settings))
  with pytest.raises(ImportFailure, match='holds no classifier'):
    huggingface.read(path)


@pytest.mark.torch
def test_the_older_format_holds_the_same(tmp_path):
  pytest.importorskip('torch')
  path = folder(tmp_path)
  newer = huggingface.read(path)
  (path / 'model.safetensors').unlink()
  older = huggingface.read(path)
  assert older.source.endswith('pytorch_model.bin')
  assert set(older.arrays) == set(newer.arrays)
  for name, array in older.arrays.items():
    np.testing.assert_array_equal(array, newer.arrays[name], strict=True)
