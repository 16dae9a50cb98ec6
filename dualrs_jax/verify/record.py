"""A page that may be published beside a paper, as JSON."""

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy

from dualrs_jax.verify import bounds, guarantee
from dualrs_jax.verify.claims import ABSTAIN
from dualrs_jax.verify.errors import Unverifiable

#: What the record of a verification says of its own form.
FORMAT = 'dualrs_jax verification, version 1'

#: Where certified accuracy is stated, unless the run asked for radii.
_EVERY = 0.25
_MOST = 16

#: Of the settings, by the part of the record that has them.
_PARTS = {
  'data': (
    *('data', 'split', 'provenance', 'source', 'num_classes'),
    'class_names',
  ),
  'networks': ('weights', 'model', 'sources', 'stages', 'expert', 'experts'),
  'method': (
    *('task', 'smoothing', 'certificate', 'sigmas', 'estimator_sigma'),
    *('distance', 'training', 'pixels', 'protocol', 'goal', 'tolerance'),
    *('radii', 'n0', 'n', 'alpha', 'noise', 'noise_alpha', 'seed'),
  ),
  'environment': (
    *('versions', 'git_revision', 'platform', 'device_kind', 'dtype'),
    *('matmul_precision', 'threefry_partitionable', 'chunk_size'),
  ),
}


def asked(settings: Mapping[str, Any]) -> list[int]:
  """The images that were asked for last; none if that is not recorded.

  Raises:
    Unverifiable: If it is no list of images.
  """
  text = settings.get('asked', '')
  try:
    return list(map(int, text.split()))
  except (AttributeError, ValueError):
    raise Unverifiable(
      f'the settings have asked = {text!r}, which should be the numbers of the'
      ' images with spaces between them'
    ) from None


def of_counted(
  rows: Sequence[Any],
  identity: Mapping[str, str],
  notes: Sequence[str],
  settings: Mapping[str, Any],
  missing: Sequence[int],
  radii: Sequence[float] | None,
) -> dict[str, Any]:
  """The record of rows that were computed again.

  Args:
    rows: Those of the images that were asked for.
    identity: Of their file.
    notes: What was checked.
    settings: Of the run.
    missing: Images that were asked for and have no row.
    radii: Where certified accuracy is stated.
  """
  if settings['task'] == 'predict':
    radii = []
  elif radii is None:
    radii = settings['radii'] or _usual(rows)
  parts = {
    part: {name: settings[name] for name in names if name in settings}
    for part, names in _PARTS.items()
  }
  return {
    **_head(identity, notes),
    **parts,
    'guarantee': guarantee.of(settings),
    'missing_images': len(missing),
    **_figures(rows, radii or []),
  }


def of_stated(
  rows: Sequence[Any],
  identity: Mapping[str, str],
  notes: Sequence[str],
  votes: Any,
  radii: Sequence[float] | None,
) -> dict[str, Any]:
  """The record of rows whose radii were taken as they are."""
  return {
    **_head(identity, notes),
    'method': None if votes is None else votes._asdict(),
    'guarantee': 'none is stated: the radii do not follow from the file',
    **_figures(rows, _usual(rows) if radii is None else radii),
  }


def _head(identity, notes) -> dict[str, Any]:
  return {
    'format': FORMAT,
    'rows': dict(identity),
    'verified_with': {
      'python': platform.python_version(),
      'numpy': np.__version__,
      'scipy': scipy.__version__,
    },
    'notes': list(notes),
  }


def _usual(rows: Sequence[Any]) -> list[float]:
  largest = max((row.radius_full for row in rows), default=0.0)
  return [
    _EVERY * k for k in range(_MOST) if k == 0 or _EVERY * (k - 1) < largest
  ]


def _figures(rows: Sequence[Any], radii: Sequence[float]) -> dict[str, Any]:
  right = [row for row in rows if row.predict == row.label]
  return {
    'images': len(rows),
    'abstentions': sum(row.predict == ABSTAIN for row in rows),
    'accuracy': _share(len(right), len(rows)),
    'certified_accuracy': [
      {'radius': float(radius)}
      | _share(sum(row.radius_full >= radius for row in right), len(rows))
      for radius in radii
    ],
  }


def _share(hits: int, rows: int) -> dict[str, Any]:
  """A share of the rows, with its 95% Clopper-Pearson interval."""
  return {
    'right': hits,
    'share': hits / rows if rows else None,
    'interval_95': list(bounds.interval(hits, rows)) if rows else None,
  }
