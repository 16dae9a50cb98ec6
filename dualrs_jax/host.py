"""Models of any other framework as classifiers: NumPy in, NumPy out.

Such a model is called by Python between programs of JAX, never by one of them:
in the thread of the caller, whose modes (`torch.no_grad`) are those of a
thread, and where what it raises can be told. A callback inside a program has
neither, and it waits for ever where the model uses JAX itself and all threads
of the device are taken. So what casts votes is run by Python, step by step,
where one of its networks is a model of this kind (`compilers.jit`); what it
consists of is compiled as ever.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from dualrs_jax import host_calls, validation

#: How far the logits of one copy may differ between devices, relative to the
#: largest: they round differently, with other kernels.
_DEVICE_TOLERANCE = 1e-2


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class HostClassifier:
  """A `Classifier` that calls a function of arrays; see `host_classifier`.

  Attributes:
    functions: The model; several are the same model on several devices.
    num_classes: The width of its logits.
    takes_sigma: Whether it is given the noise levels beside the images.
    name: What it is, for messages.
    identity: What stands for its weights in records.
  """

  functions: tuple[Callable[..., Any], ...]
  num_classes: int
  takes_sigma: bool
  name: str
  identity: str = ''
  _checked: set = dataclasses.field(default_factory=set, repr=False)

  def __repr__(self) -> str:
    known = f'{self.name}, {self.num_classes} classes, {self.identity!r}'
    return f'HostClassifier({known})'

  @property
  def devices(self) -> int:
    """How many batches it computes at a time."""
    return len(self.functions)

  @property
  def _title(self) -> str:
    return host_calls.at_the_start(self.name)

  @property
  def where(self) -> list[str]:
    """Where it computes, as far as its functions say so."""
    return [getattr(function, 'where', '') for function in self.functions]

  def __call__(
    self,
    images: Float[Array | np.ndarray, 'batch *image'],
    sigma: Float[Array | np.ndarray, ' batch'],
  ) -> Float[Array, 'batch classes']:
    """Logits of one batch, all of it in one call of the first function."""
    check_concrete((images, sigma))
    return jnp.asarray(self._logits(0, np.asarray(images), np.asarray(sigma)))

  def spread(
    self,
    images: Float[Array | np.ndarray, 'batch *image'],
    sigma: Float[Array | np.ndarray, ' batch'],
  ) -> Float[np.ndarray, 'batch classes']:
    """Logits of a batch of which each device has an equal part.

    The first function runs in the thread of the caller, each of the others in
    one of its own, always the same.
    """
    check_concrete((images, sigma))
    parts = [
      np.split(np.asarray(whole), self.devices) for whole in (images, sigma)
    ]
    others = [
      pool.submit(self._logits, 1 + number, parts[0][1 + number], part)
      for number, (pool, part) in enumerate(
        zip(self._pools, parts[1][1:], strict=True)
      )
    ]
    first = self._logits(0, parts[0][0], parts[1][0])
    found = [first, *(other.result() for other in others)]
    self._check_devices(parts[0][0], parts[1][0], first)
    return np.concatenate(found)

  @functools.cached_property
  def _pools(self) -> list[ThreadPoolExecutor]:
    return [ThreadPoolExecutor(1) for _ in self.functions[1:]]

  def _logits(self, number: int, images, sigma) -> np.ndarray:
    """The logits that a function gives, once it has shown that they count."""
    logits = self._ask(number, images, sigma)
    case = (number, images.shape)
    if case not in self._checked:
      self._check(number, images, sigma, logits)
      self._checked.add(case)
    return logits

  def _check(self, number: int, images, sigma, logits) -> None:
    """Raises ValueError for a function whose answers cannot be votes.

    A copy is looked at twice, at other positions and among others. The votes
    of the second look are not counted.
    """
    finite = np.isfinite(images.reshape(len(images), -1)).all(axis=1)
    lost = int((np.isnan(logits).any(axis=1) & finite).sum())
    if lost:
      raise ValueError(
        f'{self._title} returns NaN for {lost} of {len(images)} noisy'
        ' images, and such a vote counts against every class: it may divide by'
        ' zero, overflow, or take other images than those in [0, 1] with noise.'
      )
    kept = max(1, len(images) // 2)
    order = np.random.default_rng(0).permutation(len(images))
    others = np.where(order < kept, 0, 1).reshape(-1, *[1] * (images.ndim - 1))
    again = np.empty_like(logits)
    again[order] = self._ask(
      number, np.where(others, 1 - images[order], images[order]), sigma[order]
    )
    try:
      validation.check_companions(logits[:kept], again[:kept])
    except ValueError as error:
      repeated = self._ask(number, images, sigma)
      if validation.same_logits(logits, repeated):
        raise ValueError(f'{self._title}: {error}') from None
      raise ValueError(
        f'{self._title} answers the same images differently when it is asked'
        ' again, so no bound on its votes would hold: put it into inference'
        ' mode (dropout off; model.eval() in PyTorch), or seed what it draws.'
      ) from None

  def _check_devices(self, images, sigma, logits) -> None:
    """Raises ValueError unless the model is the same on all devices."""
    case = ('devices', images.shape)
    if case in self._checked:
      return
    for number, pool in enumerate(self._pools, start=1):
      other = pool.submit(self._ask, number, images, sigma).result()
      if not validation.same_logits(logits, other, _DEVICE_TOLERANCE):
        raise ValueError(
          f'Function {number} of {self.name} gives other logits than function'
          ' 0, and they should be one model on several devices; for several'
          ' models, one per noise level, make one host_classifier of each.'
        )
    self._checked.add(case)

  def _ask(self, number: int, images, sigma) -> np.ndarray:
    """What a function returns, as float32; it is given copies of its own."""
    given = [images, sigma] if self.takes_sigma else [images]
    logits = host_calls.called(self.functions[number], given, self.name)
    if logits.shape[1] != self.num_classes:
      raise ValueError(
        f'{self._title} returns {logits.shape[1]} logits for each image,'
        f' not the {self.num_classes} of its num_classes.'
      )
    return host_calls.float32(logits)


def host_classifier(
  function: Callable[..., Any] | Sequence[Callable[..., Any]],
  num_classes: int,
  *,
  takes_sigma: bool = False,
  name: str = '',
  identity: str = '',
) -> HostClassifier:
  """Makes a function of NumPy arrays a `Classifier`, of any framework.

  It can stand wherever a classifier or an estimator can, but not inside of
  `jax.jit`, `jax.vmap` or a gradient of the caller's. It is always called with
  one batch shape, of `chunk_size` noisy images, in float32, which are its own:
  it may work in place. When it first sees a shape it is called once more, and
  refused unless each image gets the same logits again, whatever its place in
  the batch and the images beside it.

  Args:
    function: Maps float32 images [chunk, *image], in [0, 1] plus noise, to
      logits [chunk, classes], each row from its own image alone; or several of
      these, the same model on several devices, which are called at the same
      time, each but the first in a thread of its own.
    num_classes: The width of the logits.
    takes_sigma: Whether it is called as `function(images, sigma)`, with the
      noise level of each image [chunk].
    name: What it is, in messages; by default by the name of the function.
    identity: What stands for its weights, in records of what was certified.

  Raises:
    ValueError: If it is no function, or num_classes no number of classes.

  Example:
    >>> import dualrs_jax, jax, numpy as np
    >>> def half_space(images):  # class 0 where the first pixel < 0.7
    ...   return np.stack([0.7 - images[:, 0], images[:, 0] - 0.7], axis=-1)
    >>> answer = dualrs_jax.certify(
    ...   host_classifier(half_space, 2),
    ...   np.full(2, 0.5, np.float32),
    ...   0.25,
    ...   jax.random.key(0),
    ...   n0=100,
    ...   n=10_000,
    ...   alpha=0.001,
    ...   chunk_size=1_000,
    ... )
    >>> int(answer.prediction), bool(0.18 < answer.radius < 0.2)
    (0, True)
  """
  several = isinstance(function, list | tuple)
  functions: tuple[Any, ...] = tuple(function) if several else (function,)
  wrong = [each for each in functions if not callable(each)]
  if wrong or not functions:
    what = f'a {type(wrong[0]).__name__}' if wrong else 'an empty list'
    raise ValueError(
      f'A host classifier is made of a function of NumPy images, not of {what}.'
    )
  validation.check_whole('num_classes', num_classes)
  if isinstance(num_classes, bool) or num_classes < 1:
    raise ValueError(
      f'num_classes is the width of the logits, not {num_classes!r}.'
    )
  name = name or host_calls.name_of(functions[0])
  classes = int(num_classes)
  return HostClassifier(functions, classes, takes_sigma, name, identity)


def parts(tree: Any) -> list[HostClassifier]:
  """The host classifiers among networks, or within one."""
  is_host = lambda node: isinstance(node, HostClassifier)
  return [
    node for node in jax.tree.leaves(tree, is_leaf=is_host) if is_host(node)
  ]


def devices(classifier: Any) -> int:
  """Over how many devices a host classifier spreads a batch."""
  return classifier.devices if isinstance(classifier, HostClassifier) else 1


def check_concrete(tree: Any) -> None:
  """Raises ValueError where host classifiers would become part of a program."""
  if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree)):
    raise ValueError(
      'A host classifier is called by Python and cannot become part of a'
      ' program of JAX: certify with it outside of jax.jit, jax.vmap and'
      ' jax.grad, image by image, or many images with certify_images.'
    )
