"""Saving checkpoints in the background, by all processes of a run together."""

import contextlib
import logging
import os
import pathlib
import shutil
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import orbax.checkpoint as ocp
from orbax.checkpoint import future

from dualrs_jax.checkpoints import description, quiet
from dualrs_jax.runtime import processes

#: In the names of what is not, or no longer, a checkpoint.
_UNFINISHED = '*.orbax-checkpoint-tmp*'
_REMOVED = '.removed'


#: Where a directory cannot be made, what is to be written into it would be
#: waited for, for minutes, before that is told.
_ASYNC = ocp.options.AsyncOptions(create_directories_asynchronously=False)

logger = logging.getLogger(__name__)


class _Handler(ocp.CompositeCheckpointHandler):
  """Remembers what is being written, which Orbax forgets once a save fails.

  The rest of a failed save goes on in its own threads and would write between
  the files of the next saver of the directory.
  """

  def __init__(self):
    options = ocp.CompositeOptions(async_options=_ASYNC)
    super().__init__(composite_options=options)
    self._commits: list[future.Future] = []

  async def async_save(self, directory, args) -> list[future.Future]:
    self._commits = await super().async_save(directory, args) or []
    return self._commits

  def settle(self) -> None:
    """Waits until nothing is written any more."""
    for commit in self._commits:
      with contextlib.suppress(Exception):  # `check` has reported it
        commit.result()


@ocp.args.register_with_handler(_Handler, for_save=True, for_restore=True)
class _Items(ocp.args.Composite):
  """What is saved, by name; Orbax wants a class of its own for each handler."""


class Saver:
  """Saves the checkpoints of one directory; to be used in a `with`.

  A save that is interrupted leaves nothing that looks like a checkpoint. One
  that fails, because the disk is full, say, is reported by the next `check` in
  the process where it failed, whose end ends the others. Processes that do not
  check would wait for each other for a long time.

  Leaving the `with` waits for the last save.
  """

  def __init__(self, directory: str | os.PathLike, *, keep: int):
    """Opens a directory.

    Args:
      directory: where the checkpoints are; created if it is missing.
      keep: how many of the newest checkpoints stay; one more while the next
        one is written.

    Raises:
      OSError: the directory cannot be written to.
    """
    self._directory = description.absolute(directory)
    self._keep = keep
    self._first = processes.here().first
    if self._first:
      self._directory.mkdir(parents=True, exist_ok=True)
      for pattern in (_UNFINISHED, f'*{_REMOVED}'):
        for path in self._directory.glob(pattern):
          shutil.rmtree(path)
    self._newest = max(description.steps(self._directory), default=-1)
    self._saving: pathlib.Path | None = None
    self._handler = _Handler()
    self._writer = ocp.AsyncCheckpointer(self._handler, async_options=_ASYNC)
    quiet.saving()

  def save(
    self, step: int, state: Mapping[str, Any], meta: Mapping[str, Any]
  ) -> None:
    """Saves a checkpoint in the background, once the one before is saved.

    Args:
      step: number of the checkpoint, larger than any that was saved before.
      state: pytrees of arrays by name. `load_model` reads the one that is named
        'model', of the form `model_state(model)`.
      meta: anything that JSON can express.

    Raises:
      CheckpointError: there is a newer one, or the one before was not saved.
    """
    self.check()
    if step <= self._newest:
      raise description.CheckpointError(
        f'{self._directory} holds a step newer than {step}'
      )
    described = {}
    if self._first:  # no other process writes it
      arrays = {name: description.describe(t) for name, t in state.items()}
      described = {'meta': dict(meta), 'arrays': arrays}
    items: dict[str, Any] = {
      name: ocp.args.StandardSave(tree) for name, tree in state.items()
    }
    items[description.DESCRIPTION] = ocp.args.JsonSave(described)
    self._wait()
    path = self._directory / str(step)
    try:
      self._writer.save(path, args=_Items(**items))
    except (OSError, ValueError) as error:
      raise self._failure(path, error) from error
    self._newest, self._saving = step, path

  def check(self) -> None:
    """Raises CheckpointError if a save has failed; asked once a step."""
    try:
      self._writer.check_for_errors()
    except Exception as error:  # Orbax raises what its threads raised
      raise self._failure(self._saving, error) from error
    if self._saving is not None and self._first and self._saving.is_dir():
      self._saving = None
      self._remove_old()

  def close(self) -> None:
    """Waits for the last save, or for all that is left of one that has failed.

    Raises:
      CheckpointError: it has failed.
    """
    try:
      self._wait()
    finally:
      self._handler.settle()
      self._writer.close()

  def _wait(self) -> None:
    try:
      self._writer.wait_until_finished()
    except Exception as error:
      raise self._failure(self._saving, error) from error
    self.check()

  def _remove_old(self) -> None:
    for step in description.steps(self._directory)[self._keep :]:
      path = self._directory / str(step)
      removed = path.with_name(path.name + _REMOVED)
      path.rename(removed)  # half of it must not look like a checkpoint
      shutil.rmtree(removed)

  def _failure(
    self, path: pathlib.Path | None, error: Exception
  ) -> description.CheckpointError:
    number = description.system_error(error)
    text = ' '.join(f'{error}'.split()) or type(error).__name__
    reason = os.strerror(number) if number else text
    return description.CheckpointError(
      f'checkpoint {path} could not be written: {reason}'
    )

  def __enter__(self) -> 'Saver':
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
  ) -> None:
    if error is None:
      self.close()
    elif processes.here().count == 1:
      try:
        self.close()
      except description.CheckpointError as second:
        logger.warning('%s', second)
    # Of several processes, the others may not be there to save with.
