"""What certifications have left in a working directory: settings and rows."""

import logging
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dualrs_jax import folders
from dualrs_jax.evaluation import certify_source, marks, workers
from dualrs_jax.evaluation.records import Record

logger = logging.getLogger(__name__)


class Run(NamedTuple):
  """The rows of one certification.

  Attributes:
    label: Its name.
    settings: What its settings file records.
    rows: Its rows, in the order of the dataset index.
  """

  label: str
  settings: Mapping[str, Any]
  rows: Sequence[Record]


def load_runs(
  workdir: str | os.PathLike, required: Sequence[str] = ()
) -> dict[str, Run]:
  """Reads all certifications of a working directory, by label.

  Each has the rows of the images that were asked for last. Those without such
  a row are left out, and so are damaged ones, with a warning.

  Args:
    workdir: The working directory.
    required: Labels of those that must not be damaged.

  Raises:
    CorruptShard: If a required file of rows is damaged before its last line.
    ValueError: If a required settings file is damaged.
  """
  runs = {}
  parent = folders.expand(workdir) / certify_source.FOLDER
  for folder in sorted(parent.glob('*/')):
    if not [*folder.glob('rows*.tsv')]:
      continue
    try:
      run = _load_run(folder)
    except (OSError, ValueError) as error:
      if folder.name in required:
        raise
      logger.warning('%s is left out: %s', folder, error)
    else:
      if run.rows:
        runs[folder.name] = run
  return runs


def _load_run(folder: pathlib.Path) -> Run:
  recorded = marks.read(folder)
  asked = marks.asked(folder, recorded)
  # Those of all processes: one of them may still have its file.
  rows = workers.together(workers.read(folder, recorded), recorded)
  chosen = [rows[idx] for idx in sorted(rows) if idx in asked]
  return Run(folder.name, recorded, chosen)
