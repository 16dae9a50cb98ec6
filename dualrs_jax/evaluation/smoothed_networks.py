"""With what the votes of a run are cast: networks, noise and devices."""

import hashlib
import re
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from dualrs_jax import sharding
from dualrs_jax.base import Classifier


class SmoothedNetworks(NamedTuple):
  """With what votes are cast.

  Attributes:
    estimator: The variance estimator; None in plain smoothing.
    classifier: The base classifier, or one expert per level as a tuple.
    noise: The sampler of noisy images.
    chunk_size: Noisy copies per device and forward pass.
    mesh: The devices.
  """

  estimator: Any
  classifier: Any
  noise: Any
  chunk_size: int
  mesh: Mesh


def experts(classifier: Any) -> tuple[Any, ...]:
  """The classifiers of a run: one per level, or one for all."""
  several = isinstance(classifier, tuple) and not callable(classifier)
  return classifier if several else (classifier,)


def everywhere(networks: Any, mesh: Mesh) -> Any:
  """Networks on all devices of a mesh, what they share once on each."""
  leaves, structure = jax.tree.flatten(networks)
  shared = {id(leaf): leaf for leaf in leaves}
  placed = sharding.replicated(shared, mesh)
  return structure.unflatten([placed[id(leaf)] for leaf in leaves])


def here(smoothed: SmoothedNetworks) -> SmoothedNetworks:
  """The same on the devices of this process, for what it does by itself."""
  if not smoothed.mesh.is_multi_process:
    return smoothed
  mesh = sharding.votes_mesh(smoothed.mesh.local_devices)
  networks = smoothed.estimator, smoothed.classifier
  estimator, classifier = sharding.on_local_devices(networks, mesh)
  return smoothed._replace(
    estimator=estimator, classifier=classifier, mesh=mesh
  )


def fingerprint(network: Classifier | tuple[Classifier, ...]) -> str:
  """A text that changes with the weights of networks, and their constants.

  Of a host classifier it is what was said to stand for its weights.
  """
  leaves, structure = jax.tree.flatten(network)
  description = re.sub(' at 0x[0-9a-f]+', '', str(structure))  # of functions
  digest = hashlib.sha256(description.encode())
  for leaf in leaves:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    _add_array(digest, leaf)
  return digest.hexdigest()[:16]


def _add_array(digest: Any, values: Any) -> None:
  array = np.asarray(values)
  digest.update(f'{array.dtype}{array.shape}'.encode())
  digest.update(array.tobytes())
