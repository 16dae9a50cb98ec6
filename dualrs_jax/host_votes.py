"""Votes of host classifiers: drawn by a device, cast by Python."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dualrs_jax import host
from dualrs_jax import noise as noise_lib
from dualrs_jax.base import Counts

#: Draws the copies of votes, by their splits and numbers: [votes, *image], and
#: whether each is finite, [votes].
Draw = Callable[
  [Int[np.ndarray, ' votes'], Int[np.ndarray, ' votes']],
  tuple[Float[Array, 'votes *image'], Bool[Array, ' votes']],
]


def cast(
  classifier: Any,
  copies: Float[Array | np.ndarray, 'batch *image'],
  finite: Bool[Array | np.ndarray, ' batch'],
  sigma: Float[np.ndarray, ' batch'],
  classes: int,
) -> Int[np.ndarray, ' batch']:
  """The class that each copy votes for, or `classes` where it has none.

  Args:
    classifier: A host classifier, or one that holds one.
    copies: Noisy images.
    finite: Which of them have finite pixels alone; others cast no vote.
    sigma: Their noise levels.
    classes: The width of the logits.
  """
  if isinstance(classifier, host.HostClassifier):
    logits = classifier.spread(copies, sigma)
  else:
    logits = np.asarray(classifier(jnp.asarray(copies), jnp.asarray(sigma)))
  if logits.shape != (len(sigma), classes):
    raise ValueError(
      f'A classifier of {classes} classes returned {logits.shape} logits for'
      f' {len(sigma)} images.'
    )
  valid = np.asarray(finite) & ~np.isnan(logits).any(axis=1)
  return np.where(valid, np.argmax(logits, axis=1), classes)


def count(
  classifier: Any,
  draw: Draw,
  sigma: Float[np.ndarray, ''],
  classes: int,
  *,
  n0: int,
  n: int,
  chunk_size: int,
) -> Counts:
  """Counts votes on one image; see `voting.count_votes`.

  Each call has `chunk_size` copies. The copies of the next one are drawn while
  the classifier looks at those of the last.

  Args:
    classifier: A host classifier, or one that holds one.
    draw: Draws copies of the image.
    sigma: The noise level.
    classes: The width of the logits.
    n0: Number of selection votes.
    n: Number of estimation votes.
    chunk_size: Copies per device and call.
  """
  step, total = chunk_size * host.devices(classifier), n0 + n
  levels = np.full(step, sigma, np.float32)
  tally = np.zeros((2, classes), np.int64)

  def drawn(first):
    votes = first + np.arange(step, dtype=np.int32)
    selects = votes < n0
    splits = np.where(selects, noise_lib.SELECTION, noise_lib.ESTIMATION)
    ahead = draw(splits.astype(np.int32), np.where(selects, votes, votes - n0))
    for array in ahead:
      array.copy_to_host_async()
    return ahead

  ahead = drawn(0)
  for first in range(0, total, step):
    copies, finite = ahead
    if first + step < total:
      ahead = drawn(first + step)
    winners = cast(classifier, np.asarray(copies), finite, levels, classes)
    votes = first + np.arange(step)
    for split, counted in enumerate(
      (votes < n0, (votes >= n0) & (votes < total))
    ):
      found = np.bincount(winners[counted], minlength=classes + 1)
      tally[split] += found[:classes]
  return Counts(*jax.device_put(tally.astype(np.int32)))
