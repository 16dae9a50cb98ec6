"""BEiT of timm: the original's logits, sizes, and the authors' own files."""

import json
import shutil

import numpy as np
import pytest

from dualrs_jax import models
from dualrs_jax.models.beit import LARGE16_IMAGENET
from dualrs_jax.pretrained import matching, timm_beit
from dualrs_jax.pretrained.matching import ImportFailure
from tests import parity_classifiers as parity

FOLDER = parity.DATA / 'timm_beit_a'


def test_logits_are_those_of_the_original():
  images = parity.pixels('timm_beit_a')
  logits = parity.logits(parity.model('timm_beit_a'), images)
  expected = parity.arrays('timm_beit_a')['logits']
  np.testing.assert_allclose(logits, expected, rtol=0, atol=3e-5)


def test_the_published_file_maps_one_to_one():
  model = parity.full_size(models.BEiT)
  parity.full_size_fits(
    'timm_beit_large_patch16_512', model, timm_beit.correspondence(model)
  )


def test_sizes_are_published_then_of_the_folder_then_given():
  published = timm_beit.read(FOLDER, {'depth': 3, 'mean': (0.1, 0.2, 0.3)})
  assert published.sizes == {
    **LARGE16_IMAGENET,
    'num_classes': 20,
    'image_shape': (32, 32, 3),
    'depth': 3,
    'mean': (0.1, 0.2, 0.3),
    'deviation': (0.5, 0.5, 0.5),
  }


def test_weights_alone_are_of_the_published_sizes(tmp_path):
  path = shutil.copy(FOLDER / 'model.safetensors', tmp_path)
  assert timm_beit.read(path).sizes == LARGE16_IMAGENET


def test_another_model_needs_its_sizes(tmp_path):
  path = shutil.copytree(FOLDER, tmp_path / 'timm')
  settings = {'architecture': 'beit_base_patch16_224'}
  (path / 'config.json').write_text(json.dumps(settings))
  with pytest.raises(ImportFailure, match="'beit_base_patch16_224', not"):
    timm_beit.read(path)
  assert timm_beit.read(path, {'depth': 12}).sizes['depth'] == 12


@pytest.mark.parametrize(
  'images', [None, {'input_size': 512}, {'input_size': [512]}, {'mean': 0.5}]
)
def test_another_description_of_images_is_told(tmp_path, images):
  path = shutil.copytree(FOLDER, tmp_path / 'timm')
  (path / 'config.json').write_text(json.dumps({'pretrained_cfg': images}))
  with pytest.raises(ImportFailure, match='has another pretrained_cfg than'):
    timm_beit.read(path)


def test_misshapen_arrays_are_named():
  sizes = parity.TIMM_SIZES | {'hidden': 250, 'heads': 8}
  with pytest.raises(ImportFailure) as failure:
    matching.build(timm_beit.read(FOLDER, sizes))
  for number in range(3):
    for name in (
      'mlp.fc1.weight',
      'mlp.fc1.bias',
      'mlp.fc2.weight',
      'attn.relative_position_bias_table',
    ):
      assert f'blocks.{number}.{name} of shape' in str(failure.value)


def test_query_key_and_value_are_not_exchanged():
  published = timm_beit.read(FOLDER, parity.TIMM_SIZES)
  attention = matching.build(published).blocks[1].attention
  parts = [attention.query, attention.key, attention.value]
  kernels = [np.asarray(part.kernel).T for part in parts]
  stacked = published.arrays['blocks.1.attn.qkv.weight']
  np.testing.assert_array_equal(np.concatenate(kernels), stacked)
  assert attention.key.bias is None


@pytest.mark.torch
def test_the_file_of_the_authors_holds_the_same(tmp_path):
  torch = pytest.importorskip('torch')
  published = timm_beit.read(FOLDER, parity.TIMM_SIZES)
  arrays = {
    name: torch.from_numpy(array.copy())
    for name, array in published.arrays.items()
  }
  arrays['blocks.0.attn.relative_position_index'] = torch.zeros(17, 17).long()
  path = tmp_path / 'beit_large_patch16_512.pth'
  torch.save({'model': arrays}, path)
  theirs = timm_beit.read(path, parity.TIMM_SIZES)
  assert set(theirs.arrays) == set(published.arrays)
  for name, array in theirs.arrays.items():
    np.testing.assert_array_equal(array, published.arrays[name], strict=True)
