"""Networks that were trained here, as experts and where training starts."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualrs_jax import checkpoints, models, networks
from dualrs_jax.checkpoints import origin
from dualrs_jax.cost import sizes
from dualrs_jax.pretrained import ImportFailure, trained

NETWORK = {'name': 'cifar_resnet', 'depth': 8, 'widths': (4, 4, 4)}
DATA = {'num_classes': 3, 'image_shape': (8, 8, 3)}


def save(folder, *, seed=0, stage='single-0.5', model=NETWORK, steps=7, at=7):
  network = models.create(**NETWORK, **DATA, seed=seed)
  settings = {'model': {'classifier': model, 'estimator': {'name': 'vit'}}}
  meta = origin.record(stage, settings) | {'steps': steps}
  state = {checkpoints.MODEL: checkpoints.model_state(network)}
  with checkpoints.Saver(folder, keep=1) as saver:
    saver.save(at, state, meta)
  return network


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Two stages of one architecture, and other weights."""
  path = tmp_path_factory.mktemp('checkpoints')
  for seed, name in enumerate(('single-0.25', 'single-0.5')):
    save(path / name, seed=seed, stage=name)
  return path


def weights(network):
  return [np.asarray(leaf) for leaf in jax.tree.leaves(network)]


def test_a_stage_is_an_expert(folder):
  names = ('single-0.25', 'single-0.5')
  description = {'experts': tuple(str(folder / name) for name in names)}
  experts = networks.create(description, **DATA, seed=5)
  for seed, expert in enumerate(experts):
    expected = models.create(**NETWORK, **DATA, seed=seed)
    jax.tree.map(
      np.testing.assert_array_equal, weights(expert), weights(expected)
    )
  one, other = networks.identity(description)['experts']
  assert one.startswith('cifar_resnet ')
  assert other != one
  assert str(folder) not in one


def test_identity_is_of_the_weights_and_not_of_the_place(folder, tmp_path):
  shutil.copytree(folder / 'single-0.5', tmp_path / 'moved')
  moved = networks.identity({'pretrained': str(tmp_path / 'moved')})
  assert moved == networks.identity({'pretrained': str(folder / 'single-0.5')})


def test_training_may_start_from_a_stage(folder):
  description = {'pretrained': str(folder / 'single-0.5'), 'dtype': 'bfloat16'}
  network = networks.create(description, **DATA, seed=5)
  assert network.dtype == jnp.bfloat16
  jax.tree.map(
    np.testing.assert_array_equal,
    weights(network),
    weights(models.create(**NETWORK, **DATA, seed=1)),
  )


def test_its_cost_is_that_of_its_network(folder):
  found, fresh = (
    sizes.of_models(
      {'classifier': description},
      data='mine',
      image_shape=DATA['image_shape'],
      widths={'classifier': 3},
    )['classifier']
    for description in ({'pretrained': str(folder / 'single-0.5')}, NETWORK)
  )
  assert found.multiply_adds == fresh.multiply_adds
  assert found.architecture == 'cifar_resnet'


def test_an_estimator_is_that_of_its_role(tmp_path):
  save(tmp_path, stage='estimator-1')
  assert trained.describe(tmp_path) == {'name': 'vit'}


OWN = """
import jax.numpy as jnp
from flax import nnx


class Net(nnx.Module):
  def __init__(self, *, num_classes, image_shape, rngs):
    self.logits = nnx.Linear(192, num_classes, rngs=rngs)

  def __call__(self, images, sigma):
    return self.logits(images.reshape(len(images), -1))
"""


@pytest.fixture
def own(tmp_path):
  """A class in a file, and a stage of it, which knows no folder."""
  file = tmp_path / 'nets' / 'mine.py'
  file.parent.mkdir()
  file.write_text(OWN)
  description = {'name': f'{file}:Net'}
  network = networks.create(description, **DATA, seed=3)
  settings = {'model': {'classifier': networks.identity(description)}}
  meta = origin.record('classifier-1', settings) | {'steps': 7}
  state = {checkpoints.MODEL: checkpoints.model_state(network)}
  with checkpoints.Saver(tmp_path / 'stage', keep=1) as saver:
    saver.save(7, state, meta)
  return file, tmp_path / 'stage', network


def test_a_class_in_a_file_is_named_beside_the_folder(own):
  file, stage, network = own
  description = {'pretrained': str(stage), 'name': f'{file}:Net'}
  found = networks.create(description, **DATA, seed=0)
  jax.tree.map(np.testing.assert_array_equal, weights(found), weights(network))
  experts = {'experts': (str(stage),) * 2, 'name': f'{file}:Net'}
  for each in networks.create(experts, **DATA, seed=0):
    np.testing.assert_array_equal(weights(each)[0], weights(network)[0])


def test_what_its_file_says_is_known(own):
  file, stage, _ = own
  named_beside = {'pretrained': str(stage), 'name': f'{file}:Net'}
  direct, beside, expert = (
    networks.sources({'classifier': description})
    for description in (
      {'name': f'{file}:Net'},
      named_beside,
      {'experts': (str(stage),), 'name': f'{file}:Net'},
    )
  )
  assert direct == beside == expert
  assert direct['classifier']


def test_another_file_of_the_same_name_is_not_taken(own, tmp_path, monkeypatch):
  file, stage, _ = own
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'mine.py').write_text(OWN)
  description = {'pretrained': str(stage)}
  with pytest.raises(ImportFailure, match=r'put name = path/to/mine.py:Net'):
    networks.create(description, **DATA, seed=0)
  with pytest.raises(ImportFailure, match='is of mine.py:Net, and not of'):
    networks.create(description | {'name': 'other.py:Net'}, **DATA, seed=0)


def test_one_that_has_not_ended(tmp_path):
  save(tmp_path, at=3)
  with pytest.raises(checkpoints.CheckpointError, match='is at step 3 of 7'):
    trained.load(tmp_path, **DATA)


def test_one_for_other_classes(folder):
  with pytest.raises(checkpoints.CheckpointError, match='another architecture'):
    trained.load(folder / 'single-0.5', **DATA | {'num_classes': 4})


def test_one_that_was_converted_first(tmp_path):
  save(tmp_path, model={'pretrained': 'vit 0123'})
  with pytest.raises(ImportFailure, match='began as pretrained, and its'):
    trained.load(tmp_path, **DATA)


def test_one_of_before_settings_were_recorded(folder, tmp_path):
  copy = tmp_path / 'old'
  shutil.copytree(folder / 'single-0.5', copy)
  path = copy / '7' / 'description' / 'metadata'
  described = json.loads(path.read_text())
  del described['meta']['settings']
  path.write_text(json.dumps(described))
  with pytest.raises(ImportFailure, match='does not say what network it holds'):
    trained.load(copy, **DATA)
