"""Names of data sets, the user's own `load`, and fields of a configuration."""

import logging

import numpy as np
import pytest

from configs import cifar10, digits, imagenet
from dualrs_jax import data
from dualrs_jax.data import registry, splits

OWN = """
import numpy as np
from dualrs_jax.data import Source

def load(split, *, count=6, data_dir=''):
  return make(count)

def every(split, **options):
  return make(int(options.get('count', 3)))

def make(count, **others):
  arguments = {
    'images': np.zeros((count, 4, 4, 1), np.uint8),
    'labels': np.arange(count) % 2,
    'indices': np.arange(count),
    'num_classes': 2,
  }
  source = Source(**arguments)
  for name, value in others.items():  # as where types are not checked
    if name not in arguments and name != 'class_names':
      Source(**{name: value})
    object.__setattr__(source, name, value)
  return source
"""


@pytest.fixture(autouse=True)
def told_again():
  splits.tell_once.cache_clear()


@pytest.fixture
def own(tmp_path):
  """Writes a module of the user's, with further lines."""

  def write(lines=''):
    path = tmp_path / 'mine.py'
    path.write_text(OWN + lines)
    return str(path)

  return write


def test_a_load_of_ones_own_is_called_with_its_options(own, monkeypatch):
  path = own()
  assert len(data.load(path, 'test')) == 6
  assert len(data.load(f'{path}:load', 'test', count=4)) == 4
  assert len(data.load(f'{path}:every', 'test', count=5, hue=2)) == 5
  monkeypatch.syspath_prepend(path.removesuffix('/mine.py'))
  assert len(data.load('mine:load', 'test', count=4)) == 4


RETURNED = [
  (
    'None',
    'returned a NoneType for the split .test., and should return a dual',
  ),
  ('make(0)', 'has no images'),
  ('make(2, num_classes=1)', 'has 1 class, and needs two or more'),
  ('make(2, labels=[0, 1])', 'has labels of list, which should be a NumPy'),
  (
    'make(2, labels=np.ones(2))',
    'has labels of float64, which should be a Num',
  ),
  ('make(2, labels=np.arange(3))', r'has 2 images and labels of shape \(3,\)'),
  (
    'make(2, labels=np.array([0, 2]))',
    'has label 2 at image 1, where there ar',
  ),
  ('make(2, indices=np.array([7, 7]))', 'has the index 7 for several images'),
  ('make(2, indices=np.array([0, 2**31]))', r'2147483648, which is not in \[0'),
  ('make(2, indices=np.array([0, -1]))', 'has the index -1, which is not in'),
  ('make(2, images=[1, 2])', 'has images in a list, which is no NumPy array'),
  ('make(2, images=np.zeros((2, 4, 4, 1)))', 'float64 and shape .*uint8 and'),
  (
    'make(2, images=np.zeros((2, 4, 4), np.uint8))',
    r'shape \(2, 4, 4\), which',
  ),
  ('make(2, class_names=["a"])', 'has 1 names for 2 classes'),
  ('1 / 0', "given the split 'test', raised ZeroDivisionError: division by"),
  (
    'make(2, colour=3)',
    'raised TypeError: ',
  ),
]


@pytest.mark.parametrize(('expression', 'message'), RETURNED)
def test_what_it_must_not_return(own, expression, message):
  path = own(f'\ndef wrong(split):\n  return {expression}\n')
  with pytest.raises(ValueError, match=message) as raised:
    data.load(f'{path}:wrong', 'test')
  assert path in str(raised.value)
  assert '\n' not in str(raised.value)


NAMES = [
  ('digit', "unknown data set 'digit'; did you mean 'digits'"),
  ('cifar100', "did you mean 'cifar10'.* Others are tfds:cifar100, my_pack"),
  ('no.such.module', "there is no module 'no'.*set PYTHONPATH"),
  ('nowhere/mine.py', 'there is no file nowhere/mine.py'),
  ('os.path', "os.path has no 'load'"),
  ('string:digits', "string:digits is no function, but '0123456789'"),
]


@pytest.mark.parametrize(('name', 'message'), NAMES)
def test_names_of_nothing(name, message):
  for function in (
    lambda: data.load(name, 'test'),
    lambda: data.chosen({'name': name}),
    lambda: data.identity({'name': name}),
  ):
    with pytest.raises(ValueError, match=message):
      function()


def test_options_that_it_does_not_take(own):
  path = own('\ndef nothing():\n  return make(2)\n')
  with pytest.raises(ValueError, match="no option 'cuont'.*did you mean 'cou"):
    data.load(path, 'test', cuont=3)
  with pytest.raises(ValueError, match="digits has no option 'held_out', only"):
    data.load('digits', 'test', held_out=3)
  with pytest.raises(ValueError, match=':nothing takes nothing: it is called'):
    data.load(f'{path}:nothing', 'test')


@pytest.mark.parametrize('module', [digits, cifar10, imagenet])
def test_any_data_set_fits_into_a_shipped_configuration(module, own, caplog):
  config = module.get_config()
  assert (
    registry.OPTIONS.items()
    <= {
      **config.data.to_dict(),
      **({'resize': 0, 'crop': 0} if module is imagenet else {}),
    }.items()
  )
  before = data.identity(config.data.to_dict())
  assert {'name', 'data_dir'} & {*before} == {'name'}
  assert before == data.identity(data.chosen(config.data.to_dict()))
  config.data.name = 'folder'
  config.data.data_dir = '/somewhere'
  config.data.size = (8, 9)
  with caplog.at_level(logging.INFO):
    chosen = data.chosen(config.data.to_dict())
  assert chosen['size'] == (8, 9)
  assert chosen['data_dir'] == '/somewhere'
  known = data.identity(config.data.to_dict())
  assert known['test_share'] == 0.2
  assert {'data_dir', 'held_out', 'renderings'} & {*known} == set()
  left_out = 'renderings' if module is digits else 'held_out'
  assert left_out in caplog.text
  config.data.name = own()
  assert data.identity(config.data.to_dict()) == {'name': 'mine.py', 'count': 6}


def test_identities_are_what_they_were_before_there_were_other_data_sets():
  assert data.identity(digits.get_config().data.to_dict()) == {
    'name': 'digits',
    'renderings': 64,
    'seed': 0,
    'canvas': 32,
    'scales': (8.0, 32.0),
  }
  assert data.identity(cifar10.get_config().data.to_dict()) == {
    'name': 'cifar10',
    'held_out': cifar10.HELD_OUT,
  }
  assert data.identity(imagenet.get_config().data.to_dict()) == {
    'name': 'imagenet',
    'held_out': imagenet.HELD_OUT,
    'resize': 256,
    'crop': 224,
  }


def test_the_source_of_a_load_is_known_by_its_hash(own):
  path = own()
  [(role, first)] = data.sources({'name': path}).items()
  assert role == 'data'
  own('\n# changed\n')
  assert data.sources({'name': path}) != {'data': first}
  assert data.sources({'name': 'digits'}) == {}
  assert np.array_equal(data.load(path, 'test').indices, np.arange(6))
