"""Residual networks: the original's logits, prefixes, and wrong files."""

import functools

import numpy as np
import pytest
from flax import nnx

from dualrs_jax import models
from dualrs_jax.models.cifar_resnet import RESNET110
from dualrs_jax.pretrained import matching, torch_resnet
from dualrs_jax.pretrained.matching import ImportFailure
from tests import parity_classifiers as parity

NAMES = ['cifar_resnet20_a', 'imagenet_resnet_a']
PREFIXES = {'cifar_resnet20_a': '1.', 'imagenet_resnet_a': '1.module.'}


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize(
  ('output', 'sizes'),
  [('logits', {}), ('logits_center_only', {'deviation': (1.0, 1.0, 1.0)})],
)
def test_logits_are_those_of_the_original(name, output, sizes):
  logits = parity.logits(parity.model(name, **sizes), parity.pixels(name))
  expected = parity.arrays(name)[output]
  tolerance = 1e-5 * np.abs(expected).max()
  np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
  ('name', 'architecture', 'prefix'),
  [
    ('locuslab_cifar_resnet110', models.CIFARResNet, '1.'),
    ('locuslab_imagenet_resnet50', models.ResNet, '1.module.'),
  ],
)
def test_published_files_map_one_to_one(name, architecture, prefix):
  model = parity.full_size(architecture)
  correspondence = torch_resnet.correspondence(model, prefix=prefix)
  parity.full_size_fits(name, model, correspondence, ('num_batches_tracked',))


def renamed(name, prefix):
  own = PREFIXES[name]
  return {
    prefix + array.removeprefix(own): values
    for array, values in parity.arrays(name, 'weights').items()
  }


@pytest.mark.parametrize('prefix', ['', '1.', 'module.', 'module.1.'])
def test_weights_are_found_behind_any_prefix(prefix):
  name = 'imagenet_resnet_a'
  found = nnx.state(parity.resnet(renamed(name, prefix), name))
  for path, variable in nnx.to_flat_state(nnx.state(parity.model(name))):
    other = dict(nnx.to_flat_state(found))[path]
    np.testing.assert_array_equal(variable[...], other[...])


def test_names_in_messages_are_those_of_the_file():
  name = 'cifar_resnet20_a'
  weights = dict(parity.arrays(name, 'weights'))
  del weights['1.layer2.0.downsample.1.running_var']
  weights['1.bn1.bias'] = np.zeros(3, 'f4')
  missing = '1 missing: 1.layer2.0.downsample.1.running_var; '
  with pytest.raises(ImportFailure, match=f'{missing}1 misfit: 1.bn1.bias of'):
    parity.resnet(weights, name)
  del weights['1.fc.bias']
  weights['1.fc.bais'] = np.zeros(10, 'f4')
  with pytest.raises(ImportFailure, match='1 unexpected: 1.fc.bais;'):
    parity.resnet(weights, name)


@pytest.mark.parametrize(
  ('arch', 'architecture'),
  [
    ('cifar_resnet20', models.ResNet),
    ('resnet50', models.CIFARResNet),
    ('lenet', models.CIFARResNet),
    ('wide_resnet50_2', models.ResNet),
  ],
)
def test_the_name_in_the_file_must_agree(arch, architecture):
  with pytest.raises(ImportFailure, match=f"a network '{arch}', which is no"):
    torch_resnet.from_arrays(
      {}, architecture=architecture, source='x', name=arch
    )


@pytest.mark.parametrize(
  ('arch', 'depth'),
  [('cifar_resnet20', 20), ('cifar100_resnet110', 110), (None, 110)],
)
def test_the_depth_is_that_of_the_name(arch, depth):
  read = functools.partial(
    torch_resnet.from_arrays,
    {},
    architecture=models.CIFARResNet,
    source='x',
    name=arch,
  )
  assert read().sizes == RESNET110 | {'depth': depth}
  assert read({'depth': 8}).sizes['depth'] == 8


@pytest.mark.parametrize(
  ('name', 'other'), [tuple(NAMES), tuple(reversed(NAMES))]
)
def test_another_architecture_is_told(name, other):
  with pytest.raises(ImportFailure, match='missing|none of the'):
    parity.resnet(parity.arrays(other, 'weights'), name)


@pytest.mark.torch
@pytest.mark.parametrize(
  ('name', 'file'),
  [
    ('cifar_resnet20_a', 'checkpoint_legacy_cuda.pth.tar'),
    ('imagenet_resnet_a', 'checkpoint.pth.tar'),
  ],
)
def test_real_checkpoints_make_the_same_model(name, file):
  pytest.importorskip('torch')
  architecture, sizes = parity.RESNETS[name]
  path = parity.DATA / name / file
  model = torch_resnet.load(path, sizes, architecture=architecture)
  assert model.stem_norm.use_running_average
  expected = dict(nnx.to_flat_state(nnx.state(parity.model(name))))
  for place, variable in nnx.to_flat_state(nnx.state(model)):
    np.testing.assert_array_equal(variable[...], expected[place][...])


@pytest.mark.torch
def test_files_of_torchvision_are_read(tmp_path):
  torch = pytest.importorskip('torch')
  name = 'imagenet_resnet_a'
  arrays = {
    array: torch.from_numpy(np.asarray(values))
    for array, values in renamed(name, '').items()
  }
  torch.save(arrays, tmp_path / 'resnet50.pth')
  architecture, sizes = parity.RESNETS[name]
  read = torch_resnet.read(
    tmp_path / 'resnet50.pth', sizes, architecture=architecture
  )
  assert matching.build(read).logits.kernel.shape == (384, 30)
