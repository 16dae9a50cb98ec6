"""The configurations: locked, valid, and honest about their fields."""

import pathlib
import re

import pytest

from configs import cifar10, digits, imagenet, own
from dualrs_jax.evaluation import refused
from dualrs_jax.programs import train
from dualrs_jax.runtime.processes import Place
from dualrs_jax.training import recipe, stages

ROOT = pathlib.Path(__file__).resolve().parents[1]
ALL = [
  (digits, ''),
  (digits, 'full'),
  (own, ''),
  *((module, arg) for module in (cifar10, imagenet) for arg in module.VARIANTS),
]


@pytest.mark.parametrize(('module', 'arg'), ALL)
def test_a_configuration_is_valid_and_locked(module, arg):
  config = module.get_config(arg)
  recipe.check(config)
  if not {'experts', 'functions', 'pretrained'} & set(config.model.classifier):
    for variant in train.certifications(config):
      refused.check(variant, Place())
  assert config.is_locked
  with pytest.raises(AttributeError, match='Did you mean "seed"'):
    config.seeed = 1
  with pytest.raises(AttributeError, match='Did you mean "steps"'):
    _ = config.classifier.stepz
  assert f'configs/{config.name.partition("-")[0]}.py' in module.__doc__


@pytest.mark.parametrize(('module', 'arg'), ALL)
def test_all_have_the_same_fields(module, arg):
  reference = digits.get_config()
  config = module.get_config(arg)
  assert set(config) == set(reference)
  for name in set(reference) - {'data', 'model', 'baselines'}:
    if hasattr(reference[name], 'keys'):
      assert set(config[name]) == set(reference[name]), name


@pytest.mark.parametrize('module', [cifar10, imagenet])
def test_denoised_is_the_papers_set_up(module):
  config = module.get_config()
  assert config.name.endswith('-denoised')
  assert config.estimator_sigma == max(config.sigmas) == 1.0
  assert config.classifier.steps == 0
  estimator = config.estimator
  assert (estimator.loss, estimator.utility.name) == ('paper', 'radius')
  assert estimator.paper.to_dict() == {
    'temperature': 1.0,
    'divergence': 40.0,
    'entropy': 0.5,
    'reach': 'strong' if module is cifar10 else 'weak',
  }
  assert (estimator.learning_rate, estimator.schedule) == (0.01, 'halving')
  assert (estimator.weight_decay, estimator.batch_size) == (0.01, 256)
  epochs = 90 if module is cifar10 else 9
  assert estimator.steps == epochs * (module.TRAINING_IMAGES // 256)
  assert (config.targets.votes, config.targets.n) == (100, 100)
  assert (config.certify.n0, config.certify.n) == (100, 10_000)
  assert config.certify.alpha == 0.001


@pytest.mark.parametrize('module', [cifar10, imagenet])
def test_resnet_is_cohens_recipe(module):
  config = module.get_config('resnet')
  recipe = config.classifier
  assert (recipe.optimizer, recipe.schedule) == ('sgd', 'decades')
  assert (recipe.learning_rate, recipe.weight_decay) == (0.1, 1e-4)
  assert recipe.batch_size == (256 if module is cifar10 else 400)
  per_epoch = module.TRAINING_IMAGES // recipe.batch_size
  assert recipe.steps == 90 * per_epoch
  assert config.baselines == config.sigmas


@pytest.mark.parametrize('module', [cifar10, imagenet])
def test_experts_are_not_trained(module):
  config = module.get_config('experts')
  assert len(config.model.classifier.experts) == len(config.sigmas)
  assert recipe.stages(config) == ['estimator-1']


def test_small_is_certified_as_the_results_table_needs():
  config = cifar10.get_config('small')
  assert config.baselines == config.sigmas == (0.25, 0.5)
  assert recipe.stages(config)[3:] == [
    *('single-0.25-0', 'single-0.25', 'single-0.5-0', 'single-0.5')
  ]
  assert config.estimator.loss == 'certificate'
  assert config.estimator.utility.weights == 'balanced'
  assert (config.certify.n, config.certify.alpha) == (10_000, 0.001)
  assert config.certify.stride == 20
  assert config.certify.radii[-1] == 1.5


def test_routing_is_between_the_baselines_of_small():
  small, routing = map(cifar10.get_config, ('small', 'routing'))
  assert [*routing.model.classifier.experts] == [
    f'runs/{small.name}/checkpoints/{stages.single(sigma)}'
    for sigma in small.baselines
  ]
  assert recipe.stages(routing) == ['estimator-1']
  for name in ('sigmas', 'targets', 'estimator', 'certify'):
    assert routing[name] == small[name], name


def test_full_is_what_the_results_table_needs():
  config = digits.get_config('full')
  assert config.name == 'digits-full'
  assert config.baselines == config.sigmas == (0.25, 0.5, 1.0)
  assert (config.certify.n, config.certify.count) == (10_000, 0)
  assert config.certify.alpha == 0.001


def test_the_quick_one_is_quick():
  config = digits.get_config()
  assert config.name == 'digits'
  assert (config.certify.n, config.certify.count) == (1000, 100)
  assert config.baselines == ()


@pytest.mark.parametrize(
  ('module', 'message'),
  [
    (digits, "'full' or none, not 'ful'"),
    (own, "own.py has no argument such as 'ful'"),
    (cifar10, "one of denoised, resnet, experts, small, routing, not 'ful'"),
    (imagenet, "one of denoised, resnet, experts, not 'ful'"),
  ],
)
def test_an_unknown_argument(module, message):
  with pytest.raises(ValueError, match=message):
    module.get_config('ful')


def test_the_job_of_the_guide_divides_over_its_processes():
  """The SLURM script of docs/running.md, with the options that it is given."""
  guide = (ROOT / 'docs' / 'running.md').read_text()
  number = lambda name: int(re.search(rf'--{name}=(\d+)', guide)[1])
  processes = number('nodes') * number('ntasks-per-node')
  [line] = re.findall(r'srun python train.py (.*)', guide)
  config = imagenet.get_config()
  for stage, field, value in re.findall(r'--config\.(\w+)\.(\w+)=(\d+)', line):
    config[stage][field] = int(value)
  for stage in ('classifier', 'estimator', 'finetune'):
    if config[stage].steps:
      rows = config[stage].batch_size // config[stage].accumulate
      assert rows % processes == 0, stage
