"""A few votes on images, from which certificates are forecast."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from dualrs_jax import data, host, noise, sharding, voting
from dualrs_jax.evaluation import memory
from dualrs_jax.evaluation.smoothed_networks import SmoothedNetworks


def spread(source: data.Source, most: int) -> data.Source:
  """Images at equal distances."""
  number = min(most, len(source))
  return source.take(np.arange(number) * len(source) // number)


def choose_chunk_size(
  estimator: Any,
  classifier: Any,
  source: data.Source,
  settings: Mapping[str, Any],
  votes: int,
) -> int:
  """The noisy copies that one device has the memory for, of both networks."""
  mesh = sharding.votes_mesh(jax.local_devices()[:1])
  smoothed = SmoothedNetworks(estimator, classifier, noise.gaussian, 1, mesh)
  [image] = source.gather(np.array([0]))[0]
  return memory.choose_chunk_size(
    smoothed,
    np.asarray(data.to_unit(image)),
    {**settings, 'goal': None, 'n0': 1, 'n': votes},
  )


def count(
  network: Any,
  source: data.Source,
  sigma: float,
  votes: int,
  *,
  chunk_size: int,
  done: Callable[[], object] = lambda: None,
) -> Int[np.ndarray, 'images classes']:
  """Casts the votes of a network at one level on each of some images.

  Args:
    network: The estimator, or a classifier.
    source: The images.
    sigma: The noise level, in pixel units; the noise is gaussian.
    votes: How many on each image.
    chunk_size: Noisy copies per forward pass, at most.
    done: Is called after each image.

  Returns:
    Valid votes by class.
  """
  hosted = bool(host.parts(network))
  key, found = jax.random.key(1), []
  for position, index in enumerate(source.indices):
    [image] = source.gather(np.array([position]))[0]
    found.append(
      voting.count_votes(
        network,
        image=data.to_unit(jnp.asarray(image)),
        key=jax.random.fold_in(key, index),
        sigma=sigma,
        n0=0,
        n=votes,
        chunk_size=chunk_size if hosted else min(chunk_size, votes),
      ).estimation
    )
    done()
  return np.stack(found)
