"""Classifiers with the weights of the parity data, and full-size manifests."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dualrs_jax import independence, models
from dualrs_jax.models.beit import LARGE16_IMAGENET
from dualrs_jax.models.cifar_resnet import RESNET110
from dualrs_jax.models.resnet import RESNET50
from dualrs_jax.models.vit import BASE16_CIFAR10
from dualrs_jax.pretrained import (
  huggingface,
  matching,
  timm_beit,
  torch_resnet,
)

DATA = pathlib.Path(__file__).parent / 'data' / 'parity'

TIMM_SIZES = {'patch': 8, 'width': 64, 'depth': 3, 'heads': 4, 'hidden': 256}

RESNETS = {
  'cifar_resnet20_a': (models.CIFARResNet, {'depth': 20}),
  'imagenet_resnet_a': (
    models.ResNet,
    {
      'stages': (2, 2, 3, 2),
      'width': 12,
      'num_classes': 30,
      'image_shape': (64, 64, 3),
    },
  ),
}

PUBLISHED = {
  models.BEiT: LARGE16_IMAGENET,
  models.CIFARResNet: RESNET110,
  models.ResNet: RESNET50,
  models.ViT: BASE16_CIFAR10,
}

#: One compilation per network, dtype and shape in the whole run.
apply = jax.jit(lambda model, images, sigma: model(images, sigma))


@functools.cache
def model(name, dtype=jnp.float32, **sizes):
  if name.startswith('hf_'):
    return huggingface.load(DATA / name / 'hf', sizes, dtype=dtype)
  if name.startswith('timm_'):
    return timm_beit.load(DATA / name, TIMM_SIZES | sizes, dtype=dtype)
  return resnet(arrays(name, 'weights'), name, dtype=dtype, **sizes)


def resnet(weights, name, *, dtype=jnp.float32, **sizes):
  architecture, known = RESNETS[name]
  published = torch_resnet.from_arrays(
    weights, known | sizes, architecture=architecture, source=name
  )
  return models.inference_view(matching.build(published, dtype=dtype))


@functools.cache
def arrays(folder, file='io'):
  with np.load(DATA / folder / f'{file}.npz') as content:
    return dict(content)


def pixels(name):
  """The inputs of a fixture, in pixel units."""
  content = arrays(name)
  if 'x' in content:
    images = content['x']
  else:  # these are stored as their networks normalise them
    images = (content['pixel_values'] + 1) / 2
  return jnp.asarray(np.moveaxis(images, 1, -1))


def logits(network, images):
  return np.asarray(apply(network, images, jnp.ones(len(images))))


def check_companions(network, images):
  """The check that certify.py makes, in batches that tests have compiled."""
  independence.check_companions(
    lambda copies: logits(network, copies),
    images[0],
    0.5,
    jax.random.key(0),
    chunk_size=len(images),
  )


@functools.cache
def full_size(architecture):
  """The published model, without its weights."""
  return matching.abstract(architecture, PUBLISHED[architecture])


def full_size_fits(name, abstract, correspondence, ignored=()):
  """Whether the arrays of a full-size file and a model are one to one."""
  manifest = json.loads((DATA / 'manifests' / f'{name}.json').read_text())
  shapes = {
    array: tuple(shape)
    for array, (shape, _) in manifest.items()
    if array.rpartition('.')[2] not in ignored
  }
  assert set(shapes) == set(correspondence)
  variables = dict(nnx.to_flat_state(nnx.state(abstract)))
  for array, targets in correspondence.items():
    stand_in = np.broadcast_to(np.float32(0), shapes[array])
    several = (
      (targets,) if isinstance(targets, matching.Target) else tuple(targets)
    )
    for target in several:
      made = target.transform(stand_in).shape
      assert made == variables.pop(target.path).shape, array
  assert not variables
