"""Checkpoints of models and of the training around them, on Orbax.

A checkpoint is a set of named pytrees ('model', 'optimizer', ...) and a JSON
description. The description holds the shape and a checksum of every array: a
flipped bit on disk, which the storage layer reads back without complaint, is
found, and a checkpoint of another architecture is told from a broken one.

In a run of several processes all of them save and restore together, in a
folder that all of them see; the arrays are the same everywhere (replicated).
What is written does not depend on the number of processes or devices.
"""

import contextlib
import gc
import json
import logging
import os
import pathlib
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from jax.experimental import multihost_utils

logger = logging.getLogger(__name__)

Module = TypeVar('Module', bound=nnx.Module)

#: The item that holds the weights; `load_model` reads no other.
MODEL = 'model'
_DESCRIPTION = 'description'


class CheckpointError(Exception):
  """A checkpoint is missing, damaged, or of another architecture."""


class _Damaged(Exception):
  """What is on disk is not what was saved."""


def manager(
  directory: str | os.PathLike, *, keep: int
) -> ocp.CheckpointManager:
  """Opens a directory for saving, in the background; use it in a `with`.

  Args:
    directory: where the checkpoints are; created if it is missing.
    keep: how many of the newest checkpoints stay.

  Returns:
    A manager for `save`. Leaving its `with` waits for the last save. A save
    that was interrupted leaves nothing that looks like a checkpoint.
  """
  options = ocp.CheckpointManagerOptions(
    max_to_keep=keep, cleanup_tmp_directories=True
  )
  return ocp.CheckpointManager(_absolute(directory), options=options)


def save(
  mgr: ocp.CheckpointManager,
  step: int,
  state: Mapping[str, Any],
  meta: Mapping[str, Any],
) -> None:
  """Saves a checkpoint in the background.

  Args:
    mgr: from `manager`.
    step: number of the checkpoint, larger than any that was saved before.
    state: pytrees of arrays by name. `load_model` reads the one that is named
      'model', of the form `model_state(model)`.
    meta: anything that JSON can express.
  """
  description = {}
  if jax.process_index() == 0:  # no other process writes it
    described = {name: _describe(tree) for name, tree in state.items()}
    description = {'meta': dict(meta), 'arrays': described}
  items: dict[str, Any] = {
    name: ocp.args.StandardSave(tree) for name, tree in state.items()
  }
  items[_DESCRIPTION] = ocp.args.JsonSave(description)
  if not mgr.save(step, args=ocp.args.Composite(**items)):
    raise CheckpointError(f'{mgr.directory} holds a step newer than {step}')


def steps(directory: str | os.PathLike) -> list[int]:
  """The steps of the complete checkpoints in a directory, newest first."""
  path = _absolute(directory)
  if not path.is_dir():
    return []
  found = (int(p.name) for p in path.iterdir() if p.name.isdecimal())
  return sorted(found, reverse=True)


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
  found = None
  if jax.process_index() == 0:
    found = _newest(directory, template, steps(directory))
  if jax.process_count() == 1:
    return found
  # The first process decides: only it may rename, and all go on from one step.
  chosen = int(
    multihost_utils.broadcast_one_to_all(np.int32(found[2] if found else -1))
  )
  if found is None and chosen >= 0:
    path = _absolute(directory) / str(chosen)
    try:
      found = *_read(path, template), chosen
    except _Damaged as damage:
      raise CheckpointError(
        f'process {jax.process_index()} cannot read checkpoint {path}, which'
        f' process 0 can: the folder must be the same one for all ({damage})'
      ) from None
  return found


def _newest(
  directory: str | os.PathLike,
  template: Mapping[str, Any],
  candidates: Iterable[int],
) -> tuple[dict[str, Any], dict[str, Any], int] | None:
  """Reads the first of the steps that is not damaged; renames those before."""
  for step in candidates:
    path = _absolute(directory) / str(step)
    try:
      state, meta = _read(path, template)
    except _Damaged as damage:
      aside = path.with_name(f'damaged-{step}')
      logger.warning(
        'checkpoint %s is damaged (%s); renamed to %s, going on from the one'
        ' before it',
        path,
        damage,
        aside.name,
      )
      os.replace(path, aside)
    else:
      return state, meta, step
  return None


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
  path = _absolute(directory) / str(found[0])
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


def model_state(model: nnx.Module) -> dict[str, Any]:
  """The arrays of a model, as the item 'model' of a checkpoint holds them."""
  _, parameters, rest = nnx.split(model, nnx.Param, ...)
  return {'parameters': parameters, 'rest': rest}


def _read(
  path: pathlib.Path, template: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Reads one checkpoint and verifies every array of it."""
  try:
    description = json.loads((path / _DESCRIPTION / 'metadata').read_text())
    saved, meta = description['arrays'], description['meta']
    saved = {name: saved[name] for name in template}
  except (OSError, ValueError, LookupError, TypeError) as error:
    raise _Damaged(f'no readable description: {type(error).__name__}') from None
  for name, tree in template.items():
    _check_architecture(path, saved[name], _describe(tree, checksum=False))
  targets = jax.tree.map(_target, dict(template))
  args = {name: ocp.args.StandardRestore(t) for name, t in targets.items()}
  with _without_storage_noise():
    try:
      handler = ocp.CompositeCheckpointHandler()
      with ocp.Checkpointer(
        handler, multiprocessing_options=_alone()
      ) as reader:
        restored = reader.restore(path, ocp.args.Composite(**args))
    except Exception as error:  # Orbax raises the base class, among others
      reason = type(error).__name__
      restored = None
    else:
      reason = ''
  if restored is None:
    raise _Damaged(f'{reason} while reading its arrays')
  state = {name: restored[name] for name in template}
  for name, tree in state.items():
    for array, text in _describe(tree).items():
      if saved[name][array] != text:
        raise _Damaged(f'the checksum of {name}.{array} is wrong')
  return state, meta


def _check_architecture(
  path: pathlib.Path, saved: Mapping[str, str], wanted: Mapping[str, str]
) -> None:
  for array in [*wanted, *(name for name in saved if name not in wanted)]:
    there = saved.get(array, 'missing').split(' ')[0]
    here = wanted.get(array, 'missing')
    if there != here:
      raise CheckpointError(
        f'checkpoint {path} is of another architecture: {array} is {there}'
        f' there and {here} here'
      )


def _describe(tree: Any, *, checksum: bool = True) -> dict[str, str]:
  """Dtype, shape and checksum of each array, by its path in the tree."""
  described = {}
  for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
    text = f'{leaf.dtype}[{",".join(map(str, leaf.shape))}]'
    if checksum:
      if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
      text += f' {zlib.crc32(np.asarray(leaf).tobytes()):08x}'
    described[jax.tree_util.keystr(path, simple=True, separator='.')] = text
  return described


def _target(leaf: Any) -> Any:
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device)


def _alone() -> ocp.options.MultiprocessingOptions:
  """Reading waits for no other process, which may read nothing, or be dead."""
  index = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=index,
    active_processes={index},
    barrier_sync_key_prefix=f'process_{index}',
  )


@contextlib.contextmanager
def _without_storage_noise() -> Iterator[None]:
  """Drops the pages that abandoned read tasks print when one of them fails."""
  hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
  level = logging.getLogger('absl').level
  logging.getLogger('absl').setLevel(logging.CRITICAL)
  try:
    yield
    gc.collect()
  finally:
    sys.unraisablehook = hook
    logging.getLogger('absl').setLevel(level)


def _absolute(directory: str | os.PathLike) -> pathlib.Path:
  return pathlib.Path(directory).absolute()
