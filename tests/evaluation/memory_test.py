import functools
import json
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dualrs_jax import (
  denoising,
  diffusion,
  models,
  noise,
  sharding,
  vote_batches,
)
from dualrs_jax.evaluation import certify_source, memory
from dualrs_jax.evaluation.smoothed_networks import SmoothedNetworks
from dualrs_jax.models.beit import LARGE16_IMAGENET
from dualrs_jax.models.diffusion_unet import IMAGENET256
from dualrs_jax.runtime import settings as settings_lib

ADAPTIVE = {'goal': 'grid', 'radii': [0.0, 0.25]}
ONE = sharding.votes_mesh(jax.local_devices()[:1])


SINGLE = {'smoothing': 'single', 'sigmas': [0.5], 'estimator_sigma': None}
WEIGHTS = 4 * 16 * 512


def wide(weights, images, sigma):
  """Works in 512 numbers per copy."""
  del sigma
  features = jnp.tanh(images.reshape(images.shape[0], -1) @ weights)
  return features @ weights.T[:, :3]


def wide_network():
  weights = jax.ShapeDtypeStruct((16, 512), jnp.float32)
  return jax.tree_util.Partial(wide, weights)


def smoothed_of(*networks, mesh=ONE):
  estimator, classifier = networks
  return SmoothedNetworks(estimator, classifier, noise.gaussian, 1, mesh)


@pytest.fixture(scope='module')
def smoothed():
  network = wide_network()
  return smoothed_of(network, network)


@pytest.fixture
def example(source):
  return np.zeros(source.image_shape, np.float32)


@pytest.mark.parametrize('most', [1, 2, 3, 5, 64, 1000])
def test_the_largest_chunk_fits_and_the_next_does_not(most):
  need = lambda size: 1000 + 30 * size
  before = 0
  for limit in range(1030, 1030 + 31 * most, 17):
    chosen = memory.largest_chunk(need, memory=limit, most=most)
    assert before <= chosen <= most
    assert need(chosen) <= limit
    assert chosen == most or need(min(2 * chosen, most)) > limit
    before = chosen
  assert before == most


@pytest.mark.parametrize(
  ('need', 'chosen'),
  [
    (lambda size: 10 * size + (900 if size > 16 else 0), 16),
    (lambda size: 10 * size if size < 4 else math.inf, 2),
    (lambda size: 10 * size if size < 2 else math.inf, 1),
    (lambda size: 10 * size if size < 8 else math.inf, 4),
    (lambda size: 500, 128),
  ],
)
def test_only_what_was_looked_at_is_chosen(need, chosen):
  assert memory.largest_chunk(need, memory=900, most=128) == chosen


def test_few_sizes_are_looked_at():
  looked = []
  need = lambda size: looked.append(size) or 7 * size
  assert memory.largest_chunk(need, memory=1000, most=1024) == 128
  assert sorted(looked) == [2, 4, 128]


def test_no_memory_for_one_copy_is_an_error():
  with pytest.raises(ValueError, match='takes 1,030 bytes .* and 1,029 may'):
    memory.largest_chunk(lambda size: 1000 + 30 * size, memory=1029, most=8)


@pytest.mark.parametrize(
  ('method', 'networks'),
  [(SINGLE, 1), (ADAPTIVE, 2)],
  ids=['fixed', 'adaptive'],
)
def test_the_programs_of_a_run_fit(
  smoothed, example, settings, method, networks
):
  settings |= method
  if networks == 1:
    smoothed = smoothed._replace(estimator=None)
  need = functools.cache(
    functools.partial(memory.needed, smoothed, example, settings)
  )
  limit = need(8) + 1000
  assert memory.largest_chunk(need, memory=limit, most=32) == 8
  assert need(16) > limit
  images = 16 * 4 * example.size
  features = 16 * 4 * 512
  assert WEIGHTS + features + 3 * images < need(16) < WEIGHTS + 3 * features


@pytest.mark.parametrize(
  ('method', 'images'), [({}, 2 * 100), (ADAPTIVE, 2 * 100 + 4 * 13)]
)
def test_what_is_counted(
  smoothed, example, settings, monkeypatch, method, images
):
  """All weights, the largest program, the check, and buffers of images."""
  monkeypatch.setattr(memory, '_programs', lambda *_: [3000, 5000, 4000])
  monkeypatch.setattr(memory, '_working', lambda program, options: program)
  need = memory.needed(smoothed, example, settings | method, 100)
  assert need == WEIGHTS + 5000 + images * 4 * example.size


def test_shapes_need_what_arrays_need(smoothed, example, settings):
  settings |= ADAPTIVE
  arrays = jnp.zeros((16, 512)), jnp.ones((16, 512))
  networks = [jax.tree_util.Partial(wide, array) for array in arrays]
  shared = smoothed_of(networks[0], networks[0])
  apart = smoothed_of(*networks)
  need = memory.needed(shared, example, settings, 4)
  assert need == memory.needed(smoothed, example, settings, 4)
  more = memory.needed(apart, example, settings, 4)
  assert more - need == WEIGHTS  # what is shared is counted once


@pytest.mark.parametrize('method', [{}, ADAPTIVE], ids=['fixed', 'adaptive'])
def test_experts_are_all_counted(smoothed, example, settings, method):
  settings |= method
  experts = tuple(wide_network() for _ in range(3))
  alone = memory.needed(smoothed, example, settings, 2)
  found = memory.needed(smoothed_of(experts[0], experts), example, settings, 2)
  assert 2 * WEIGHTS <= found - alone < 3 * WEIGHTS


@pytest.mark.parametrize('chunk_size', [1, 2, 60])
def test_the_buffer_of_images_is_counted_whole(
  classifier, example, settings, chunk_size
):
  mesh = sharding.votes_mesh()
  key = jax.random.key(0)
  device = vote_batches.Device(
    [(classifier, 3)], example, key, noise.gaussian, mesh, chunk_size
  )
  assert memory._slots(mesh, chunk_size) == device.slots


def test_a_chunk_whose_images_alone_do_not_fit_is_refused(settings):
  mesh = sharding.votes_mesh(jax.local_devices()[:1])
  for goal in (None, 'grid'):
    changed = settings | {'goal': goal}
    memory.check_images(mesh, 3072, changed, 1000)
    with pytest.raises(ValueError, match='chunk_size = 1000000000 takes'):
      memory.check_images(mesh, 3072, changed, 10**9)


def test_a_compiler_without_memory_refuses_a_chunk(
  smoothed, example, settings, monkeypatch
):
  def refuse(lowered, options):
    raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: 20G of 16G')

  monkeypatch.setattr(memory, '_working', refuse)
  settings |= ADAPTIVE
  assert memory.needed(smoothed, example, settings, 2) == math.inf
  with pytest.raises(jax.errors.JaxRuntimeError, match='20G of 16G'):
    memory.needed(smoothed, example, settings, 1)


def test_a_silent_compiler_is_an_error():
  compiled = types.SimpleNamespace(memory_analysis=lambda: None)
  lowered = types.SimpleNamespace(compile=lambda **_: compiled)
  with pytest.raises(ValueError, match='choose chunk_size yourself'):
    memory._working(lowered, {})


def device(**statistics):
  return types.SimpleNamespace(memory_stats=lambda: statistics or None)


def test_available_memory():
  free = device(bytes_limit=1000)
  busy = device(bytes_limit=1000, bytes_in_use=300)
  assert memory.available([free], 0) == 800
  assert memory.available([free, busy], 0) == 500
  assert memory.available([free, busy], 200) == 700
  assert memory.available([busy], 400) == 800
  main = memory.available([device()], 0)
  assert main > 2**28
  assert memory.available([device()] * 4, 0) == main // 4


@pytest.fixture
def run(estimator, classifier, source, settings, tmp_path):
  """A run of four images on one device."""

  def certify(**changes):
    arguments = {
      'estimator': estimator,
      'classifier': classifier,
      'directory': tmp_path / 'run',
      'settings': settings | ADAPTIVE,
      'devices': jax.local_devices()[:1],
    }
    rows = certify_source.certify_source(
      source=source,
      seed=11,
      positions=np.arange(4),
      report_radii=(0.0,),
      **(arguments | changes),
    )
    return [row._replace(time=0.0) for row in rows]

  return certify


def recorded(tmp_path):
  return settings_lib.read(tmp_path / 'run' / certify_source.SETTINGS)


def test_the_choice_is_recorded_and_kept(run, tmp_path, monkeypatch):
  rows = run()
  settings = recorded(tmp_path)
  assert settings['chunk_size'] == 128  # tiny networks, on a CPU
  assert settings['platform'] == jax.local_devices()[0].platform
  assert settings['dtype'] == 'float32'
  assert {'device_kind', 'matmul_precision'} <= set(settings)
  monkeypatch.setattr(memory, 'available', lambda *_: 0)
  assert run() == rows
  assert recorded(tmp_path) == settings


def test_a_chunk_size_of_ones_own_is_kept(run, tmp_path):
  rows = run(chunk_size=7)
  assert recorded(tmp_path)['chunk_size'] == 7
  assert run() == rows
  with pytest.raises(settings_lib.SettingsMismatch, match='is 7 there and 128'):
    run(chunk_size=128)


def test_a_fixed_run_casts_no_more_than_its_votes(run, settings, tmp_path):
  settings |= {**SINGLE, 'n0': 3, 'n': 9, 'alpha': 0.1}
  run(settings=settings, estimator=None)
  assert recorded(tmp_path)['chunk_size'] == 12


def test_too_little_memory_leaves_nothing_behind(run, tmp_path, monkeypatch):
  monkeypatch.setattr(memory, 'available', lambda *_: 1000)
  with pytest.raises(
    ValueError, match='set chunk_size = 1 to try all the same'
  ):
    run()
  assert not list(tmp_path.iterdir())
  # As is advised; other programs may have taken more than the share of a run.
  monkeypatch.setattr(memory, 'available', lambda *_: -5)
  assert len(run(chunk_size=1)) == 4


def test_a_single_copy_is_tried_whatever_the_memory(settings, monkeypatch):
  mesh = sharding.votes_mesh(jax.local_devices()[:1])
  monkeypatch.setattr(memory, 'available', lambda *_: -5)
  with pytest.raises(ValueError, match='and 0 may be used; choose a smaller'):
    memory.check_images(mesh, 3072, settings, 2)
  memory.check_images(mesh, 3072, settings, 1)


def test_a_negative_chunk_is_refused(run, tmp_path):
  with pytest.raises(ValueError, match='chunk_size must be at least 1'):
    run(chunk_size=-1)
  assert not list(tmp_path.iterdir())


def test_another_device_is_refused_before_it_computes(
  run, tmp_path, monkeypatch
):
  run()
  path = tmp_path / 'run' / certify_source.SETTINGS
  there = json.loads(path.read_text())
  path.write_text(json.dumps(there | {'device_kind': 'TPU v4'}))
  check = 'dualrs_jax.evaluation.sampling.check_independence'
  monkeypatch.setattr(check, lambda *_: pytest.fail('computed'))
  with pytest.raises(settings_lib.SettingsMismatch, match='is "TPU v4" there'):
    run()


@pytest.mark.parametrize(
  'method',
  [SINGLE, SINGLE | ADAPTIVE],
  ids=['fixed', 'adaptive'],
)
def test_chunks_of_one_and_two_cast_the_same_votes(
  run, settings, tmp_path, method
):
  settings |= method
  rows = {
    size: run(
      estimator=None,
      settings=settings,
      chunk_size=size,
      directory=tmp_path / str(size),
    )
    for size in (1, 2)
  }
  assert rows[1] == rows[2]


def test_one_copy_at_a_time_has_no_companions(run, classifier):
  def centred(network, images, sigma):
    logits = network(images, sigma)
    return logits - logits.mean(axis=0, keepdims=True)

  dependent = jax.tree_util.Partial(centred, classifier)
  with pytest.raises(ValueError, match='batch companions'):
    run(classifier=dependent, chunk_size=2)
  assert len(run(classifier=dependent, chunk_size=1)) == 4


def test_an_expert_for_each_level_is_certified(run, classifier, tmp_path):
  experts = tuple(jax.tree.map(jnp.copy, classifier) for _ in range(3))
  found = run(classifier=experts, chunk_size=20)
  assert found == run(chunk_size=20, directory=tmp_path / 'one for all')
  centred = jax.tree_util.Partial(
    lambda network, images, sigma: network(images - images.mean(), sigma),
    classifier,
  )
  with pytest.raises(ValueError, match='^expert 1: .*batch companions'):
    run(
      classifier=(experts[0], centred, experts[2]),
      chunk_size=20,
      directory=tmp_path / 'dependent',
    )


@pytest.fixture(scope='module')
def full_size():
  """The networks of the ImageNet path, of shapes alone."""

  def make(dtype):
    schedule = jax.eval_shape(
      lambda: diffusion.Schedule.of(diffusion.linear_alphas(1000))
    )
    unet = nnx.eval_shape(
      lambda: models.DiffusionUNet(**IMAGENET256, dtype=dtype, rngs=nnx.Rngs(0))
    )
    denoiser = denoising.Denoiser(models.inference_view(unet), schedule)

    def classifier(classes):
      sizes = {**LARGE16_IMAGENET, 'num_classes': classes}
      beit = nnx.eval_shape(
        lambda: models.BEiT(**sizes, dtype=dtype, rngs=nnx.Rngs(0))
      )
      return denoising.DenoisedClassifier(
        denoiser, models.inference_view(beit), (512, 512)
      )

    return smoothed_of(classifier(3), classifier(1000))

  return make


@pytest.mark.slow
@pytest.mark.parametrize(
  ('dtype', 'method'),
  [('bfloat16', ADAPTIVE), ('float32', ADAPTIVE), ('bfloat16', {})],
  ids=['bfloat16-adaptive', 'float32-adaptive', 'bfloat16-fixed'],
)
def test_the_imagenet_path_fits_16_gigabytes(
  full_size, settings, dtype, method
):
  """As the compiler of a CPU has it, which knows bfloat16 as rounded float32.

  Of the whole, four fifths may be used. With the adaptive default it would
  fit into a GPU's usual share too, three quarters of the whole.
  """
  settings |= {'n0': 100, 'n': 100_000, 'alpha': 0.001, **method}
  limit = int(0.8 * 16 * 2**30 * (0.75 if method else 1.0))
  smoothed = full_size(jnp.dtype(dtype))
  example = np.zeros((224, 224, 3), np.float32)
  need = functools.cache(
    functools.partial(memory.needed, smoothed, example, settings)
  )
  chosen = memory.largest_chunk(need, memory=limit, most=1024)
  print(f'chunk {chosen} takes {need(chosen):,} of {limit:,} bytes')
  assert memory._weights(smoothed) > 4 * (552_000_000 + 2 * 304_000_000)
  assert chosen >= 1
  assert need(chosen) <= limit
