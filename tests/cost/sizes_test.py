"""Networks without weights: from folders, and in their absence."""

import json

import pytest

from dualrs_jax.cost import sizes

SIZES = {'num_classes': 3, 'image_shape': (8, 8, 3), 'depth': 8}


def of(description, **others):
  options = {'data': 'cifar10', 'image_shape': (8, 8, 3)} | others
  return sizes.of_models(
    {'classifier': description}, widths={'classifier': 3}, **options
  )['classifier']


def test_a_folder_says_its_sizes(tmp_path):
  content = {'architecture': 'cifar_resnet', 'sizes': SIZES}
  (tmp_path / 'model.json').write_text(json.dumps(content))
  found = of({'pretrained': str(tmp_path), 'dtype': 'bfloat16'})
  fresh = of({'name': 'cifar_resnet', 'depth': 8})
  assert found.multiply_adds == fresh.multiply_adds
  assert (found.dtype, fresh.dtype) == ('bfloat16', 'float32')
  assert found.assumed == ''
  several = of({'experts': (str(tmp_path),) * 3})
  assert several.weight_bytes == 3 * fresh.weight_bytes
  assert several.multiply_adds == fresh.multiply_adds


def test_the_size_at_which_denoised_images_are_seen():
  fresh = {'name': 'cifar_resnet', 'depth': 8}
  larger = of({**fresh, 'size': 16}).multiply_adds
  assert larger == pytest.approx(4 * of(fresh).multiply_adds, rel=0.01)


def test_nothing_is_known():
  with pytest.raises(ValueError, match="no published classifier of 'digits'"):
    of({'pretrained': 'nowhere'}, data='digits')


def test_none():
  found = sizes.of_models(
    {'denoiser': {}}, data='digits', image_shape=(8, 8, 1), widths={}
  )
  assert found == {}
