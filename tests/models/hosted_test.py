"""Models that functions of the user's own return: as they come, or refused."""

import pathlib

import jax
import numpy as np
import pytest

import dualrs_jax as drs
from dualrs_jax import models, networks
from dualrs_jax.models import hosted

FILE = """
import numpy as np

def linear(images):
  return images.reshape(len(images), -1)[:, :3] * np.float32([1, 2, 3])

def model(): return linear
def other(): return lambda images: -linear(images)
def two_devices(): return [linear, linear]
def wants(what): return linear
def breaks(): raise OSError('no weights today')
def nothing(): return None
def empty(): return []
value = 3
"""

TORCH = """
import torch

class Named(torch.nn.Module):
  def __init__(self, net):
    super().__init__()
    self.net = net

  def forward(self, pixels):
    return type('Output', (), {'logits': self.net(pixels)})()

def module(seed=0, **options):
  torch.manual_seed(seed)
  return torch.nn.Sequential(
    torch.nn.Conv2d(3, 4, 3, **options),
    torch.nn.BatchNorm2d(4),
    torch.nn.ReLU(),
    torch.nn.Dropout(0.5),
    torch.nn.Flatten(),
    torch.nn.Linear(4 * 2 * 4, 3),
  )

def other(): return module(1)
def padded(): return module(0, padding_mode='reflect')
def half(): return module().to(torch.bfloat16)
def named(): return Named(module())
instance = module()
"""

DATA = {'num_classes': 3, 'image_shape': (4, 6, 3), 'seed': 0}
IMAGES = np.random.default_rng(0).uniform(size=(5, 4, 6, 3)).astype(np.float32)
LEVELS = np.full(5, 0.5, np.float32)


@pytest.fixture
def file(tmp_path):
  path = tmp_path / 'nets.py'
  path.write_text(FILE)
  return path


@pytest.fixture
def torch_file(tmp_path):
  pytest.importorskip('torch')
  path = tmp_path / 'torch_nets.py'
  path.write_text(TORCH)
  return path


def described(file, *names, **options):
  return {'functions': tuple(f'{file}:{name}' for name in names), **options}


def test_functions_are_one_classifier_or_one_each(file):
  known = {'identity': 'of May'}
  one = networks.create(described(file, 'model', **known), **DATA)
  several = networks.create(described(file, 'model', 'other', **known), **DATA)
  np.testing.assert_array_equal(
    one(IMAGES, LEVELS), IMAGES.reshape(5, -1)[:, :3] * np.float32([1, 2, 3])
  )
  assert isinstance(several, tuple)
  np.testing.assert_array_equal(
    several[0](IMAGES, LEVELS), -several[1](IMAGES, LEVELS)
  )
  assert networks.inference_view(several) == several
  assert (
    networks.create(described(file, 'two_devices', **known), **DATA).devices
    == 2
  )
  assert networks.experts(described(file, 'model')) == 0
  assert networks.experts({'functions': f'{file}:model'}) == 0
  assert networks.experts(described(file, 'model', 'other')) == 2


def test_what_identifies_them(file, tmp_path):
  """What was given for their weights; neither folder nor size of it."""
  description = described(file, 'model', 'other', identity='of May', size=8)
  found = networks.identity(description)
  assert found['functions'] == ['nets.py:model of May', 'nets.py:other of May']
  assert found['size'] == 8
  assert str(tmp_path) not in str(found)
  roles = {'classifier': description, 'estimator': {'name': 'cnn'}}
  before = networks.sources(roles)
  assert {*before} == {'classifier'}
  file.write_text(FILE + '# changed')
  assert networks.sources(roles) != before


@pytest.mark.parametrize(
  ('names', 'options', 'message'),
  [
    (['no_one'], {}, "nets.py has no 'no_one'"),
    (['value'], {}, 'value is no function, but 3'),
    (['wants'], {}, r'called without arguments, raised TypeError: .*what'),
    (
      ['breaks'],
      {},
      r'raised OSError in .*nets.py, line \d+: no weights today',
    ),
    (['nothing'], {}, 'returns a NoneType, and should return a PyTorch module'),
    (['empty'], {}, 'returns an empty list, and should return'),
    (
      ['model'],
      {'identity': ''},
      'a function, whose .* model.classifier.identity',
    ),
    (['model'], {'dtype': 'bfloat16'}, "functions, .* and not by 'dtype'"),
    ([], {}, 'functions names no model: write my_module:function'),
  ],
)
def test_what_is_refused(file, names, options, message):
  description = described(file, *names, **{'identity': 'of May'} | options)
  for call in (networks.identity, lambda d: networks.create(d, **DATA)):
    if names in (['model'], []) or call is not networks.identity:
      with pytest.raises(ValueError, match=message):
        call(description)


def test_a_module_that_is_not_there(tmp_path):
  with pytest.raises(ValueError, match='there is no file .*gone.py'):
    hosted.create(described(tmp_path / 'gone.py', 'model'), num_classes=3)
  with pytest.raises(ValueError, match="'low' names nothing: write"):
    hosted.create({'functions': ('low',)}, num_classes=3)


@pytest.mark.torch
def test_a_torch_module_is_taken_as_it_comes(torch_file):
  """In evaluation mode, channels first, normalised, with the field logits."""
  torch = pytest.importorskip('torch')
  scales = {'image_mean': (0.1, 0.2, 0.3), 'image_deviation': (0.5, 0.6, 0.7)}
  network = networks.create(described(torch_file, 'module', **scales), **DATA)
  module = network.functions[0].module
  assert not module.training
  pixels = (IMAGES - np.float32([0.1, 0.2, 0.3])) / np.float32([0.5, 0.6, 0.7])
  with torch.no_grad():
    expected = module(torch.from_numpy(pixels.transpose(0, 3, 1, 2)))
  found = network(IMAGES, LEVELS)
  np.testing.assert_allclose(found, expected, atol=1e-6)
  for name in ('named', 'half'):
    other = networks.create(described(torch_file, name, **scales), **DATA)
    np.testing.assert_allclose(other(IMAGES, LEVELS), found, atol=3e-2)
  answer = drs.certify(
    *(network, IMAGES[0], 0.5, jax.random.key(0)),
    n0=10,
    n=100,
    alpha=0.05,
    chunk_size=37,
  )
  assert int(answer.counts.estimation.sum()) == 100
  [where] = network.where
  assert where == f'PyTorch {torch.__version__}, cpu'


@pytest.mark.torch
def test_a_torch_module_is_known_by_its_weights(torch_file):
  marks = [
    networks.identity(described(torch_file, name, **options))['functions'][0]
    for name, options in (
      ('module', {}),
      ('other', {}),
      ('padded', {}),
      ('half', {}),
      ('module', {'image_mean': (0.5,)}),
    )
  ]
  assert len({mark.partition(' ')[2] for mark in marks}) == 5
  again = pathlib.Path(torch_file.parent / 'moved' / 'torch_nets.py')
  again.parent.mkdir()
  torch_file.rename(again)
  assert networks.identity(described(again, 'module'))['functions'] == marks[:1]


@pytest.mark.torch
def test_what_is_refused_of_torch_modules(torch_file):
  with pytest.raises(
    ValueError, match='is a PyTorch module, and should be a f'
  ):
    networks.create(described(torch_file, 'instance'), **DATA)
  zero = described(torch_file, 'module', image_deviation=(0.0,))
  with pytest.raises(ValueError, match='no deviation is 0'):
    networks.create(zero, **DATA)
  with pytest.raises(ValueError, match='takes a torch.nn.Module, not a dict'):
    models.torch_function({})
  grey = networks.create(described(torch_file, 'module'), **DATA)
  with pytest.raises(ValueError, match='raised RuntimeError .* 3 channels'):
    grey(IMAGES[..., :1], LEVELS)
