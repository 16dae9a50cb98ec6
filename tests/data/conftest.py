"""Drawings in the formats of CIFAR-10 and ImageNet, see drawings/README.md."""

import pathlib

import pytest

DRAWINGS = pathlib.Path(__file__).parent / 'drawings'


@pytest.fixture(scope='session')
def drawings() -> pathlib.Path:
  return DRAWINGS


@pytest.fixture(scope='session', autouse=True)
def cache(tmp_path_factory):
  """No test reads or writes the cache of whoever runs it."""
  folder = tmp_path_factory.mktemp('cache')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('XDG_CACHE_HOME', str(folder))
    patch.delenv('TFDS_DATA_DIR', raising=False)
    yield folder


@pytest.fixture(scope='session')
def imagenet(cache):
  """Loads a split of the drawings, small."""
  from dualrs_jax import data

  del cache

  def load(split, form='array_record', **options):
    sizes = {'resize': 40, 'crop': 32} | options
    return data.load('imagenet', split, data_dir=str(DRAWINGS / form), **sizes)

  return load
