"""Reading checkpoints: the newest that is not damaged, and nothing else."""

import errno
import itertools
import json
import logging
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from dualrs_jax.checkpoints import description, quiet
from dualrs_jax.checkpoints.description import (
  DESCRIPTION,
  MODEL,
  CheckpointError,
  absolute,
  check_architecture,
  describe,
  model_state,
  steps,
)
from dualrs_jax.runtime import processes

logger = logging.getLogger(__name__)

Module = TypeVar('Module', bound=nnx.Module)


#: What the system says of a file that was saved and is gone, or on a bad part
#: of the disk. Its other errors say nothing of what is there.
_DAMAGE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO}


class _Damaged(Exception):
  """What is on disk is not what was saved."""


def restore(
  directory: str | os.PathLike, template: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], int] | None:
  """Returns the newest checkpoint that can be read, to go on from there.

  A damaged checkpoint is reported in a warning, renamed to 'damaged-<step>',
  and the one before it is taken. The arrays are on the first local device.

  Args:
    directory: where the checkpoints are.
    template: pytrees by name, with the structure, shapes and dtypes that were
      saved; the values do not matter.

  Returns:
    The pytrees, the meta data and the step; None if there is no checkpoint.

  Raises:
    CheckpointError: the checkpoint is of another architecture, or processes
      of one run see different checkpoints.
  """
  place = processes.here()
  found = None
  if place.first:
    found = _newest(directory, template, steps(directory))
  # The first process decides: only it may rename, and all go on from one step.
  chosen = int(processes.agreed(np.array(found[2] if found else -1)))
  if place.first or chosen < 0:
    return found
  path = absolute(directory) / str(chosen)
  damages = []

  def read():
    try:
      return *_read(path, template), chosen
    except _Damaged as damage:
      damages.append(damage)
      return None

  found = processes.await_shown(read, path)
  if found is None:
    raise CheckpointError(
      f'process {place.index} cannot read checkpoint {path}, which process 0'
      f' can: the folder must be the same one for all ({damages[-1]})'
    )
  return found


def _newest(
  directory: str | os.PathLike,
  template: Mapping[str, Any],
  candidates: Iterable[int],
) -> tuple[dict[str, Any], dict[str, Any], int] | None:
  """Reads the first of the steps that is not damaged; renames those before.

  Where all are damaged none is renamed, and CheckpointError is raised.
  """
  damages: list[tuple[pathlib.Path, _Damaged]] = []
  for step in candidates:
    path = absolute(directory) / str(step)
    try:
      state, meta = _read(path, template)
    except _Damaged as damage:
      damages.append((path, damage))
      continue
    for other, damage in damages:
      aside = _free_name(other.with_name(f'damaged-{other.name}'))
      logger.warning(
        'checkpoint %s is damaged (%s); renamed to %s, going on from the one'
        ' before it',
        other,
        damage,
        aside.name,
      )
      os.replace(other, aside)
    return state, meta, step
  if damages:
    raise CheckpointError(
      f'every checkpoint in {absolute(directory)} is damaged (the newest:'
      f' {damages[0][1]}); remove the folder to begin its training anew'
    )
  return None


def _free_name(path: pathlib.Path) -> pathlib.Path:
  """The path, or with the first number behind it that is not taken."""
  names = (path.with_name(f'{path.name}.{n}') for n in itertools.count(1))
  return next(p for p in itertools.chain([path], names) if not p.exists())


def load_model(directory: str | os.PathLike, model: Module) -> Module:
  """Returns the model with the weights of the newest checkpoint.

  Args:
    directory: where the checkpoints are. Nothing in it is changed.
    model: a model of the architecture that was saved; it stays as it is.

  Raises:
    CheckpointError: there is no checkpoint, the newest one is damaged, it is
      of another architecture, or its `meta` names more `steps` than it has.
  """
  found = steps(directory)
  if not found:
    raise CheckpointError(f'there is no checkpoint in {directory}')
  path = absolute(directory) / str(found[0])
  try:
    state, meta = _read(path, {MODEL: model_state(model)})
  except _Damaged as damage:
    raise CheckpointError(f'checkpoint {path} is damaged: {damage}') from None
  if found[0] < meta.get('steps', 0):
    raise CheckpointError(
      f'{directory} is at step {found[0]} of {meta["steps"]}: its training has'
      ' not ended'
    )
  return nnx.merge(nnx.graphdef(model), *state[MODEL].values())


def newest_meta(directory: str | os.PathLike) -> dict[str, Any] | None:
  """What was said of the newest checkpoint; None if it cannot be read.

  Its arrays are not looked at.
  """
  meta = _newest_description(directory).get('meta')
  return meta if isinstance(meta, dict) else None


def newest_arrays(directory: str | os.PathLike) -> dict[str, str]:
  """Dtype, shape and checksum of the weights of the newest checkpoint.

  As its description has them; see `load_model`, which compares. Empty if it
  cannot be read.
  """
  arrays = _newest_description(directory).get('arrays')
  found = arrays.get(MODEL) if isinstance(arrays, dict) else None
  return found if isinstance(found, dict) else {}


def _newest_description(directory: str | os.PathLike) -> dict[str, Any]:
  found = steps(directory)
  if not found:
    return {}
  path = absolute(directory) / str(found[0]) / DESCRIPTION / 'metadata'
  try:
    described = json.loads(path.read_text())
  except (OSError, ValueError):
    return {}
  return described if isinstance(described, dict) else {}


def is_finished(directory: str | os.PathLike) -> bool:
  """Whether the newest checkpoint has all `steps` that its `meta` names."""
  meta = newest_meta(directory)
  try:
    return meta is not None and steps(directory)[0] >= meta['steps']
  except (LookupError, TypeError):
    return False


def _read(
  path: pathlib.Path, template: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Reads one checkpoint and verifies every array of it."""
  try:
    text = (path / DESCRIPTION / 'metadata').read_text()
    described = json.loads(text)
    saved, meta = described['arrays'], described['meta']
    saved = {name: saved[name] for name in template}
  except (OSError, ValueError, LookupError, TypeError) as error:
    _raise_if_no_damage(error, path)
    raise _Damaged(f'no readable description: {type(error).__name__}') from None
  for name, tree in template.items():
    check_architecture(path, saved[name], describe(tree, checksum=False))
  targets = jax.tree.map(_target, dict(template))
  args = {name: ocp.args.StandardRestore(t) for name, t in targets.items()}
  with quiet.reading():
    try:
      handler = ocp.CompositeCheckpointHandler()
      with ocp.Checkpointer(
        handler, multiprocessing_options=_alone()
      ) as reader:
        restored = reader.restore(path, ocp.args.Composite(**args))
    except Exception as error:  # Orbax raises the base class, among others
      _raise_if_no_damage(error, path)
      reason = type(error).__name__
      restored = None
    else:
      reason = ''
  if restored is None:
    raise _Damaged(f'{reason} while reading its arrays')
  state = {name: restored[name] for name in template}
  for name, tree in state.items():
    for array, text in describe(tree).items():
      if saved[name][array] != text:
        raise _Damaged(f'the checksum of {name}.{array} is wrong')
  return state, meta


def _raise_if_no_damage(error: Exception, path: pathlib.Path) -> None:
  """Raises what says nothing of the disk: no memory, no rights, no server."""
  links: list[BaseException] = [error]
  while following := links[-1].__cause__ or links[-1].__context__:
    links.append(following)
  for link in links:
    number = description.system_error(link)
    if number is not None and number not in _DAMAGE:
      raise OSError(number, os.strerror(number), str(path)) from None
    if isinstance(link, MemoryError | jax.errors.JaxRuntimeError):
      raise error


def _target(leaf: Any) -> Any:
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device)


def _alone() -> ocp.options.MultiprocessingOptions:
  """Reading waits for no other process, which may read nothing, or be dead."""
  index = jax.process_index()  # Orbax counts the processes of the devices
  return ocp.options.MultiprocessingOptions(
    primary_host=index,
    active_processes={index},
    barrier_sync_key_prefix=f'process_{index}',
  )
