"""How fast a device computes: from the file of a measurement, or assumed.

A network is taken to compute at the operations per second of the path in which
it was measured, see benchmarks/throughput.py: for the path itself that is what
was measured, and where the networks of two paths stand behind each other, the
sum of their times.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dualrs_jax import folders
from dualrs_jax.cost import sizes
from dualrs_jax.cost.sizes import Network
from dualrs_jax.cost.work import Work

#: The networks of each path, by their place in `sizes.PUBLISHED`.
PATHS: Mapping[str, Sequence[tuple[str, str]]] = {
  'cifar10-denoised': [('cifar10', 'denoiser'), ('cifar10', 'classifier')],
  'cifar10-resnet110': [('cifar10', 'expert')],
  'imagenet-denoised': [('imagenet', 'denoiser'), ('imagenet', 'classifier')],
  'imagenet-resnet50': [('imagenet', 'expert')],
}
_SHAPES = {'cifar10': (32, 32, 3), 'imagenet': (224, 224, 3)}

#: What was measured that is most like a stage of each kind.
METHODS = {
  'training': 'bare forward pass',
  'targets': 'bare forward pass',
  'fixed': 'certify',
  'adaptive': 'adaptive',
}

#: Networks of one architecture are one for a device if their operations differ
#: by less: the last layer has another width in an estimator.
_SAME = 0.01


class NotMeasured(ValueError):
  """A file of a measurement does not say how fast a network is."""


class Rates(NamedTuple):
  """Operations per second of a device.

  Attributes:
    device: Its kind.
    assumed: One rate for all networks and stages, or None.
    measured: By path, method and type of activations.
    source: Where the rates are from.
  """

  device: str
  assumed: float | None
  measured: Mapping[tuple[str, str, str], float]
  source: str

  def of(self, network: Network, kind: str) -> float:
    """Operations per second of a network in a stage of some kind.

    Raises:
      NotMeasured: If the file has no such row.
    """
    if self.assumed is not None:
      return self.assumed
    path, method = path_of(network), METHODS[kind]
    if path is None:
      raise NotMeasured(
        f'{network.architecture} with {network.multiply_adds:,}'
        ' multiplications is in none of the paths that benchmarks/throughput.py'
        ' measures'
      )
    key = path, method, network.dtype
    if key not in self.measured:
      raise NotMeasured(
        f'{self.source} has no row of {path} in full sizes, {network.dtype},'
        f' method {method!r}, on {self.device}'
      )
    return self.measured[key]

  def seconds(self, work: Work, networks: Mapping[str, Network]) -> float:
    """Time of a stage on one device, without waiting for data.

    Raises:
      NotMeasured: If the file lacks one of its networks.
    """
    return sum(
      2
      * networks[role].multiply_adds
      * passes
      / self.of(networks[role], work.kind)
      for role, passes in work.passes().items()
    )


def assume(operations_per_second: float) -> Rates:
  """A device of which a rate is assumed, for planning before measuring."""
  text = f'{operations_per_second / 1e12:g} TFLOP/s, assumed and not measured'
  return Rates('a device', operations_per_second, {}, text)


def read(path: str | os.PathLike) -> Rates:
  """Reads the JSON of benchmarks/throughput.py.

  Raises:
    ValueError: If it is another file, or of several kinds of devices.
    OSError: If it cannot be read.
  """
  try:
    content = json.loads(folders.expand(path).read_bytes())
    rows, clock = content['rows'], content.get('clock', 'wall')
    devices = {row['device_kind'] for row in rows}
    measured = {
      (row['path'], row['method'], row['dtype']): row['votes_per_second']
      * row['flops_per_vote']
      for row in rows
      if row['sizes'] == 'full'
    }
  except (
    LookupError,
    TypeError,
    AttributeError,
    json.JSONDecodeError,
  ) as error:
    raise ValueError(
      f'{path} is not the JSON of benchmarks/throughput.py'
    ) from error
  if len(devices) != 1:
    raise ValueError(
      f'{path} is of {len(devices)} kinds of devices, not of one'
    )
  device = devices.pop()
  if device == 'cpu':
    device = content.get('processor', device)
  if clock == 'processor':  # counted on one core, whatever else it did
    device = f'one core, {device}'
  return Rates(device, None, measured, str(path))


def path_of(network: Network) -> str | None:
  """The path that has a network; None if none of them has it."""
  for path, places in PATHS.items():
    for data, role in places:
      architecture, given = sizes.PUBLISHED[data, role]
      if architecture == network.architecture:
        _, count = sizes.forward(architecture, given, _SHAPES[data])
        if math.isclose(count, network.multiply_adds, rel_tol=_SAME):
          return path
  return None


def spread(
  seconds: float | int, work: Work, *, devices: int, per_host: int, by: str
) -> float:
  """Time of a stage on several devices, if nothing but idle ones costs time.

  Hosts do whole tasks, see `Work`, each on all of its devices. All devices
  share the votes on an image where certification is spread over votes. The rows
  of a step of training divide evenly over hosts, and over as many devices of
  each as they can, see `sharding.data_mesh`.

  Args:
    seconds: On one device.
    work: The stage.
    devices: All of them.
    per_host: Devices of a host.
    by: 'images' or 'votes': what hosts share in a certification.

  Returns:
    Seconds; infinite for a training that does not divide over so many hosts.
  """
  hosts, own = -(-devices // per_host), min(devices, per_host)
  if work.kind == 'training':
    rows, rest = divmod(int(work.pieces), hosts)
    used = max((n for n in range(1, own + 1) if rows % n == 0), default=1)
    return seconds / (hosts * used) if rows and not rest else math.inf
  if by == 'votes' and work.kind != 'targets':
    return seconds * _idle(work.pieces, devices)
  return seconds * _idle(work.tasks, hosts) * _idle(work.pieces, own)


def _idle(pieces: float | int, places: int) -> float:
  """Time relative to one place, where whole pieces go to several."""
  return max(1 / places, math.ceil(pieces / places) / pieces)
