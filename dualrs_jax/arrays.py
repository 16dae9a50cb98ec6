"""The door for any other framework: arrays in, arrays out."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, PRNGKeyArray

from dualrs_jax import compilers, validation, voting
from dualrs_jax import noise as noise_lib
from dualrs_jax.base import Certificate, Counts
from dualrs_jax.smoothing import certificate_of_counts


def certify_array(
  model: Callable[[np.ndarray], Any],
  images: np.ndarray,
  sigma: float,
  key: PRNGKeyArray,
  *,
  n0: int,
  n: int,
  alpha: float,
  chunk_size: int,
  noise: Any = noise_lib.gaussian,
) -> Certificate:
  """Certifies any function of images, from any framework, array to array.

  The model is called with NumPy arrays of one fixed batch shape, always of
  `chunk_size` copies, so that it need not be traceable by JAX. They are its
  own: it may work in place. Image i sees the same noise as
  `certify(..., key=noise.image_key(key, i))`.

  Guarantee: that of `certify`, for each image by itself.

  Args:
    model: Maps float32 images [chunk, *image] to logits [chunk, classes], each
      row from its own image alone.
    images: Images in [0, 1], shape [batch, *image].
    sigma: The noise level, in pixel units.
    key: The key of the run.
    n0: Number of votes that select the class.
    n: Number of fresh votes that bound its probability.
    alpha: Failure probability.
    chunk_size: Noisy copies per call of the model. The last call is filled up
      with copies that count for nothing.
    noise: The sampler of noisy images.

  Returns:
    A certificate of NumPy arrays: `prediction` [batch], `radius` [batch] in
    float64, counts [batch, classes].

  Raises:
    ValueError: If an argument is invalid, see `certify`, or the model's rows
      depend on their batch companions.
  """
  images = np.asarray(validation.as_array(images, 'images'))
  sigma = validation.as_array(sigma, 'sigma')
  n0, n = validation.as_votes('n0', n0), validation.as_votes('n', n)
  chunk_size = validation.as_votes('chunk_size', chunk_size)
  alpha = validation.as_alpha(alpha)
  if images.ndim < 2 or not images.shape[0]:
    raise ValueError(
      'images is a batch [batch, *image] of at least one image, not of shape'
      f' {images.shape}.'
    )
  validation.check_scalar_sigma(sigma)
  validation.check_key(key)
  validation.check_votes(n0, n, alpha, chunk_size)
  for image in images:
    validation.check_image(image)
    voting.check_noise(noise, image, sigma)
  voting.check_companions(
    lambda batch: _logits(model, batch),
    images[0],
    sigma,
    key,
    chunk_size=chunk_size,
    noise=voting.as_pytree(noise),
  )
  counts = [
    _count_array_votes(
      model,
      image.astype(np.float32),
      np.float32(sigma),
      noise_lib.image_key(key, index),
      n0=n0,
      n=n,
      chunk_size=chunk_size,
      noise=noise,
    )
    for index, image in enumerate(images)
  ]
  stacked = Counts(*(np.stack(split) for split in zip(*counts, strict=True)))
  return certificate_of_counts(stacked, sigma, n=n, alpha=alpha)


def _logits(model, images: Array | np.ndarray) -> np.ndarray:
  """The logits of images; neither shares memory with what the model has."""
  answer = validation.as_array(
    model(np.array(images)), 'What the model returns'
  )
  batch, logits = len(images), np.array(answer)
  if np.iscomplexobj(logits):
    raise ValueError('Logits are real numbers, not complex ones.')
  if logits.ndim != 2 or logits.shape[0] != batch:
    raise ValueError(
      f'The model maps images [{batch}, *image] to logits [{batch}, classes],'
      f' not to an array of shape {logits.shape}.'
    )
  validation.check_classes(logits.shape[1])
  return logits


_noisy_copies = compilers.jit(voting.noisy_copies)


def _count_array_votes(
  model, image, sigma, key, *, n0, n, chunk_size, noise
) -> Counts:
  total, chunk = n0 + n, chunk_size
  tally = np.zeros((), np.int64)
  for first in range(0, total, chunk):
    votes = first + np.arange(chunk)
    selects = votes < n0
    noisy = _noisy_copies(
      image,
      sigma,
      key,
      np.where(selects, noise_lib.SELECTION, noise_lib.ESTIMATION),
      np.where(selects, votes, votes - n0),
      noise=voting.as_pytree(noise),
    )
    noisy = np.asarray(noisy)
    logits = _logits(model, noisy)
    classes = np.arange(logits.shape[1])
    ballots = np.equal.outer(np.argmax(logits, axis=1), classes)
    ballots &= ~np.any(np.isnan(logits), axis=1, keepdims=True)
    ballots &= np.isfinite(noisy.reshape(chunk, -1)).all(axis=1, keepdims=True)
    estimates = ~selects & (votes < total)
    tally = tally + np.stack(
      [ballots[selects].sum(axis=0), ballots[estimates].sum(axis=0)]
    )
  return Counts(*tally)
