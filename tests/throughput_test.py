"""What benchmarks/throughput.py says that votes cost, and a run of it."""

import json

import jax
import jax.numpy as jnp
import pytest

from benchmarks import paths, throughput, throughput_report

#: Billions of multiplications per vote, as PyTorch counts them in the original
#: networks: the denoiser's and the classifier's.
PUBLISHED = {
  'cifar10-denoised': 8.387 + 17.56,
  'cifar10-resnet110': 0.253,
  'imagenet-denoised': 856.3 + 362.0,
  'imagenet-resnet50': 4.089,
}

TRANSFORMER = {'image_shape': (32, 32, 3), 'width': 32, 'hidden': 64}
TRANSFORMER |= {'num_classes': 10, 'patch': 8, 'depth': 1, 'heads': 2}
TINY = {
  'cifar10-denoised': {
    'image_shape': (8, 8, 3),
    'sizes': TRANSFORMER,
    'denoiser': {
      'width': 32,
      'multipliers': (1, 2),
      'blocks': 1,
      'attention_factors': (2,),
      'heads': 4,
    },
  },
  'cifar10-resnet110': {
    'image_shape': (8, 8, 3),
    'sizes': {'num_classes': 10, 'image_shape': (8, 8, 3), 'depth': 8},
  },
  'imagenet-denoised': {
    'image_shape': (8, 8, 3),
    'sizes': TRANSFORMER,
    'denoiser': {
      'width': 32,
      'multipliers': (1, 2),
      'blocks': 1,
      'attention_factors': (2,),
      'head_width': 16,
      'residual_resampling': True,
    },
  },
  'imagenet-resnet50': {
    'image_shape': (32, 32, 3),
    'sizes': {
      'num_classes': 10,
      'image_shape': (32, 32, 3),
      'stages': (1, 2),
      'width': 4,
    },
  },
}


def tiny(name):
  return paths.FULL[name]._replace(**TINY[name])


@pytest.mark.parametrize('name', PUBLISHED)
def test_cost_of_the_published_networks(name):
  count = paths.FULL[name].multiply_adds()
  assert count / 1e9 == pytest.approx(PUBLISHED[name], rel=1e-3)


@pytest.mark.parametrize('name', TINY)
def test_paths_are_classifiers(name):
  path = tiny(name)
  vote = lambda images, sigma: path.assemble(path.parts(jnp.bfloat16))(
    images, sigma
  )
  images = jax.ShapeDtypeStruct((3, *path.image_shape), jnp.float32)
  levels = jax.ShapeDtypeStruct((3,), jnp.float32)
  logits = jax.eval_shape(vote, images, levels)
  assert logits.shape == (3, 10)
  assert logits.dtype == jnp.float32


def test_rows():
  """Ratios are of the same round, and then their median."""
  measured = throughput_report.Measured(
    chunk_size=4,
    n=8,
    multiply_adds=10,
    difference=None,
    rates={
      throughput_report.PRODUCT: [1000.0, 100.0, 400.0],
      throughput_report.FORWARD: [10.0, 1.0, 4.0],
      'certify': [5.0, 0.9, 1.6],
    },
  )
  arguments = throughput.options(['--sizes', 'full', '--dtype', 'bfloat16'])
  forward, certify = throughput_report.rows('some path', measured, arguments)
  assert (forward['of_forward'], forward['fraction']) == (1.0, 0.2)
  assert certify == {
    'path': 'some path',
    'sizes': 'full',
    'method': 'certify',
    'device_kind': jax.local_devices()[0].device_kind,
    'dtype': 'bfloat16',
    'chunk_size': 4,
    'n': 8,
    'votes_per_second': 1.6,
    'flops_per_vote': 20,
    'of_forward': 0.5,
    'fraction': pytest.approx(20 * 0.005),
    'matrix_flops_per_second': 400.0,
  }


def test_operations_of_the_product():
  assert throughput.product(jnp.float32, 16, repeats=3)() == 3 * 2 * 16**3


def test_run(tmp_path, monkeypatch, capsys):
  name = 'cifar10-resnet110'
  monkeypatch.setitem(paths.REDUCED, name, tiny(name))
  output = tmp_path / 'throughput-test.md'
  throughput.main(
    f'--paths {name} --sizes reduced --dtype float32 --chunk-size 16 --n 40'
    f' --rounds 1 --matrix 64 --no-peers --output {output}'.split()
  )
  assert output.read_text() == capsys.readouterr().out.removesuffix('\n')
  content = json.loads(output.with_suffix('.json').read_text())
  assert set(content) == {
    'command',
    'processor',
    'cpu_count',
    'load_before',
    'clock',
    'environment',
    'rows',
  }
  methods = [row['method'] for row in content['rows']]
  assert methods == [throughput_report.FORWARD, 'certify', 'adaptive']
  cost = 2 * tiny(name).multiply_adds()
  for row in content['rows']:
    assert (row['path'], row['sizes'], row['n']) == (name, 'reduced', 48)
    assert row['flops_per_vote'] == cost
    speed = row['votes_per_second'] * cost
    assert row['fraction'] == pytest.approx(
      speed / row['matrix_flops_per_second']
    )


@pytest.mark.torch
@pytest.mark.parametrize('name', TINY)
def test_peers_have_the_same_networks(name):
  pytest.importorskip('torch')
  from benchmarks import torch_peer

  path = tiny(name)
  twins = torch_peer.twins(path, jnp.float32, throughput.SIGMA)
  assert twins.difference < 1e-5
  image = throughput.image(path)
  found, radius = torch_peer.certify(
    twins.network,
    torch_peer.channels_first(image),
    1e-6,
    classes=10,
    n0=10,
    n=50,
    alpha=throughput.ALPHA,
    batch_size=20,
  )
  logits = path.assemble(twins.parts)(
    image[None], jnp.full(1, throughput.SIGMA)
  )
  assert found == int(logits.argmax())
  assert radius == pytest.approx(1e-6 * 1.1318, rel=1e-3)
