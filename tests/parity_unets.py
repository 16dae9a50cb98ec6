"""UNets with the random weights of the parity data, in both families."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from dualrs_jax import diffusion
from dualrs_jax.pretrained import matching, openai_diffusion

DATA = pathlib.Path(__file__).parent / 'data' / 'parity'

SIZES = {
  'improved_unet_a': {
    'width': 32,
    'multipliers': (1, 2),
    'blocks': 2,
    'attention_factors': (2,),
    'heads': 4,
  },
  'guided_unet_a': {
    'width': 32,
    'multipliers': (1, 4),
    'blocks': 1,
    'attention_factors': (2,),
    'head_width': 64,
    'residual_resampling': True,
  },
}

ALPHAS = {
  'improved_unet_a': diffusion.cosine_alphas(4000),
  'guided_unet_a': diffusion.linear_alphas(1000),
}

#: One compilation per network, dtype and shape in the whole run.
apply = jax.jit(lambda model, *arguments: model(*arguments))


@functools.cache
def weights(name):
  return arrays(name, 'weights')


@functools.cache
def network(name, dtype=jnp.float32, **options):
  return build(weights(name), SIZES[name] | options, dtype=dtype)


def build(arrays, sizes=None, **options):
  published = openai_diffusion.from_arrays(arrays, sizes, source='the file')
  return matching.build(published, **options)


def arrays(folder, file):
  with np.load(DATA / folder / f'{file}.npz') as content:
    return dict(content)


def nhwc(images):
  return jnp.asarray(np.moveaxis(images, 1, -1))


def nchw(images):
  return np.moveaxis(np.asarray(images), -1, 1)
