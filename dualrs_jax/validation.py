"""Checks of what a caller passes, each failing in one sentence.

Values can only be checked when they are concrete; under a trace a NaN or a
non-positive sigma makes the certificate abstain instead.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from dualrs_jax import confidence

#: Votes of both splits together are numbered in int32.
_MOST_VOTES = 2**30

#: Devices take smaller numbers for 0.
_LEAST_SIGMA = np.finfo(np.float32).tiny

#: How far logits may move when their batch companions change: the rounding
#: of kernels, relative to the largest logit.
_COMPANION_TOLERANCE = 1e-5

#: How images of some kinds become floating point in [0, 1].
_TO_UNIT = {
  'uint8': 'scale 8-bit images with image / 255',
  'uint16': 'scale 16-bit images with image / 65535',
  'bool': 'convert them with image.astype(float)',
}


def _concrete(*values) -> bool:
  return not any(isinstance(value, Tracer) for value in values)


def as_array(value: Any, name: str) -> Any:
  """An array of numbers as it is; what NumPy can read as one, as that.

  Args:
    value: What a caller passed: an array, a list, a tensor, a number.
    name: What it is, for the message.

  Raises:
    ValueError: If it is nothing of that kind.
  """
  if isinstance(value, jax.Array | np.ndarray | np.generic | int | float):
    array = value
  else:
    several = value if isinstance(value, list | tuple) else ()
    xp = jnp if any(isinstance(each, jax.Array) for each in several) else np
    try:
      array = xp.asarray(value)
    except Exception as error:
      raise ValueError(
        f'{name} must be an array, which NumPy makes of no'
        f' {type(value).__name__} like this ({error}).'
      ) from error
  kind = getattr(array, 'dtype', np.dtype(float))
  if not (jnp.issubdtype(kind, jnp.number) or kind == np.bool_):
    raise ValueError(
      f'{name} must be an array of numbers, not a {type(value).__name__} like'
      f' {value!r:.60}.'
    )
  return array


def as_alpha(alpha: Any) -> float:
  """A failure probability as a number of Python, by which jit knows it."""
  return as_number('alpha', alpha)


def as_votes(name: str, value: Any) -> Any:
  """A number of votes as a whole number of Python; see `check_whole`."""
  if isinstance(value, int) and not isinstance(value, bool):
    return value
  number = as_number(name, value)
  if not number.is_integer():
    raise ValueError(f'{name} must be a whole number, not {value!r}.')
  return int(number)


def as_number(name: str, value: Any) -> float:
  """A number as one of Python; ValueError unless it is a known one."""
  if isinstance(value, Tracer):
    raise ValueError(
      f'{name} must be known before the votes are cast; under jit or vmap, pass'
      ' it as a static argument or bind it with functools.partial.'
    )
  try:
    if isinstance(value, str | bytes | bool) or np.ndim(value):
      raise TypeError
    return float(value)
  except (TypeError, ValueError) as error:
    raise ValueError(f'{name} must be a number, not {value!r:.60}.') from error


def check_image(image) -> None:
  """Raises ValueError unless the image is floating point and in [0, 1]."""
  if not hasattr(image, 'dtype'):
    raise ValueError(f'An image is an array, not a {type(image).__name__}.')
  try:
    kind = jnp.result_type(image)
  except TypeError as error:
    raise ValueError(
      f'Images are floating point in [0, 1] of a type that JAX has, not'
      f' {image.dtype}: use image.astype(numpy.float32).'
    ) from error
  if not jnp.issubdtype(kind, jnp.floating):
    advice = _TO_UNIT.get(kind.name)
    if advice is None and jnp.issubdtype(kind, jnp.integer):
      advice = 'divide them by what is white'
    raise ValueError(
      f'Images are floating point in [0, 1], not {kind}'
      f'{"" if advice is None else f": {advice}"}.'
    )
  if _concrete(image):
    pixels = np.asarray(image)
    if np.isnan(pixels).any():
      raise ValueError('The image holds NaN.')
    if pixels.size and (pixels.min() < 0 or pixels.max() > 1):
      raise ValueError(
        'Images lie in [0, 1], so that sigma and radius are in pixel units;'
        f' this one spans [{pixels.min()!s}, {pixels.max()!s}]: scale it, or,'
        ' if only rounding took it there, use jnp.clip(image, 0, 1).'
      )


def check_sigma(sigma, name: str = 'sigma') -> None:
  """Raises ValueError unless every noise level is positive and finite."""
  if _concrete(sigma):
    given = np.asarray(as_array(sigma, name))
    if np.iscomplexobj(given):
      raise ValueError(f'{name} must be real, not {given}.')
    with np.errstate(over='ignore'):
      levels = given.astype(np.float32)  # as noise is scaled
    if not (np.isfinite(levels).all() and (levels >= _LEAST_SIGMA).all()):
      raise ValueError(
        f'{name} must be positive and finite, as a float32, not {given}.'
      )


def check_scalar_sigma(sigma, name: str = 'sigma') -> None:
  """Raises unless the noise level is a positive scalar."""
  sigma = as_array(sigma, name)
  if np.ndim(sigma) != 0:
    raise ValueError(
      f'{name} is one noise level, a scalar, not an array of shape'
      f' {np.shape(sigma)}; use jax.vmap for several.'
    )
  check_sigma(sigma, name)


def check_key(key) -> None:
  """Raises ValueError unless the key is one threefry key.

  The other generators of JAX change their draws with the batch or the mesh,
  so vote j would not be the same vote everywhere.
  """
  dtype = getattr(key, 'dtype', np.dtype(object))
  if not jnp.issubdtype(dtype, jax.dtypes.prng_key):
    raise ValueError('The key must be typed: use jax.random.key(seed).')
  if key.shape != ():
    raise ValueError(
      f'One image takes one key, not an array of shape {key.shape}.'
    )
  implementation = str(jax.random.key_impl(key))
  if 'threefry' not in implementation and implementation != 'fry':
    raise ValueError(
      f'The noise of a vote is only reproducible with threefry keys, not with'
      f" {implementation!r}: use jax.random.key(seed, impl='threefry2x32'), and"
      " leave JAX's option jax_default_prng_impl as it is."
    )


def check_votes(n0: int, n: int, alpha: float, chunk_size: int) -> None:
  """Raises ValueError unless votes of these numbers can certify at alpha."""
  check_selection(n0)
  check_estimation(n)
  check_chunk_size(chunk_size)
  confidence.check_possible(n, alpha)


def check_selection(n0: Any) -> None:
  """Raises ValueError unless there is at least one selection vote."""
  check_votes_number('n0', n0)
  if n0 < 1:
    raise ValueError(f'n0 must be at least 1, not {n0}.')


def check_estimation(n: Any) -> None:
  """Raises ValueError unless there is at least one estimation vote."""
  check_votes_number('n', n)
  if n < 1:
    raise ValueError(f'n must be at least 1, not {n}.')


def check_votes_number(name: str, value: Any) -> None:
  """Raises ValueError unless so many votes can be numbered."""
  check_whole(name, value)
  if value >= _MOST_VOTES:
    raise ValueError(f'{name} must be below 2**30, not {value}.')


def check_whole(name: str, value: Any) -> None:
  """Raises ValueError unless a number of votes is a whole number."""
  if not isinstance(value, int | np.integer):
    raise ValueError(f'{name} must be a whole number, not {value!r}.')


def check_chunk_size(chunk_size: int) -> None:
  """Raises ValueError unless the chunk holds at least one vote."""
  check_votes_number('chunk_size', chunk_size)
  if chunk_size < 1:
    raise ValueError(f'chunk_size must be at least 1, not {chunk_size}.')


def check_classes(classes: int) -> None:
  """Raises ValueError for a classifier that has one answer to everything."""
  if classes < 2:
    raise ValueError(
      f'A classifier has at least two classes, and this one returns {classes}'
      ' logit for each image: of a single logit z, make the two [0, z].'
    )


def as_radii(radii: Any) -> tuple[float, ...]:
  """Radii as numbers of Python; ValueError unless they are a list of them."""
  array = np.asarray(as_array(radii, 'radii'))
  if array.ndim != 1 or np.iscomplexobj(array):
    raise ValueError(f'radii is a list of numbers, not {radii!r:.60}.')
  return tuple(map(float, array))


def check_levels(sigmas, estimator_sigma) -> None:
  """Raises ValueError unless the noise levels of both stages make sense."""
  check_sigmas(sigmas)
  check_scalar_sigma(estimator_sigma, 'estimator_sigma')


def check_sigmas(sigmas) -> None:
  """Raises ValueError unless there are noise levels, and they make sense."""
  sigmas = as_array(sigmas, 'sigmas')
  if len(np.shape(sigmas)) != 1 or np.shape(sigmas)[0] == 0:
    raise ValueError(
      'sigmas is a list of at least one noise level, not an array of shape'
      f' {np.shape(sigmas)}.'
    )
  check_sigma(sigmas, 'sigmas')


def same_logits(
  before: Any, after: Any, tolerance: float = _COMPANION_TOLERANCE
) -> bool:
  """Whether logits of the same images, from two calls, are the same.

  Args:
    before: Those of one call, [batch, classes].
    after: Those of the other.
    tolerance: What rounding may move, relative to the largest logit.
  """
  before, after = np.asarray(before), np.asarray(after)
  scale = max(1.0, np.abs(before[np.isfinite(before)]).max(initial=0.0))
  with np.errstate(invalid='ignore'):  # of two infinities
    same = np.abs(before - after) <= tolerance * scale
  same |= before == after
  same |= np.isnan(before) & np.isnan(after)
  return bool(same.all())


def check_companions(before: Any, after: Any) -> None:
  """Raises ValueError where logits changed with their batch companions."""
  if not same_logits(before, after):
    raise ValueError(
      'The votes of this classifier depend on their batch companions, so no'
      ' bound on them would hold; put batch normalisation and dropout into'
      ' inference mode (models.inference_view for Flax NNX, model.eval() in'
      ' PyTorch).'
    )
