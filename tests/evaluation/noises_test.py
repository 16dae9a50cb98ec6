"""The samplers of noise by their names in settings."""

import numpy as np
import pytest

from dualrs_jax import denoising, diffusion, noise
from dualrs_jax.evaluation import noises

DENOISER = {'schedule': 'cosine', 'steps': 4000}


def settings(name, denoiser=DENOISER):
  return {
    'noise': name,
    'sigmas': [0.25, 1.0],
    'estimator_sigma': 1.0,
    'model': {'denoiser': denoiser},
    'smoothing': 'dual',
    'task': 'certify',
    'n': 100,
  }


def test_gaussian_takes_nothing_of_alpha():
  sampler = noises.make(settings('gaussian'))
  assert sampler is noise.gaussian
  assert noises.alpha(sampler, settings('gaussian'), 100) == 0


def test_lattice_takes_its_share_of_alpha():
  sampler = noises.make(settings('lattice'))
  assert 0 < noises.alpha(sampler, settings('lattice'), 100) < 1e-6


@pytest.mark.parametrize(
  ('changes', 'bounds'),
  [
    ({}, 2),
    ({'task': 'predict'}, 2),
    ({'smoothing': 'single', 'sigmas': [0.25]}, 1),
    ({'smoothing': 'cascade'}, 1),
    ({'smoothing': 'cascade', 'task': 'predict'}, 3),
  ],
)
def test_every_bound_whose_error_is_added_takes_the_same(changes, bounds):
  of_run = settings('lattice') | {'sigmas': [0.25, 0.5, 1.0]} | changes
  sampler = noises.make(of_run)
  one = sampler.failure_probability(pixels=100, votes=of_run['n'])
  assert noises.alpha(sampler, of_run, 100) == pytest.approx(bounds * one)


def test_published_noise_is_that_of_the_denoisers_schedule():
  sampler = noises.make(settings('published'))
  assert isinstance(sampler, denoising.PublishedNoise)
  np.testing.assert_array_equal(
    sampler.schedule.deviation,
    diffusion.Schedule.of(diffusion.cosine_alphas(4000)).deviation,
  )
  assert noises.alpha(sampler, settings('published'), 100) == 0


def test_published_noise_needs_a_denoiser():
  with pytest.raises(ValueError, match='and there is no denoiser'):
    noises.make(settings('published', {}))
