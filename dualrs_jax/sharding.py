"""Where things are computed: meshes of devices, and what is placed on them.

Votes on images spread over the devices of a process, or of all; the batches of
a training over the devices of all processes.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

#: Name of the mesh axis over which the votes on one image are spread.
VOTES = 'votes'
#: Name of the mesh axis over which the rows of a batch are spread.
DATA = 'data'


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


def data_mesh(rows: int, devices: Sequence[Any] | None = None) -> Mesh:
  """A mesh that spreads so many rows evenly, over as many devices as it can.

  Args:
    rows: How many rows are computed at a time.
    devices: The devices; by default all of all processes.

  Returns:
    A one-dimensional mesh with the axis `DATA`: of each process the same
    number of devices, one process after the other.

  Raises:
    ValueError: If the rows do not divide over the processes.
  """
  chosen = jax.devices() if devices is None else list(devices)
  processes = sorted({device.process_index for device in chosen})
  if rows % len(processes):
    raise ValueError(
      f'{rows} rows at a time do not divide over {len(processes)} processes'
    )
  own = [
    [device for device in chosen if device.process_index == process]
    for process in processes
  ]
  share = rows // len(processes)
  most = min(len(each) for each in own)
  count = max(n for n in range(1, most + 1) if share % n == 0)
  used = [device for each in own for device in each[:count]]
  return Mesh(np.array(used), (DATA,), axis_types=(AxisType.Auto,))


def replicated(tree: Any, mesh: Mesh) -> Any:
  """Arrays that all processes have alike, on every device of a mesh.

  Args:
    tree: A pytree of arrays; typed keys among them.
    mesh: The devices.
  """
  everywhere = NamedSharding(mesh, PartitionSpec())
  if not mesh.is_multi_process:
    return jax.device_put(tree, everywhere)

  def place(leaf):
    if getattr(leaf, 'sharding', None) == everywhere:
      return leaf
    local = np.asarray(leaf)
    return jax.make_array_from_process_local_data(
      everywhere, local, local.shape
    )

  return jax.tree.map(lambda leaf: _on_data(place, leaf), tree)


def on_local_devices(tree: Any, mesh: Mesh) -> Any:
  """Replicated arrays, on a mesh of this process's own devices.

  What is on these devices already is not copied.
  """
  everywhere = NamedSharding(mesh, PartitionSpec())

  def place(leaf):
    shards = leaf.addressable_shards
    if {shard.device for shard in shards} != set(mesh.devices.flat):
      return jax.device_put(leaf.addressable_data(0), everywhere)
    return jax.make_array_from_single_device_arrays(
      leaf.shape, everywhere, [shard.data for shard in shards]
    )

  return jax.tree.map(lambda leaf: _on_data(place, leaf), tree)


def _on_data(place, leaf):
  """Applies `place` to an array, or to the numbers that a typed key is."""
  if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    return jax.random.wrap_key_data(place(jax.random.key_data(leaf)))
  return place(leaf)


def own_rows(rows: int, mesh: Mesh) -> slice:
  """Which rows of a batch over a `data_mesh` this process provides."""
  sharding = NamedSharding(mesh, PartitionSpec(DATA))
  spans = [
    index[0].indices(rows)
    for index in sharding.addressable_devices_indices_map((rows,)).values()
    if index is not None
  ]
  return slice(min(s[0] for s in spans), max(s[1] for s in spans))
