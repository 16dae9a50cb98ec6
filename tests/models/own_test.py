"""Networks of the user's own: made, kept, and refused in a sentence."""

import jax.numpy as jnp
import numpy as np
import pytest

from dualrs_jax import checkpoints, models, networks

FILE = """
import jax.numpy as jnp
from flax import nnx

class Net(nnx.Module):
  def __init__(self, *, num_classes, image_shape, rngs, width=8):
    height, breadth, channels = image_shape
    self.inside = nnx.Linear(height * breadth * channels, width, rngs=rngs)
    self.norm = nnx.BatchNorm(width, rngs=rngs)
    self.drop = nnx.Dropout(0.5, rngs=rngs)
    self.logits = nnx.Linear(width, num_classes, rngs=rngs)

  def __call__(self, images, sigma):
    rows = images.reshape(images.shape[0], -1) / (1 + sigma[:, None])
    return self.logits(self.drop(nnx.relu(self.norm(self.inside(rows)))))

def make(**arguments):
  return Net(width=5, **arguments)

class Narrow(Net):
  def __init__(self, *, num_classes, rngs):
    pass

class Raises(Net):
  def __init__(self, **arguments):
    raise RuntimeError('no weights today')

class Blind(Net):
  def __call__(self, images):
    return super().__call__(images, jnp.ones(images.shape[0]))

class More(Net):
  def __call__(self, images, sigma):
    return jnp.pad(super().__call__(images, sigma), ((0, 0), (0, 1)))

class Classes(Net):
  def __call__(self, images, sigma):
    return jnp.zeros((images.shape[0], 3), int)

class Pair(Net):
  def __call__(self, images, sigma):
    return super().__call__(images, sigma), None

class Fails(Net):
  def __call__(self, images, sigma):
    return images @ images

def plain(**arguments):
  return dict(arguments)

value = 3
"""
DATA = {'num_classes': 3, 'image_shape': (4, 5, 2), 'seed': 0}


@pytest.fixture(scope='module')
def file(tmp_path_factory):
  path = tmp_path_factory.mktemp('own') / 'nets.py'
  path.write_text(FILE)
  return path


def weights(network):
  return np.asarray(network.logits.kernel[...])


def test_a_class_of_the_users_is_a_network_like_others(file):
  description = {'name': f'{file}:Net', 'width': 6}
  one, again = (networks.create(description, **DATA) for _ in range(2))
  other = networks.create(description, **DATA | {'seed': 1})
  assert weights(one).shape == (6, 3)
  np.testing.assert_array_equal(weights(one), weights(again))
  assert not np.array_equal(weights(one), weights(other))
  voter = networks.inference_view(one)
  assert voter.norm.use_running_average
  assert voter.drop.deterministic
  assert not one.norm.use_running_average
  made = networks.create({'name': f'{file}:make'}, **DATA)
  assert weights(made).shape == (5, 3)


def test_its_checkpoints_are_restored_and_fit_no_other(file, tmp_path):
  network = networks.create({'name': f'{file}:Net'}, **DATA)
  network.logits.bias[...] = jnp.array([1.0, 2.0, 3.0])
  state = {checkpoints.MODEL: checkpoints.model_state(network)}
  with checkpoints.Saver(tmp_path, keep=1) as saver:
    saver.save(1, state, {})
  fresh = networks.create({'name': f'{file}:Net'}, **DATA | {'seed': 9})
  restored = checkpoints.load_model(tmp_path, fresh)
  np.testing.assert_array_equal(restored.logits.bias[...], [1.0, 2.0, 3.0])
  np.testing.assert_array_equal(weights(restored), weights(network))
  wider = networks.create({'name': f'{file}:Net', 'width': 9}, **DATA)
  with pytest.raises(checkpoints.CheckpointError, match='another architecture'):
    checkpoints.load_model(tmp_path, wider)


@pytest.mark.parametrize(
  ('name', 'sizes', 'message'),
  [
    ('Ner', {}, "nets.py has no 'Ner'; did you mean 'Net'"),
    ('value', {}, 'value is no class, but 3'),
    ('plain', {}, 'plain makes a dict, which is no Flax NNX module'),
    ('Net', {'depth': 3}, 'Net, given num_classes, image_shape, rngs, depth'),
    ('Net', {'depth': 3}, "unexpected keyword argument 'depth'"),
    ('Narrow', {}, "unexpected keyword argument 'image_shape'"),
    ('Net', {'width': 'x'}, 'rngs, width by name, raised TypeError: '),
    ('Raises', {}, r'raised RuntimeError: no weights today$'),
    ('Blind', {}, r'cannot be called with images \(2, 4, 5, 2\) and a noise'),
    ('Fails', {}, r'as in network\(images, sigma\): TypeError'),
    ('More', {}, r'returns float32 \(2, 4\) for 2 images, and .* \(2, 3\)'),
    ('Classes', {}, r'returns int32 \(2, 3\) for 2 images'),
    ('Pair', {}, 'returns tuple for 2 images'),
  ],
)
def test_a_class_that_does_not_do(file, name, sizes, message):
  with pytest.raises(ValueError, match=message) as refused:
    models.create(f'{file}:{name}', **sizes, **DATA)
  assert '\n' not in str(refused.value)


def test_an_unknown_name_tells_how_to_name_ones_own():
  with pytest.raises(
    ValueError, match=r'is my_module:MyNet or path/to/file.py'
  ):
    models.create('mynet', **DATA)


def test_its_identity_is_its_name_and_its_source_is_apart(file):
  description = {'name': f'{file}:Net', 'width': 6}
  assert networks.identity(description) == {'name': 'nets.py:Net', 'width': 6}
  model = {
    'denoiser': {},
    'classifier': description,
    'estimator': {'name': 'cnn'},
  }
  found = networks.sources(model)
  assert [*found] == ['classifier']
  assert networks.sources({'classifier': {'pretrained': 'folder'}}) == {}
