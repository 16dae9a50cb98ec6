"""Event files for TensorBoard, where the package that writes them is there."""

import logging
import pathlib
import socket
import time
from collections.abc import Mapping
from typing import Any

from dualrs_jax.runtime import files

logger = logging.getLogger(__name__)


class Events:
  """The event file of one stage; nothing, without the package tensorboardX."""

  def __init__(self, folder: pathlib.Path):
    """Opens a new file in a folder."""
    self._folder = folder
    self._writer = None
    try:
      from tensorboardX import summary
      from tensorboardX.proto import event_pb2
      from tensorboardX.record_writer import RecordWriter
    except ImportError:
      logger.warning(
        'no event files for TensorBoard are written: they need the package'
        ' tensorboardX, which pip installs; metrics.jsonl has the same numbers'
      )
      return
    self._scalar, self._kind = summary.scalar, event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue]
    # Not SummaryWriter: where its thread cannot write, its queue blocks for
    # ever.
    name = f'events.out.tfevents.{int(time.time())}.{socket.gethostname()}'
    self._writer = RecordWriter(str(folder / name))
    self._add(file_version='brain.Event:2')

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Adds the metrics of a step.

    Raises:
      OSError: it cannot be written; the error names the folder.
    """
    if self._writer is not None:
      for name, value in metrics.items():
        self._add(step=step, summary=self._scalar(name, value))

  def flush(self) -> None:
    """Returns once the system has what was written."""
    if self._writer is not None:
      with files.naming(self._folder):
        self._writer.flush()

  def close(self) -> None:
    """Completes the file."""
    if self._writer is not None:
      with files.naming(self._folder):
        self._writer.close()

  def _add(self, **fields: Any) -> None:
    assert self._writer is not None
    event = self._kind(wall_time=time.time(), **fields)
    with files.naming(self._folder):
      self._writer.write(event.SerializeToString())
