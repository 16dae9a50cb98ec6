"""A network that compiles fast, and images that it can learn."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from dualrs_jax import data


class Linear(nnx.Module):
  """Logits that are linear in the image and see sigma."""

  def __init__(self, *, num_classes=3, pixels=16, seed=0):
    self.map = nnx.Linear(pixels + 1, num_classes, rngs=nnx.Rngs(seed))

  def __call__(self, images, sigma):
    flat = images.reshape(len(images), -1)
    return self.map(jnp.concatenate([flat, sigma[:, None]], axis=-1))


class Brightest(nnx.Module):
  """An exact classifier: the class is the brightest of the first pixels."""

  def __init__(self, num_classes):
    self.scale = nnx.Param(jnp.ones(()))
    self.num_classes = num_classes

  def __call__(self, images, sigma):
    flat = images.reshape(len(images), -1)
    return flat[:, : self.num_classes] * self.scale[...]


def source(examples=40, num_classes=3, seed=0):
  """Images of 4x4 pixels; the class is the brightest of the first pixels."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(num_classes, size=examples).astype(np.int32)
  images = rng.integers(100, size=(examples, 4, 4, 1)).astype(np.uint8)
  images[np.arange(examples), 0, labels] = rng.integers(120, 256, examples)[
    :, None
  ]
  return data.Source(
    images, labels, 1000 + np.arange(examples, dtype=np.int64), num_classes
  )
