"""Rows to which votes are added.

Under open-ended bounds a run may be asked for more votes at any time. The row
of an image is then written again, with the votes that it had and those that
were added, behind the others: the last one of an image is what is known of it.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from dualrs_jax import decisions, plans
from dualrs_jax.base import AdaptiveCertificate
from dualrs_jax.evaluation import records, run_plans
from dualrs_jax.evaluation.records import Record
from dualrs_jax.runtime import shards


def last_rows(
  rows: Sequence[Record],
  settings: Mapping[str, Any],
  path: str | os.PathLike,
) -> list[Record]:
  """The last row of each image, in the order of the first ones.

  Args:
    rows: Those of a file, whose first line is the second of it.
    settings: Those of the run.
    path: The file, for what is said of it.

  Raises:
    CorruptShard: If an image has two rows, unless votes may be added in this
      run and the later row adds some.
  """
  last: dict[int, Record] = {}
  lines: dict[int, int] = {}
  for number, row in enumerate(rows, start=2):
    old = last.get(row.idx)
    if old is not None and not extends(row, old, settings):
      raise shards.CorruptShard(
        f'{path}, line {number}: image {row.idx} is already in line'
        f' {lines[row.idx]}'
      )
    last[row.idx], lines[row.idx] = row, number
  return list(last.values())


def extends(row: Record, old: Record, settings: Mapping[str, Any]) -> bool:
  """Whether a row has all votes of another one of its image, and more."""
  if not run_plans.is_open(settings) or row.label != old.label:
    return False
  chose = row.estimator_selection, row.classifier_selection
  if chose != (old.estimator_selection, old.classifier_selection):
    return False
  cast = row.estimator_cast, row.classifier_cast
  return cast != (old.estimator_cast, old.classifier_cast) and _grown(row, old)


def begun(
  rows: Mapping[int, Record], settings: Mapping[str, Any]
) -> dict[int, AdaptiveCertificate]:
  """Certificates of the rows that lack votes, by dataset index.

  Args:
    rows: The rows of a run by dataset index.
    settings: Those of the run, with the n that is asked for now.
  """
  if not run_plans.is_open(settings):
    return {}
  plan = run_plans.plan(settings)
  found = {}
  for idx, row in rows.items():
    votes = records.votes(row, settings)
    certificate = plans.certificate_of_counts(*votes[:4], plan)
    if not decisions.is_decided(plan, certificate):
      found[idx] = certificate
  return found


def without(
  files: Mapping[str, Sequence[Record]], begun: Mapping[int, Any]
) -> dict[str, list[Record]]:
  """The rows of files, but for those of images that lack votes."""
  return {
    name: [row for row in rows if row.idx not in begun]
    for name, rows in files.items()
  }


def _grown(row: Record, old: Record) -> bool:
  pairs = [
    (row.estimator_estimation, old.estimator_estimation),
    (row.estimator_cast, old.estimator_cast),
  ]
  for name in ('classifier_estimation', 'classifier_cast'):
    ours, theirs = getattr(row, name), getattr(old, name)
    pairs += [(ours.get(level, ()), votes) for level, votes in theirs.items()]
  return all(
    len(ours) >= len(theirs)
    and all(new >= before for new, before in zip(ours, theirs, strict=False))
    for ours, theirs in pairs
  )
