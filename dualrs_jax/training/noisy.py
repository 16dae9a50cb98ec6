"""Logits of noisy copies: what every loss under noise starts from."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dualrs_jax import base


def noisy_logits(
  model: base.Classifier,
  images: Float[Array, 'batch *image'],
  sigma: Float[Array, ' batch'],
  key: PRNGKeyArray,
  *,
  copies: int,
) -> Float[Array, 'copies batch classes']:
  """Logits of noisy copies of each image, all in one pass."""
  shape = (copies, *images.shape)
  scale = sigma.reshape(-1, *[1] * (images.ndim - 1))
  noisy = images[None] + scale[None] * jax.random.normal(key, shape)
  logits = model(noisy.reshape(-1, *images.shape[1:]), jnp.tile(sigma, copies))
  return logits.reshape(copies, len(images), -1)
