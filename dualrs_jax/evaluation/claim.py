"""A folder of rows becomes that of one run, or is refused.

What its rows depend on, networks, images and statistics, is recorded before the
first of them, and compared whenever the run goes on.
"""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from dualrs_jax import classifiers, compilers, host
from dualrs_jax.data import Source, to_unit
from dualrs_jax.evaluation import (
  marks,
  memory,
  run_plans,
  sampling,
  smoothed_networks,
  workers,
)
from dualrs_jax.evaluation.smoothed_networks import (
  SmoothedNetworks,
  fingerprint,
)
from dualrs_jax.runtime import environment
from dualrs_jax.runtime import settings as settings_lib


class Claimed(NamedTuple):
  """A run that a folder is known to be of.

  Attributes:
    smoothed: Its networks, in chunks of the size that it records.
    settings: All that it records.
    asked: What of that is of this call.
  """

  smoothed: SmoothedNetworks
  settings: dict[str, Any]
  asked: dict[str, Any]


def claim(
  directory: pathlib.Path,
  smoothed: SmoothedNetworks,
  settings: Mapping[str, Any],
  source: Source,
  positions: Int[np.ndarray, ' images'],
  *,
  seed: int,
) -> Claimed:
  """Makes a folder that of a run, once its networks have shown that they fit.

  Args:
    directory: The folder.
    smoothed: The networks on their devices; with a chunk size of 0, which the
      memory chooses, or else the run that the folder already has.
    settings: Those of the run, as `preparation` left them.
    source: The images.
    positions: Which of them this call is about.
    seed: Of all noise.

  Raises:
    ValueError: If a network is not one of these images, a vote depends on its
      batch companions, or the memory does not hold one copy at a time.
    SettingsMismatch: If the folder is that of another run, or its rows do not
      say whose they are.
  """
  path = directory / marks.SETTINGS
  chunk_size = smoothed.chunk_size or _recorded_chunk_size(path)
  smoothed = smoothed._replace(chunk_size=chunk_size or 1)
  example = np.asarray(to_unit(source.gather(positions[:1])[0])[0])
  sampling.check_networks(smoothed, example, settings)
  chosen = {}
  if not chunk_size:
    chosen['chunk_size'] = memory.choose_chunk_size(smoothed, example, settings)
    smoothed = smoothed._replace(**chosen)
  complete = _identity(smoothed, example, settings, source, seed)
  identity = run_plans.identity(complete)
  asked = {n: v for n, v in complete.items() if n not in identity}
  identity = {n: v for n, v in identity.items() if n not in chosen}
  mark = {settings_lib.FINGERPRINT: marks.of(identity | chosen)}
  if path.exists():  # another device may not have the memory for its chunks
    settings_lib.verify(
      path, {n: v for n, v in identity.items() if n not in marks.ADVISORY}
    )
    marks.check(settings_lib.read(path), path)
  else:
    workers.check_adoption(directory, identity | chosen | asked | mark)
  sampling.check_independence(
    smoothed_networks.here(smoothed), example, settings
  )
  indices = source.indices[positions].tolist()
  asked |= {'images': len(indices), 'asked': ' '.join(map(str, indices))}
  claimed = settings_lib.claim(
    path, identity, once=chosen | asked, first=mark, advisory=marks.ADVISORY
  )
  marks.check(claimed, path)
  claimed |= asked
  if claimed['chunk_size'] != smoothed.chunk_size:  # another process was faster
    smoothed = smoothed._replace(chunk_size=claimed['chunk_size'])
    sampling.check_independence(
      smoothed_networks.here(smoothed), example, settings
    )
  return Claimed(smoothed, claimed, asked)


def _recorded_chunk_size(path: pathlib.Path) -> int:
  """The chunk size of the run that has these settings, or 0."""
  if not path.exists():
    return 0
  found = settings_lib.read(path).get('chunk_size', 0)
  if type(found) is not int or found < 0:
    raise settings_lib.SettingsMismatch(
      f'{path} records {found!r} as chunk_size: put a copy of it back'
    )
  return found


def _identity(
  smoothed: SmoothedNetworks,
  example: Float[np.ndarray, '*image'],
  settings: Mapping[str, Any],
  source: Source,
  seed: int,
) -> dict[str, Any]:
  """What the results depend on."""
  estimator, classifier = smoothed.estimator, smoothed.classifier
  precision = jax.config.jax_default_matmul_precision  # pyright: ignore
  device = smoothed.mesh.local_devices[0]
  hosts = [each.where for each in host.parts((estimator, classifier))]
  return {
    **settings,
    'seed': seed,
    'num_classes': classifiers.num_classes(
      smoothed_networks.experts(classifier)[0],
      example,
      batch=smoothed.chunk_size,
    ),
    'weights': {
      'classifier': fingerprint(classifier),
      'estimator': None if estimator is None else fingerprint(estimator),
    },
    # Recorded of host classifiers alone: their kernels round in their own way.
    **({'hosts': hosts} if hosts else {}),
    'source': source.fingerprint(),
    # What published data sets do not have, so that runs of theirs can go on.
    **({'class_names': [*source.class_names]} if source.class_names else {}),
    **({'provenance': source.provenance} if source.provenance else {}),
    'chunk_size': smoothed.chunk_size,
    'dtype': str(example.dtype),
    'matmul_precision': precision,
    'threefry_partitionable': jax.config.jax_threefry_partitionable,  # pyright: ignore
    **environment.describe(),
    'compiler': compilers.describe(device),
    'platform': device.platform,
    'device_kind': device.device_kind,
  }
