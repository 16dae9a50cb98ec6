"""The door for any other framework: arrays in, arrays out."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from dualrs_jax import (
  adaptive,
  composition,
  dual,
  host,
  host_calls,
  smoothing,
  validation,
  voting,
)
from dualrs_jax import noise as noise_lib
from dualrs_jax.base import (
  AdaptiveCertificate,
  Certificate,
  Classifier,
  Counts,
  DualCertificate,
)
from dualrs_jax.composition import CompositionRule
from dualrs_jax.runtime import bars

_PROTOCOLS = ('fixed', 'adaptive')

#: A function of NumPy images, or a classifier of any kind.
Model = Callable[..., Any] | Classifier


def certify_array(
  model: Model | Sequence[Model],
  images: np.ndarray,
  sigma: float | Sequence[float] | Float[np.ndarray, ' levels'],
  key: PRNGKeyArray,
  *,
  n0: int,
  n: int,
  alpha: float,
  chunk_size: int,
  estimator: Model | None = None,
  estimator_sigma: float | None = None,
  certificate: CompositionRule | None = None,
  protocol: str = 'fixed',
  goal: str = 'full',
  radii: Sequence[float] = (),
  noise: Any = noise_lib.gaussian,
  progress: bool = False,
) -> Certificate | DualCertificate | AdaptiveCertificate:
  """Certifies any function of images, from any framework, array to array.

  With one noise level it is `certify` for each image, with several and an
  estimator `certify_dual`; with the adaptive protocol it is `certify_images`.
  The model becomes a `host_classifier`, which see for how it is called: always
  with NumPy arrays of one batch shape, of `chunk_size` copies. Image i sees the
  noise of `noise.image_key(key, i)`.

  Guarantee: that of these functions, for each image by itself.

  Args:
    model: Maps float32 images [chunk, *image] to logits [chunk, classes], each
      row from its own image alone; or one such model per noise level. A
      `host_classifier`, such as one of several devices, is taken as it is, and
      so is a classifier of JAX that is a pytree.
    images: Images in [0, 1], shape [batch, *image].
    sigma: The noise level, in pixel units, or the K levels to choose from.
    key: The key of the run.
    n0: Number of selection votes (per stage and level); the adaptive protocol
      casts as many at most.
    n: Number of fresh votes that bound a probability, in the same way.
    alpha: Failure probability for each image.
    chunk_size: Noisy copies per call of a model. The last call is filled up
      with copies that count for nothing.
    estimator: Chooses among several levels: a model with K logits.
    estimator_sigma: The noise level at which it does.
    certificate: The composition rule of several levels: `paper`, `minimum`,
      `agreement` or `fallback`.
    protocol: 'fixed' casts n votes, 'adaptive' as many as the goal takes.
    goal: What the adaptive protocol decides, see `certify_images`.
    radii: The radii of its goals 'radius' and 'grid'.
    noise: The sampler of noisy images.
    progress: Whether to draw a bar on standard error.

  Returns:
    A certificate of NumPy arrays, images first, its radii in float64. With one
    level and the fixed protocol a `Certificate`, with several a
    `DualCertificate`, with the adaptive protocol an `AdaptiveCertificate`.

  Raises:
    ValueError: If an argument is invalid, see `certify_dual` and
      `certify_images`, or the model is refused, see `host_classifier`.
  """
  images = np.asarray(validation.as_array(images, 'images'))
  sigmas = np.asarray(validation.as_array(sigma, 'sigma'))
  chunk_size = validation.as_votes('chunk_size', chunk_size)
  several = sigmas.ndim > 0
  if images.ndim < 2 or not images.shape[0]:
    raise ValueError(
      'images is a batch [batch, *image] of at least one image, not of shape'
      f' {images.shape}.'
    )
  validation.check_sigmas(sigmas) if several else validation.check_sigma(sigmas)
  validation.check_key(key)
  validation.check_chunk_size(chunk_size)
  _check_choice(several, estimator, estimator_sigma, certificate)
  _check_protocol(protocol, goal, radii)
  levels = sigmas if several else sigmas[None]
  for image in images:
    validation.check_image(image)
    voting.check_noise(noise, image, levels)
  ask = functools.partial(
    _classifier, image=images[0], sigma=levels[0], chunk_size=chunk_size
  )
  if isinstance(model, list | tuple):
    classifier = [ask(each) for each in model]
  else:
    classifier = ask(model)
  if estimator is not None:
    estimator = ask(estimator, num_classes=len(levels))
  options: dict[str, Any] = {
    'n0': validation.as_votes('n0', n0),
    'n': validation.as_votes('n', n),
    'alpha': validation.as_alpha(alpha),
  }
  options |= {'chunk_size': chunk_size, 'noise': noise}
  if protocol == 'adaptive':
    options |= {'goal': goal, 'radii': radii}
    options |= {'certificate': certificate or composition.minimum}
    answers = _adaptive(
      estimator, classifier, images, levels, estimator_sigma, key, options
    )
  elif several:
    options |= {'certificate': certificate}
    answers = _dual(
      estimator, classifier, images, levels, estimator_sigma, key, options
    )
  else:
    answers = _single(classifier, images, sigmas, key, options)
  found = {}
  with bars.bar(
    'certify', unit='image', shown=progress, total=len(images)
  ) as bar:
    for index, answer in answers:
      found[index] = answer
      bar.update()
  ordered = [found[index] for index in range(len(images))]
  return jax.tree.map(lambda *each: np.stack(each), *ordered)


def _single(classifier, images, sigma, key, options) -> Iterator[tuple]:
  """Certificates at one level, in float64."""
  given = {name: options[name] for name in ('n', 'alpha')}
  for index, image in enumerate(images):
    image_key = noise_lib.image_key(key, index)
    found = smoothing.certify(classifier, image, sigma, image_key, **options)
    counts = Counts(*map(np.asarray, found.counts))
    yield index, smoothing.certificate_of_counts(counts, sigma, **given)


def _dual(
  estimator, classifier, images, sigmas, estimator_sigma, key, options
) -> Iterator[tuple]:
  """Certificates with a choice of levels, in float64."""
  rule = options['certificate']
  given = {name: options[name] for name in ('n', 'alpha', 'n0')}
  levels = sigmas, estimator_sigma
  for index, image in enumerate(images):
    image_key = noise_lib.image_key(key, index)
    networks = estimator, classifier, image
    found = dual.certify_dual(*networks, *levels, image_key, **options)
    counts = found.estimator_counts, found.classifier_counts
    wide = (Counts(*map(np.asarray, votes)) for votes in counts)
    yield index, rule(*wide, *levels, **given)


def _adaptive(
  estimator, classifier, images, sigmas, estimator_sigma, key, options
) -> Iterator[tuple]:
  """Certificates from as many votes as they take, as they are decided."""
  return adaptive.certify_images(
    estimator,
    classifier,
    enumerate(images),
    sigmas,
    estimator_sigma,
    key,
    **options,
  )


def _classifier(
  model: Any, num_classes: int | None = None, *, image, sigma, chunk_size: int
) -> Any:
  """What votes: a host classifier of what is no classifier of JAX.

  The width of the logits is what the model says of a batch of noisy images.
  """
  if not callable(model):
    raise ValueError(
      'The model is a function of NumPy images, or a sequence of them, one for'
      f' each noise level; not a {type(model).__name__}.'
    )
  if isinstance(model, host.HostClassifier):
    return model
  if not jax.tree_util.all_leaves([model]):  # a pytree is a classifier of JAX
    return model
  if num_classes is None:
    noise = np.random.default_rng(0).standard_normal((chunk_size, *image.shape))
    noisy = image.astype(np.float32) + sigma.astype(np.float32) * noise
    num_classes = host_calls.width(model, noisy.astype(np.float32))
    validation.check_classes(num_classes)
  return host.host_classifier(model, num_classes)


def _check_choice(several, estimator, estimator_sigma, certificate) -> None:
  """Raises ValueError unless several levels have all that it takes."""
  given = {
    'estimator': estimator,
    'estimator_sigma': estimator_sigma,
    'certificate': certificate,
  }
  if certificate is not None:
    composition.check_rule(certificate)
  absent = [name for name, value in given.items() if value is None]
  if several and absent:
    raise ValueError(
      f'A choice among several noise levels takes {" and ".join(absent)}: the'
      ' model that chooses, the level at which it does, and the rule that makes'
      ' one radius of both, such as dualrs_jax.agreement.'
    )
  if not several and estimator is not None:
    raise ValueError(
      'An estimator chooses among noise levels, and sigma is a single one: give'
      ' a list of them.'
    )


def _check_protocol(protocol: str, goal: str, radii: Any) -> None:
  if protocol not in _PROTOCOLS:
    raise ValueError(
      f"protocol must be 'fixed' or 'adaptive', not {protocol!r}."
    )
  given = validation.as_radii(radii)
  if protocol == 'fixed' and (goal != 'full' or given):
    raise ValueError(
      'A fixed number of votes gives the radius that it gives; goal and radii'
      " are for protocol='adaptive'."
    )
