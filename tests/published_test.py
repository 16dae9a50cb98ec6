"""The set-ups of CIFAR-10 and ImageNet, from files to figures, made small.

Tiny networks and drawings stand in for the published networks and images;
formats, stages and outputs are those of the real ones.
"""

import jax
import pytest
from flax import nnx

from configs import cifar10, imagenet
from dualrs_jax import checkpoints, models, sharding
from dualrs_jax.evaluation import (
  certify_dataset,
  certify_source,
  records,
  run_settings,
)
from dualrs_jax.pretrained import converted
from dualrs_jax.programs import train
from dualrs_jax.runtime import processes, settings
from dualrs_jax.training import loop, recipe, recorder
from tests.data.conftest import DRAWINGS
from tests.training import tiny

SIZES = {
  'diffusion': {
    'width': 32,
    'multipliers': (1,),
    'blocks': 1,
    'attention_factors': (),
    'heads': 1,
  },
  'vit': {
    'image_shape': (16, 16, 3),
    'patch': 8,
    'width': 8,
    'depth': 1,
    'heads': 2,
    'hidden': 8,
  },
  'expert': {
    'depth': 8,
    'widths': (4, 4, 4),
  },
}
KINDS = {
  'diffusion': models.DiffusionUNet,
  'vit': models.ViT,
  'expert': models.CIFARResNet,
}
#: Classes and image shape of each data set here.
PUBLISHED = {'cifar10': (10, (32, 32, 3)), 'imagenet': (1000, (16, 16, 3))}
#: The estimator of the denoised variants: their test is of what is before it.
CNN = {
  'name': 'cnn',
  'channels': (4,),
  'kernels': (4,),
  'strides': (4,),
  'hidden': 8,
  'embedding': 4,
}
#: The plain network of each data set, in the smallest size of its kind.
RESNETS = {
  'cifar10': {'name': 'cifar_resnet', 'depth': 8, 'widths': (4, 4, 4)},
  'imagenet': {
    'name': 'resnet',
    'stages': (1,),
    'width': 4,
    'dtype': 'bfloat16',
  },
}
CASES = [
  pytest.param('cifar10', 'denoised', 'array_record', marks=pytest.mark.slow),
  ('cifar10', 'experts', 'tfrecord'),
  pytest.param('cifar10', 'resnet', 'archive', marks=pytest.mark.slow),
  pytest.param('imagenet', 'resnet', 'array_record', marks=pytest.mark.slow),
  pytest.param('imagenet', 'denoised', 'tfrecord', marks=pytest.mark.slow),
  pytest.param('imagenet', 'experts', 'array_record', marks=pytest.mark.slow),
]


def publish(folder, num_classes, image_shape):
  """Folders of converted models: their weights are random."""
  seeds = {'diffusion': 0, 'vit': 1, 'expert-0': 2, 'expert-1': 3}
  for name, seed in seeds.items():
    kind = name.partition('-')[0]
    (folder / f'{name}.pt').write_text(f'as published, {seed}')
    sizes = {**SIZES[kind]}
    if kind != 'diffusion':
      sizes['num_classes'] = num_classes
    if kind == 'expert':
      sizes['image_shape'] = image_shape
    converted.save(
      folder / name,
      KINDS[kind](**sizes, rngs=nnx.Rngs(seed)),
      sizes,
      source=str(folder / f'{name}.pt'),
    )


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
  """Programs for eight devices take longer to compile than these tests."""
  mesh = sharding.votes_mesh(jax.local_devices()[:1])
  monkeypatch.setattr(sharding, 'votes_mesh', lambda devices=None: mesh)


def small(name, variant, form, published):
  """A configuration as it is published, with little of everything."""
  config = {'cifar10': cifar10, 'imagenet': imagenet}[name].get_config(variant)
  resnet = RESNETS[name]
  with config.unlocked():
    config.data.update(data_dir=str(DRAWINGS / form), held_out=2)
    if name == 'imagenet':
      config.data.update(resize=20, crop=16)
    config.workers = 0
    config.sigmas = config.sigmas[-2:]
    config.baselines = config.baselines[-1:]
    config.model.estimator = resnet
    if variant == 'denoised' and name == 'cifar10':
      config.model.estimator = CNN
    # A CPU is slow at bfloat16: one case has it, for all three networks.
    dtype = 'float32' if name == 'cifar10' else 'bfloat16'
    config.model.denoiser.update(
      {'dtype': dtype} if variant == 'denoised' else {}
    )
    if variant == 'denoised':
      config.model.denoiser.pretrained = str(published / 'diffusion')
      config.model.classifier = {
        'pretrained': str(published / 'vit'),
        'size': 16,
        'dtype': dtype,
      }
    elif variant == 'resnet':
      config.model.classifier = resnet
    else:
      config.model.classifier = {
        'experts': tuple(str(published / f'expert-{k}') for k in (0, 1)),
      }
    for stage in ('classifier', 'estimator', 'finetune'):
      options = config[stage]
      options.steps = min(options.steps, 4)
      options.batch_size = 4
      options.accumulate = 2 if stage == 'finetune' else 1
      options.learning_rate = 1e-3
    config.targets.update(
      count=8, votes=4, n=4, alpha=0.5, chunk_size=3, shard_size=4
    )
    config.finetune.count = 0
    config.checkpoint.update(every_steps=2, evaluate_steps=2, metrics_steps=2)
    config.certify.update(
      n0=5, n=20, alpha=0.2, chunk_size=16, stride=1, count=2
    )
  return config


def certify_otherwise(config, workdir, variant):
  """Predicts, and casts a fixed number of votes, under the published noise."""
  noise = 'published' if variant == 'denoised' else 'lattice'
  for changed in (
    {'task': 'predict'},
    {'protocol': 'fixed', 'noise': noise},
  ):
    other = config.copy_and_resolve_references()
    other.certify.update(count=1, **changed)
    [row] = certify_dataset.certify_dataset(other, workdir)
    label = run_settings.label(other, run_settings.runs(other)[0])
    path = workdir / certify_source.FOLDER / label / 'settings.json'
    found = settings.read(path)
    assert found['noise'] == changed.get('noise', 'lattice')
    records.check(row, found)


@pytest.mark.parametrize(('name', 'variant', 'form'), CASES)
def test_a_set_up_trains_and_certifies(
  name, variant, form, tmp_path, tmp_path_factory, capsys
):
  published = tmp_path_factory.mktemp('models')
  publish(published, *PUBLISHED[name])
  config = small(name, variant, form, published)
  with tiny.compiled_once(tmp_path_factory.getbasetemp()), tiny.one_device():
    loop.train(config, tmp_path)
    train.certify(config, tmp_path, processes.Place())
  trained = {
    'denoised': ['estimator-1', 'classifier-1'],
    'resnet': [
      *('classifier-0', 'estimator-1', 'classifier-1'),
      *('single-1-0', 'single-1'),
    ],
    'experts': ['estimator-1'],
  }[variant]
  assert recipe.stages(config) == trained
  for stage in trained:
    assert checkpoints.steps(tmp_path / 'checkpoints' / stage)[0] == 4
  rows = recorder.read(tmp_path / 'metrics' / recorder.LINES)
  assert [row['step'] for row in rows if row['stage'] == trained[0]] == [2, 4]
  kept = (tmp_path / 'targets' / 'targets-1').iterdir()
  assert len(list(kept)) == 2 + 1  # shards, and bounds

  plain = '-expert-1' if variant == 'experts' else ''
  labels = ['dual-agreement', f'single-1{plain}']
  for label in labels:
    folder = tmp_path / certify_source.FOLDER / label
    found = settings.read(folder / 'settings.json')
    assert set(found['model']['denoiser']) == set(config.model.denoiser)
    assert str(published) not in str(found), 'a folder that may move'
    assert len((folder / 'rows.tsv').read_text().splitlines()) == 3
  figures = tmp_path / certify_source.FOLDER / labels[0] / 'figures'
  assert (figures / 'certified_accuracy.png').stat().st_size > 1000
  assert f'2 images of {name} (test)' in capsys.readouterr().out

  if name == 'imagenet':
    certify_otherwise(config, tmp_path, variant)

  # The same call again finds everything done; its rows follow from the votes.
  before = [path.read_text() for path in sorted(tmp_path.rglob('*.tsv'))]
  with tiny.one_device():
    loop.train(config, tmp_path)
  for row in certify_dataset.certify_dataset(config, tmp_path):
    records.check(row, found | settings.read(figures.parent / 'settings.json'))
  after = [path.read_text() for path in sorted(tmp_path.rglob('*.tsv'))]
  assert before == after
