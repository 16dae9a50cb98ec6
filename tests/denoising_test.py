"""Schedules, denoising and whole pipelines against the original code.

Everything that enters a vote is compared with arrays that the published
PyTorch code gave; the look-up of a step is exact.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dualrs_jax
from dualrs_jax import diffusion, independence, models, noise, resizing
from dualrs_jax.denoising import DenoisedClassifier, Denoiser, PublishedNoise
from dualrs_jax.diffusion import Schedule
from tests import parity_classifiers, parity_unets
from tests.parity_unets import apply, nchw, nhwc

SCHEDULES = {
  'cosine_4000': diffusion.cosine_alphas(4000),
  'linear_1000': diffusion.linear_alphas(1000),
}
TABLES = {'cosine_4000': 'improved_cifar10', 'linear_1000': 'guided_imagenet'}
UNETS = sorted(parity_unets.SIZES)


def read_json(*path):
  return json.loads(parity_unets.DATA.joinpath(*path).read_text())


@functools.cache
def device(name):
  return Schedule.of(SCHEDULES[name])


@pytest.fixture(params=sorted(SCHEDULES))
def name(request):
  return request.param


def at(name, sigma):
  return device(name).at(jnp.asarray(sigma, jnp.float32))


def test_schedules_are_the_published_ones(name):
  published = parity_unets.arrays('diffusion_schedules', name)
  alphas = SCHEDULES[name]
  assert alphas.dtype == np.float64
  np.testing.assert_allclose(alphas, published['alphas_cumprod'], rtol=1e-15)
  np.testing.assert_allclose(
    diffusion.deviations(alphas),
    published['sqrt_recipm1_alphas_cumprod'],
    rtol=1e-11,
  )
  np.testing.assert_allclose(
    device(name).signal, published['sqrt_alphas_cumprod'], rtol=1e-7
  )


def test_steps_are_exactly_those_of_the_published_table(name):
  rows = read_json('diffusion_schedules', 'sigma_to_t.json')[TABLES[name]]
  assert len(rows['rows']) == 5
  for row in rows['rows']:
    assert diffusion.timestep(SCHEDULES[name], row['sigma']) == row['t']
    position = at(name, row['sigma'])
    assert position.step == row['t']
    time = device(name).network_time(position.step)
    assert time == row['timestep_fed_to_unet']
    np.testing.assert_allclose(
      position.deviation, row['real_sigma_model_range'], rtol=1e-7
    )


def test_the_device_finds_the_steps_of_the_reference(name):
  sigmas = np.random.default_rng(0).uniform(0.003, 2, 20_000)
  np.testing.assert_array_equal(
    at(name, sigmas).step, diffusion.timestep(SCHEDULES[name], sigmas)
  )


def test_a_level_of_the_schedule_is_its_own_step(name):
  levels = diffusion.deviations(SCHEDULES[name])[1:] / 2
  steps = np.arange(1, len(levels) + 1)
  np.testing.assert_array_equal(at(name, levels).step, steps)
  np.testing.assert_array_equal(
    diffusion.timestep(SCHEDULES[name], levels), steps
  )


def test_step_zero_is_never_used(name):
  assert at(name, 1e-6).step == 1
  assert diffusion.timestep(SCHEDULES[name], 1e-6) == 1


def test_levels_beyond_the_schedule_are_refused_or_nan():
  alphas = SCHEDULES['linear_1000']
  for sigma in (78.8, np.inf, np.nan):
    position = at('linear_1000', sigma)
    assert np.isnan(position.signal)
    assert np.isnan(position.deviation)
    with pytest.raises(ValueError, match='at most 78.7'):
      diffusion.timestep(alphas, sigma)
  with pytest.raises(ValueError, match='must be positive'):
    diffusion.timestep(alphas, np.array([0.5, 0.0]))


@pytest.mark.parametrize('unet', UNETS)
def test_denoising_parity(unet):
  """All published cases in one batch, so with a sigma for every image."""
  io = parity_unets.arrays(unet, 'io_denoise')
  cases = ['s0', 's1', 's2', 's3', 's4', 'mixed']
  sigma = np.concatenate(
    [np.broadcast_to(io[f'{case}_sigma'], 3) for case in cases]
  )
  # The published code adds the noise of the step: bring it to pixel units.
  alphas = parity_unets.ALPHAS[unet]
  steps = diffusion.timestep(alphas, sigma)
  np.testing.assert_array_equal(
    steps,
    np.concatenate([np.broadcast_to(io[f'{c}_t'], 3) for c in cases]),
  )
  level = diffusion.deviations(alphas)[steps] / 2
  eps = np.concatenate([io[f'{case}_noise'] for case in cases])
  noisy = np.tile(io['x01'], (6, 1, 1, 1)) + level[:, None, None, None] * eps
  both = jax.jit(lambda f, *inputs: (f.unclipped(*inputs), f(*inputs)))
  unclipped, clean = both(
    Denoiser(parity_unets.network(unet), Schedule.of(alphas)),
    nhwc(noisy.astype(np.float32)),
    jnp.asarray(sigma),
  )
  for index, case in enumerate(cases):
    rows = slice(3 * index, 3 * index + 3)
    tolerance = 3e-4 * (1 + 2 * sigma[rows].min())
    np.testing.assert_allclose(
      2 * nchw(clean[rows]) - 1, io[f'{case}_denoised'], rtol=0, atol=tolerance
    )
    if case != 'mixed':
      np.testing.assert_allclose(
        nchw(unclipped[rows]),
        io[f'{case}_pred_xstart_unclipped'],
        rtol=0,
        atol=tolerance,
      )


def perfect(truth, alphas, images, times):
  """Knows the clean image, so it knows the noise."""
  left = alphas[jnp.rint(4 * times).astype(jnp.int32)][:, None, None, None]
  eps = (images - jnp.sqrt(left) * (2 * truth - 1)) / jnp.sqrt(1 - left)
  return jnp.concatenate([eps, 9 + eps], axis=-1)


def test_a_perfect_network_gives_back_the_image():
  """For any sigma, also where the schedule has no such step."""
  name = 'cosine_4000'
  random = np.random.default_rng(0)
  truth = random.uniform(size=(5, 4, 4, 3)).astype(np.float32)
  sigma = np.array([0.01, 0.12, 0.3, 1.0, 3.0], np.float32)
  eps = random.normal(size=truth.shape).astype(np.float32)
  noisy = truth + sigma[:, None, None, None] * eps
  alphas = SCHEDULES[name].astype(np.float32)
  network = jax.tree_util.Partial(
    perfect, jnp.asarray(truth), jnp.asarray(alphas)
  )
  clean = apply(Denoiser(network, device(name)), noisy, sigma)
  np.testing.assert_allclose(clean, truth, atol=1e-4)


def test_published_noise_is_that_of_the_step(name):
  key = jax.random.key(0)
  image = np.random.default_rng(0).uniform(size=(4, 4, 3)).astype(np.float32)
  sampler = PublishedNoise(device(name))
  assert isinstance(sampler, noise.Noise)
  eps = apply(dualrs_jax.gaussian, key, 0 * image, jnp.float32(1))
  for sigma in (0.12, 0.25, 1.0):
    step = diffusion.timestep(SCHEDULES[name], sigma)
    level = diffusion.deviations(SCHEDULES[name])[step] / 2
    noisy = apply(sampler, key, image, jnp.float32(sigma))
    np.testing.assert_allclose(noisy, image + level * eps, atol=2e-6)


def test_published_noise_is_never_below_the_level_it_certifies(name):
  """Else the radius would be too large; compared without any tolerance."""
  levels = np.asarray(device(name).deviation) / 2
  random = np.random.default_rng(1).uniform(0, levels[-1], 10_000)
  for sigmas in (levels, np.nextafter(levels, np.float32(0)), random):
    sigmas = sigmas.astype(np.float32)
    assert (np.asarray(at(name, sigmas).deviation) / 2 >= sigmas).all()


def darkness(images, sigma):
  """Whether an image is darker than the noise level, two logits."""
  mean = images.mean(axis=(1, 2, 3))
  return jnp.stack([sigma - mean, mean - sigma], axis=-1)


def clipping_classifier(schedule, **sizes):
  """Its denoiser takes the noise to be zero, so it only clips."""
  network = jax.tree_util.Partial(lambda images, times: 0 * images)
  return DenoisedClassifier(
    Denoiser(network, device(schedule)),
    jax.tree_util.Partial(darkness),
    **sizes,
  )


def test_a_denoised_classifier_denoises_resizes_and_classifies():
  f = clipping_classifier('cosine_4000', size=(5, 7))
  assert isinstance(f, dualrs_jax.Classifier)
  random = np.random.default_rng(0)
  noisy = random.normal(0.5, 0.5, (4, 6, 8, 3)).astype(np.float32)
  sigma = np.array([0.25, 0.5, 0.5, 1.0], np.float32)
  small = resizing.resize_bicubic(jnp.clip(noisy, 0, 1), (5, 7))
  expected = darkness(small, jnp.asarray(sigma))
  np.testing.assert_allclose(apply(f, noisy, sigma), expected, atol=1e-6)


def test_both_stages_may_denoise():
  """A dark image: the estimator says level 0, the classifier class 1."""
  f = clipping_classifier('cosine_4000')
  answer = dualrs_jax.certify_dual(
    f,
    f,
    jnp.full((4, 4, 3), 0.3),
    jnp.array([0.1, 0.9]),
    0.8,
    jax.random.key(0),
    n0=16,
    n=64,
    alpha=0.01,
    certificate=dualrs_jax.paper,
    chunk_size=80,
    noise=PublishedNoise(device('cosine_4000')),
  )
  assert int(answer.sigma_index) == 0
  assert int(answer.prediction) == 1
  assert answer.radius > 0


def test_a_level_beyond_the_schedule_casts_no_valid_vote():
  f = clipping_classifier('linear_1000')
  logits = apply(f, jnp.full((2, 4, 4, 3), 0.3), jnp.array([78.0, 79.0]))
  assert np.isfinite(logits[0]).all()
  assert np.isnan(logits[1]).any()


def test_published_noise_refuses_levels_beyond_the_schedule():
  sampler = PublishedNoise(device('linear_1000'))
  sampler.check(None, jnp.array([0.25, 78.0]))
  with pytest.raises(ValueError, match='at most 78.7'):
    sampler.check(None, jnp.array([0.25, 79.0]))
  noisy = apply(
    sampler, jax.random.key(0), np.zeros((2, 2, 1), 'f4'), jnp.float32(79.0)
  )
  assert np.isnan(noisy).all()


PIPELINES = {
  'pipeline_cifar_a': ('improved_unet_a', 'hf_vit_a'),
  'pipeline_imagenet_a': ('guided_unet_a', 'timm_beit_a'),
}


@functools.cache
def pipeline(name, dtype):
  unet, classifier = PIPELINES[name]
  network = models.inference_view(parity_unets.network(unet, dtype))
  schedule = Schedule.of(parity_unets.ALPHAS[unet])
  return DenoisedClassifier(
    Denoiser(network, schedule),
    models.inference_view(parity_classifiers.model(classifier, dtype=dtype)),
    (32, 32),
  )


def logits_and_those_published(name, dtype):
  """The whole path, from noisy pixels to logits, in one batch."""
  io = parity_unets.arrays(name, 'io')
  sigma = np.repeat([io['s0_sigma'], io['s1_sigma']], 3)
  alphas = parity_unets.ALPHAS[PIPELINES[name][0]]
  steps = diffusion.timestep(alphas, sigma)
  np.testing.assert_array_equal(steps, np.repeat([io['s0_t'], io['s1_t']], 3))
  level = diffusion.deviations(alphas)[steps] / 2
  eps = np.concatenate([io['s0_noise'], io['s1_noise']])
  noisy = np.tile(io['x01'], (2, 1, 1, 1)) + level[:, None, None, None] * eps
  noisy = nhwc(noisy.astype(np.float32))
  logits = apply(pipeline(name, dtype), noisy, sigma)
  return logits, np.concatenate([io['s0_logits'], io['s1_logits']])


@pytest.mark.parametrize('pipeline', PIPELINES)
def test_pipeline_parity(pipeline):
  logits, expected = logits_and_those_published(pipeline, 'float32')
  np.testing.assert_allclose(logits, expected, rtol=0, atol=3e-4)


@pytest.mark.parametrize('pipeline', PIPELINES)
def test_pipelines_in_bfloat16_compute_the_same_roughly(pipeline):
  logits, expected = logits_and_those_published(pipeline, 'bfloat16')
  assert logits.dtype == jnp.float32
  error = np.sqrt(np.mean(np.square(logits - expected)))
  assert 1e-3 < error < 0.1  # of logits with a deviation of 1


@pytest.mark.parametrize('name', PIPELINES)
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_votes_do_not_depend_on_their_companions(name, dtype):
  io = parity_unets.arrays(name, 'io')
  f, same = pipeline(name, dtype), np.full(6, 0.5, np.float32)
  independence.check_companions(
    lambda images: apply(f, images, same),
    nhwc(io['x01'])[0],
    0.5,
    jax.random.key(0),
    chunk_size=6,
  )
