"""A few votes on images, from which certificates are forecast."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from dualrs_jax import data, voting


def spread(source: data.Source, most: int) -> data.Source:
  """Images at equal distances."""
  number = min(most, len(source))
  return source.take(np.arange(number) * len(source) // number)


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

  Returns:
    Votes by class, integers [images, classes].
  """
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
        chunk_size=min(chunk_size, votes),
      ).estimation
    )
    done()
  return np.stack(found)
