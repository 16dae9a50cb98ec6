"""Metrics of training: one JSON line per step, and TensorBoard event files."""

import json
import os
from collections.abc import Mapping
from typing import Any

from dualrs_jax import folders
from dualrs_jax.runtime import files
from dualrs_jax.training.events import Events

#: Name of the file of metrics, one JSON object a line.
LINES = 'metrics.jsonl'


class Recorder:
  """Writes the metrics of one stage at a time.

  The lines of `metrics.jsonl` are the record; the event files of a stage, in a
  folder of its name, are made from them. Whoever resumes a stage says from
  which step: what was recorded after it is dropped, in both, so that no step
  is there twice. A line that a crash cut short is dropped as well.
  """

  def __init__(
    self, directory: str | os.PathLike, stage: str, *, after_step: int
  ):
    """Opens the record of a stage.

    Args:
      directory: where `metrics.jsonl` is; created if it is missing.
      stage: name of the stage.
      after_step: the last step whose metrics are kept.
    """
    self._stage = stage
    directory = folders.expand(directory)
    path = directory / LINES
    rows = [
      row
      for row in read(path)
      if row['stage'] != stage or row['step'] <= after_step
    ]
    files.write_atomic(path, ''.join(map(_line, rows)))
    self._path, self._folder = path, directory / stage
    self._file = path.open('ab', buffering=0)
    self._folder.mkdir(exist_ok=True)
    for stale in self._folder.glob('events.*'):
      stale.unlink()
    self._events = Events(self._folder)
    for row in rows:
      if row['stage'] == stage:
        self._add_events(row)

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Records the metrics of a step; returns once the system has the line.

    Raises:
      OSError: it cannot be written; the error names the file.
    """
    row = {'stage': self._stage, 'step': step}
    row.update({name: float(value) for name, value in metrics.items()})
    rest = _line(row).encode()
    with files.naming(self._path):
      while rest:
        rest = rest[self._file.write(rest) :]
    self._add_events(row)
    self._events.flush()

  def close(self) -> None:
    """Completes the files."""
    self._file.close()
    self._events.close()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def _add_events(self, row: Mapping[str, Any]) -> None:
    named = {k: v for k, v in row.items() if k not in ('stage', 'step')}
    self._events.write(row['step'], named)


def read(path: str | os.PathLike) -> list[dict[str, Any]]:
  """The complete rows of a `metrics.jsonl`; none if there is no file.

  What is no row is left out: a line that a crash cut short, or damaged.
  """
  path = folders.expand(path)
  rows = []
  for line in path.read_bytes().splitlines() if path.exists() else ():
    try:
      row = json.loads(line)
    except (ValueError, RecursionError):  # also bytes that are no UTF-8
      continue
    if _is_row(row):
      rows.append(row)
  return rows


def _is_row(row: Any) -> bool:
  """Whether it is what `Recorder.write` writes: numbers, by name."""
  if not isinstance(row, dict) or not isinstance(row.get('stage'), str):
    return False
  step = row.get('step')
  return isinstance(step, int) and all(
    isinstance(value, int | float) and not isinstance(value, bool)
    for name, value in row.items()
    if name != 'stage'
  )


def _line(row: Mapping[str, Any]) -> str:
  return json.dumps(row) + '\n'
