"""Where votes are computed: a mesh with the one axis over which they spread."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

#: Name of the mesh axis over which the votes on one image are spread.
VOTES = 'votes'


def votes_mesh(devices: Sequence[Any] | None = None) -> Mesh:
  """A mesh that spreads votes over devices.

  Args:
    devices: The devices; all local ones by default.

  Returns:
    A one-dimensional mesh with the axis `VOTES`. The counts do not depend on
    how many devices it has.
  """
  chosen = jax.local_devices() if devices is None else list(devices)
  return Mesh(np.array(chosen), (VOTES,), axis_types=(AxisType.Auto,))


def votes_devices(mesh: Mesh) -> int:
  """Over how many devices a mesh spreads votes.

  Raises:
    ValueError: If the mesh has no axis `VOTES`.
  """
  if VOTES not in mesh.shape:
    raise ValueError(
      f'Votes spread over a mesh axis {VOTES!r}, but this mesh has'
      f' {tuple(mesh.shape)}; use votes_mesh.'
    )
  return mesh.shape[VOTES]
