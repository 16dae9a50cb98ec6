"""Writes the pages of a working directory."""

import datetime as dt
import functools
import logging
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dualrs_jax import folders as folders_lib
from dualrs_jax.data import Source
from dualrs_jax.evaluation import accuracy_table, certify_source, file_names
from dualrs_jax.evaluation.run_rows import Run, load_runs
from dualrs_jax.report import certification, comparison, page, pictures
from dualrs_jax.report import subject as subject_lib
from dualrs_jax.report.page import MissingLibrary
from dualrs_jax.report.subject import Subject
from dualrs_jax.runtime import files
from dualrs_jax.training import recorder

logger = logging.getLogger(__name__)

#: Name of the file of a page.
NAME = 'report.html'
_METRICS = 'metrics'
#: A page of a run under way is written this seldom, in seconds, and so that it
#: takes no more than one part in `_SHARE` of the time.
_INTERVAL = 30.0
_SHARE = 20


def write(
  workdir: str | os.PathLike,
  labels: Sequence[str] | None = None,
  *,
  radii: Sequence[float] = (),
  source: Source | None = None,
  class_names: Sequence[str] | None = None,
) -> list[pathlib.Path]:
  """Writes the page of certifications, and that of the run.

  Args:
    workdir: The working directory.
    labels: Certifications, by the names of their folders; None for all.
    radii: Where certified accuracy is told; empty for those that were decided,
      or round ones.
    source: The images; without them there are no pictures.
    class_names: One for each class; None for their numbers.

  Returns:
    The pages, that of the run last.

  Raises:
    ValueError: If there is no such certification, or it is damaged.
    MissingLibrary: If the package with the scripts is not installed.
  """
  page.library()
  workdir = folders_lib.expand(workdir)
  runs = load_runs(workdir, required=labels or ())
  absent = [name for name in labels or () if name not in runs]
  if absent or not runs:
    raise ValueError(
      f'{workdir} holds no rows of {(absent or ["any kind"])[0]!r}'
    )
  training = metrics(workdir)
  written = []
  for label in runs if labels is None else labels:
    subject = _subject(workdir, runs, label, radii, training, class_names)
    written.append(_write_one(workdir, subject, source))
  path = workdir / NAME
  trainings = {workdir.name: training}
  links = {
    label: f'{certify_source.FOLDER}/{label}/{NAME}'
    for label in runs
    if place(workdir, label).exists()
  }
  text = comparison.write(
    workdir.name, runs, trainings, radii=radii, links=links, written=_now()
  )
  files.write_atomic(path, text)
  return [*written, path]


def place(workdir: str | os.PathLike, label: str) -> pathlib.Path:
  """Where the page of a certification is."""
  return folders_lib.expand(workdir) / certify_source.FOLDER / label / NAME


def has_pictures(path: pathlib.Path) -> bool:
  """Whether there is a page, and it has pictures of images."""
  return path.exists() and b'"pictures":["data:' in path.read_bytes()


def told(workdir: str | os.PathLike, labels: Sequence[str], **options) -> str:
  """Writes pages as `write` does; returns where they are, or why not."""
  try:
    paths = write(workdir, labels, **options)
  except MissingLibrary as error:
    return str(error)
  return '\n'.join(f'report: {path}' for path in paths)


def compare(
  folders: Sequence[str | os.PathLike], radii: Sequence[float] = ()
) -> str:
  """The page that compares runs.

  Args:
    folders: Working directories, all of whose certifications are compared, or
      folders of certifications.
    radii: Where certified accuracy is told.

  Raises:
    ValueError: If a folder has no rows.
  """
  runs, trainings = {}, {}
  for folder in map(folders_lib.expand, folders):
    workdir, wanted = folder, None
    if (folder / certify_source.SETTINGS).exists() and (
      folder.parent.name == certify_source.FOLDER
    ):
      workdir, wanted = folder.parent.parent, folder.name
    found = load_runs(workdir, required=[wanted] if wanted else ())
    chosen = [wanted] if wanted else [*found]
    if not chosen or not set(chosen) <= set(found):
      raise ValueError(f'{folder} holds no rows')
    for label in chosen:
      name = f'{workdir.name}/{label}'
      if name in runs:
        name = f'{workdir}/{label}'
      runs[name] = found[label]._replace(label=name)
    trainings[str(workdir)] = metrics(workdir)
  return comparison.write(
    'Comparison of runs', runs, trainings, radii=radii, written=_now()
  )


def while_running(
  workdir: str | os.PathLike,
  *,
  radii: Sequence[Any] = (),
  load: Callable[[], Source | None] = lambda: None,
  class_names: Sequence[str] | None = None,
  clock: Callable[[], float] = time.monotonic,
) -> Callable[[pathlib.Path], None]:
  """Makes what writes the page of a certification under way, now and then.

  What goes wrong is logged, and ends nothing.

  Args:
    workdir: The working directory.
    radii: Where certified accuracy is told, see `write`.
    load: Makes the images, when the first page is written.
    class_names: One for each class.
    clock: Tells the time, in seconds.

  Returns:
    A function of the certification's folder, to call after each row.
  """
  workdir, due = folders_lib.expand(workdir), [0.0]
  load = functools.cache(load)

  def after_row(folder: pathlib.Path) -> None:
    begun = clock()
    if begun < due[0]:
      return
    try:
      page.library()
      runs = load_runs(workdir, required=[folder.name])
      if folder.name in runs:
        subject = _subject(
          workdir, runs, folder.name, radii, metrics(workdir), class_names
        )
        _write_one(workdir, subject, load())
    except (MissingLibrary, OSError, ValueError) as error:
      logger.warning('%s', error)
      due[0] = float('inf')
      return
    ended = clock()
    due[0] = ended + max(_INTERVAL, _SHARE * (ended - begun))

  return after_row


def metrics(workdir: pathlib.Path) -> list[dict[str, Any]]:
  """The metrics of the training in a working directory, if there was one."""
  return recorder.read(workdir / _METRICS / recorder.LINES)


def _subject(
  workdir: pathlib.Path,
  runs: Mapping[str, Run],
  label: str,
  radii: Sequence[float],
  training: Sequence[Mapping[str, Any]],
  class_names: Sequence[str] | None,
) -> Subject:
  run, folder = runs[label], place(workdir, label).parent
  singles = [
    other
    for other in runs.values()
    if accuracy_table.comparable(run, other)
    and run.settings['source'] == other.settings['source']
    and accuracy_table.is_part(run, other)
  ]
  return subject_lib.make(
    run,
    singles=sorted(singles, key=lambda other: other.settings['sigmas']),
    radii=radii,
    training=training,
    class_names=class_names,
    folder=str(folder),
    files=file_names.read(folder),
  )


def _write_one(
  workdir: pathlib.Path, subject: Subject, source: Source | None
) -> pathlib.Path:
  indices = [subject.rows[at].idx for at in certification.detailed(subject)]
  drawn = []
  if source is not None:
    drawn = pictures.draw(source, indices, subject.settings)
  path = place(workdir, subject.run.label)
  files.write_atomic(path, certification.write(subject, drawn, _now()))
  return path


def _now() -> str:
  return dt.datetime.now().astimezone().strftime('%Y-%m-%d %H:%M %Z')
