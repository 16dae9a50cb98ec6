"""Networks from their descriptions."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dualrs_jax import denoising, models, networks
from dualrs_jax.diffusion import Schedule, linear_alphas
from dualrs_jax.pretrained import converted

EXPERT = {
  'num_classes': 3,
  'image_shape': (8, 8, 3),
  'depth': 8,
  'widths': (4, 4, 4),
}
UNET = {
  'width': 32,
  'multipliers': (1,),
  'blocks': 1,
  'attention_factors': (),
  'heads': 1,
}
DATA = {'num_classes': 3, 'image_shape': (8, 8, 3), 'seed': 0}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Converted models: two experts, one at half the size, and a denoiser."""
  path = tmp_path_factory.mktemp('models')
  kinds = {
    'one': (models.CIFARResNet, EXPERT),
    'two': (models.CIFARResNet, EXPERT),
    'half': (models.CIFARResNet, EXPERT | {'image_shape': (4, 4, 3)}),
    'diffusion': (models.DiffusionUNet, UNET),
  }
  for seed, (name, (kind, sizes)) in enumerate(kinds.items()):
    (path / f'{name}.pt').write_text(f'as published, {seed}')
    model = kind(**sizes, rngs=nnx.Rngs(seed))
    converted.save(path / name, model, sizes, source=str(path / f'{name}.pt'))
  return path


def weights(network):
  return np.asarray(network.logits.kernel[...])


def diffusion(folder, **changed):
  return {
    'pretrained': str(folder / 'diffusion'),
    'schedule': 'cosine',
    'steps': 4000,
    'dtype': 'float32',
    **changed,
  }


def test_a_fresh_network_is_of_its_seed():
  description = {'name': 'cifar_resnet', 'depth': 8, 'widths': (4, 4, 4)}
  one, again = (networks.create(description, **DATA) for _ in range(2))
  other = networks.create(description, **DATA | {'seed': 1})
  np.testing.assert_array_equal(weights(one), weights(again))
  assert not np.array_equal(weights(one), weights(other))


def test_a_converted_network_is_where_training_starts(folder):
  description = {'pretrained': str(folder / 'one')}
  network = networks.create(description, **DATA)
  np.testing.assert_array_equal(
    weights(network), weights(converted.load(folder / 'one'))
  )
  assert not network.stem_norm.use_running_average
  assert networks.inference_view(network).stem_norm.use_running_average


def test_the_type_of_the_activations(folder):
  description = {'pretrained': str(folder / 'one'), 'dtype': 'bfloat16'}
  network = networks.create(description, **DATA)
  assert network.dtype == jnp.bfloat16
  assert weights(network).dtype == np.float32


def test_experts_are_one_network_for_each_folder(folder):
  description = {'experts': (str(folder / 'one'), str(folder / 'two'))}
  experts = networks.create(description, **DATA)
  assert isinstance(experts, tuple)
  for expert, name in zip(experts, ('one', 'two'), strict=True):
    expected = converted.load(folder / name)
    np.testing.assert_array_equal(weights(expert), weights(expected))


def test_a_network_behind_a_denoiser_sees_its_own_size(folder):
  denoiser = networks.denoiser(diffusion(folder))
  description = {'pretrained': str(folder / 'half'), 'size': 4}
  network = networks.inference_view(networks.create(description, **DATA))
  whole = networks.front(denoiser, description).before(network)
  assert isinstance(whole, denoising.DenoisedClassifier)
  assert (whole.denoiser, whole.size) == (denoiser, (4, 4))
  assert whole(jnp.zeros((2, 8, 8, 3)), jnp.full(2, 0.5)).shape == (2, 3)


def test_experts_share_the_denoiser(folder):
  denoiser = networks.denoiser(diffusion(folder))
  experts = networks.front(denoiser, {}).before((len, max))
  assert [expert.denoiser for expert in experts] == [denoiser] * 2
  assert [expert.classifier for expert in experts] == [len, max]


def test_without_a_denoiser_there_is_nothing_before_a_network():
  assert networks.denoiser({}) is None
  assert networks.front(None, {}).before(len) is len


def test_the_schedule_is_the_named_one(folder):
  cosine = networks.denoiser(diffusion(folder))
  linear = networks.denoiser(diffusion(folder, schedule='linear', steps=1000))
  assert cosine is not None
  assert linear is not None
  np.testing.assert_array_equal(
    linear.schedule.deviation,
    Schedule.of(linear_alphas(1000)).deviation,
  )
  assert cosine.schedule.deviation.shape == (4000,)


def test_identity_is_of_the_published_file_and_not_of_the_folder(folder):
  one = networks.identity({'pretrained': str(folder / 'one'), 'size': 4})
  assert one['size'] == 4
  assert one['pretrained'].startswith('cifar_resnet ')
  assert str(folder) not in str(one)
  experts = networks.identity(
    {'experts': (str(folder / 'one'), str(folder / 'two'))}
  )['experts']
  assert experts[0] == one['pretrained'] != experts[1]
  assert networks.identity({'name': 'cnn'}) == {'name': 'cnn'}


@pytest.mark.parametrize(
  ('description', 'changed', 'message'),
  [
    ({'pretrained': 'one'}, {'num_classes': 10}, 'has num_classes 3, and here'),
    ({'pretrained': 'one'}, {'image_shape': (9, 9, 3)}, r'has image_shape \(8'),
    ({'experts': ('one', 'half')}, {}, r'half has image_shape \(4, 4, 3\)'),
    ({'pretrained': 'diffusion'}, {}, 'is a diffusion model'),
    (
      {'pretrained': 'nothing'},
      {},
      'nothing holds no converted model.*train that stage first',
    ),
  ],
)
def test_models_that_do_not_fit(folder, description, changed, message):
  placed = {
    name: str(folder / value)
    if isinstance(value, str)
    else tuple(str(folder / each) for each in value)
    for name, value in description.items()
  }
  with pytest.raises(ValueError, match=message):
    networks.create(placed, **DATA | changed)


def test_denoisers_that_do_not_fit(folder):
  with pytest.raises(ValueError, match='one holds no diffusion model'):
    networks.denoiser(diffusion(folder, pretrained=str(folder / 'one')))
  with pytest.raises(ValueError, match=r"schedule must be one of \['cosine', "):
    networks.denoiser(diffusion(folder, schedule='sine'))
  with pytest.raises(ValueError, match='size = 4 is for denoised images'):
    networks.front(None, {'size': 4})
