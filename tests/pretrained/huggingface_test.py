"""Folders of Hugging Face: the original's logits, sizes, and wrong folders."""

import codecs
import json
import shutil

import numpy as np
import pytest

from dualrs_jax import models
from dualrs_jax.pretrained import converted, huggingface, matching
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


def stored(path, arrays):
  """Writes arrays as safetensors."""
  header, data = {}, b''
  for name, array in arrays.items():
    ends = [len(data), len(data) + array.nbytes]
    header[name] = {
      'dtype': 'F32',
      'shape': array.shape,
      'data_offsets': ends,
    }
    data += array.tobytes()
  text = json.dumps(header).encode()
  path.unlink(missing_ok=True)  # what is there may be mapped
  path.write_bytes(len(text).to_bytes(8, 'little') + text + data)


def logits(published):
  model = models.inference_view(matching.build(published))
  return parity.logits(model, parity.pixels('hf_vit_a'))


def test_a_model_without_biases_is_that_with_biases_of_zero(tmp_path):
  path = folder(tmp_path)
  whole = huggingface.read(path)
  parts = ('query.bias', 'key.bias', 'value.bias')
  zeros = {
    name: 0 * array if name.endswith(parts) else array
    for name, array in whole.arrays.items()
  }
  without = {n: a for n, a in zeros.items() if not n.endswith(parts)}
  assert len(without) == 56 - 9
  stored(path / 'model.safetensors', without)
  with pytest.raises(ImportFailure, match='9 missing: .*attention.query.bias'):
    matching.build(huggingface.read(path))
  config = path / 'config.json'
  settings = json.loads(config.read_text()) | {'qkv_bias': False}
  config.write_text(json.dumps(settings))
  np.testing.assert_array_equal(
    logits(huggingface.read(path)), logits(whole._replace(arrays=zeros))
  )


def in_shards(path):
  """Splits the weights of a folder over two files with an index."""
  arrays = huggingface.read(path).arrays
  (path / 'model.safetensors').unlink()
  names = list(arrays)
  where = {}
  for number, some in enumerate((names[::2], names[1::2]), 1):
    file = f'model-0000{number}-of-00002.safetensors'
    stored(path / file, {name: arrays[name] for name in some})
    where |= dict.fromkeys(some, file)
  index = path / 'model.safetensors.index.json'
  index.write_text(json.dumps({'metadata': {}, 'weight_map': where}))
  return index, where


def test_weights_in_several_files_are_the_weights(tmp_path):
  path = folder(tmp_path)
  (path / 'pytorch_model.bin').unlink()
  whole = huggingface.read(path)
  index, _ = in_shards(path)
  parts = huggingface.read(path)
  assert parts.source == str(index)
  assert set(parts.arrays) == set(whole.arrays)
  for name, array in whole.arrays.items():
    np.testing.assert_array_equal(parts.arrays[name], array, strict=True)
  sizes = {'depth': 3}
  model = matching.build(parts)
  first = converted.save(tmp_path / 'a', model, sizes, source=str(index))
  shard = path / 'model-00002-of-00002.safetensors'
  shard.write_bytes(shard.read_bytes()[:-1] + b'x')
  second = converted.save(tmp_path / 'b', model, sizes, source=str(index))
  assert first['sha256'] != second['sha256']


def test_an_index_that_lies_is_told(tmp_path):
  path = folder(tmp_path)
  index, where = in_shards(path)
  first, second = sorted(set(where.values()))
  name = next(iter(where))

  def failure(**changes):
    index.write_text(json.dumps({'weight_map': where | changes}))
    with pytest.raises(ImportFailure) as raised:
      huggingface.read(path)
    return str(raised.value)

  message = failure(**{name: 'model-00003-of-00003.safetensors'})
  assert message == (
    f'{index} names 3 files, of which 1 are missing:'
    ' model-00003-of-00003.safetensors'
  )
  assert f'{path / first} also holds {name}, other' in failure(**{name: second})
  assert f'{path / first} lacks absent, other' in failure(absent=first)
  assert 'an index and no weights' in failure(**{name: index.name})
  assert 'no file beside it' in failure(**{name: '../x.safetensors'})
  (path / second).unlink()
  assert failure().endswith(f'1 are missing: {second}')
  index.write_text('{"metadata": {}}')
  with pytest.raises(ImportFailure, match='has no weight_map'):
    huggingface.read(path)


def test_a_byte_order_mark_is_no_obstacle(tmp_path):
  path = folder(tmp_path)
  for name in ('config.json', 'preprocessor_config.json'):
    file = path / name
    text = file.read_text() if file.exists() else '{}'
    file.write_bytes(codecs.BOM_UTF8 + text.encode())
  original = huggingface.read(parity.DATA / 'hf_vit_a' / 'hf')
  assert huggingface.read(path).sizes == original.sizes


@pytest.mark.parametrize('prefix', ['module.', '_orig_mod.', 'model.module.'])
def test_words_before_all_names_do_not_matter(tmp_path, prefix):
  path = folder(tmp_path)
  whole = huggingface.read(path).arrays
  stored(
    path / 'model.safetensors',
    {f'{prefix}{name}': array for name, array in whole.items()},
  )
  assert huggingface.read(path).arrays.keys() == whole.keys()


def test_one_of_two_networks_is_chosen(tmp_path):
  path = folder(tmp_path)
  whole = huggingface.read(path).arrays
  both = {f'student.{name}': 2 * array for name, array in whole.items()}
  both |= {f'teacher.{name}': array for name, array in whole.items()}
  stored(path / 'model.safetensors', both)
  message = "has weights in 'student' and 'teacher': choose with --key"
  with pytest.raises(ImportFailure, match=message):
    huggingface.read(path)
  chosen = huggingface.read(path, key='teacher').arrays
  assert chosen.keys() == whole.keys()
  name = 'classifier.weight'
  np.testing.assert_array_equal(chosen[name], whole[name])
  with pytest.raises(ImportFailure, match="'ema', only 'student' and 'teach"):
    huggingface.read(path, key='ema')


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
