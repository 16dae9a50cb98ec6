"""The costs of a configuration as text."""

import math
from collections.abc import Iterator, Mapping, Sequence

from dualrs_jax.cost import rates, work
from dualrs_jax.cost.plan import Plan
from dualrs_jax.cost.rates import Rates
from dualrs_jax.cost.sizes import Network
from dualrs_jax.cost.storage import Stored
from dualrs_jax.cost.work import Work


def report(
  planned: Plan,
  device: Rates | None,
  *,
  devices: Sequence[int],
  per_host: int,
) -> str:
  """Tables of passes, operations, hours and bytes.

  Args:
    planned: What a configuration comes to.
    device: How fast the devices are; None for no hours.
    devices: Numbers of devices, one column for each.
    per_host: Devices of a host.
  """
  networks, stages = planned.networks, planned.stages
  lines = [f'# {planned.name}', '', *_networks(networks), '']
  lines += [*_passes(stages, networks), '']
  hours = ['Hours need a speed: --flops, or --throughput of a measurement.']
  if device is not None:
    hours = _hours(planned, device, devices, per_host)
  lines += [*hours, '']
  return '\n'.join([*lines, *_bytes(planned.stored)])


def _networks(networks: Mapping[str, Network]) -> Iterator[str]:
  yield '| network | architecture | GMAC per image | weights |'
  yield '|---|---|---|---|'
  for role, network in networks.items():
    several = f'{network.copies} of ' if network.copies > 1 else ''
    yield (
      f'| {role} | {several}{network.architecture}, {network.dtype}'
      f' | {network.multiply_adds / 1e9:.4g}'
      f' | {_size(network.weight_bytes)} |'
    )
  total = sum(network.weight_bytes for network in networks.values())
  yield f'\nWeights on each device: {_size(total)} with all of them.'
  for role, network in networks.items():
    if network.assumed:
      yield (
        f'{network.assumed} is not there: the {role} has the sizes of the'
        ' published one.'
      )


def _passes(
  done: Sequence[Work], networks: Mapping[str, Network]
) -> Iterator[str]:
  roles = list(networks)
  yield f'| stage | {" | ".join(roles)} | multiply-adds | FLOP |'
  yield '|---' * (len(roles) + 3) + '|'
  for one in done:
    cells = [
      f'{one.forward.get(role, 0):.3g}'
      + (f' + {one.backward[role]:.3g} back' if role in one.backward else '')
      for role in roles
    ]
    count = one.multiply_adds(networks)
    yield (
      f'| {one.stage} | {" | ".join(cells)} | {count:.2g} | {2 * count:.2g} |'
    )
  yield (
    f'\nForward and backward passes of single images; a backward pass costs'
    f' {work.BACKWARD} forward ones. A vote is a forward pass.'
  )
  if any(one.kind == 'adaptive' for one in done):
    yield (
      'Adaptive certification: the shares of votes that were measured on digits'
      ' (docs/results_cost.md); other networks and images have others.'
    )


def _hours(
  planned: Plan,
  device: Rates,
  devices: Sequence[int],
  per_host: int,
) -> Iterator[str]:
  by = planned.spread
  yield f'Hours on {device.device} ({device.source}), of each stage:\n'
  yield f'| stage | timed by | {" | ".join(f"{d:,}" for d in devices)} |'
  yield '|---' * (len(devices) + 2) + '|'
  refusals, too_many = {}, False
  for one in planned.stages:
    try:
      seconds = device.seconds(one, planned.networks)
    except rates.NotMeasured as error:
      refusals[str(error)] = None
      yield f'| {one.stage} | {"| - " * len(devices)}|'
      continue
    hours = [
      rates.spread(seconds, one, devices=d, per_host=per_host, by=by) / 3600
      for d in devices
    ]
    too_many |= math.inf in hours
    timed = 'assumed' if device.assumed else rates.METHODS[one.kind]
    yield f'| {one.stage} | {timed} | {" | ".join(map(_number, hours))} |'
  yield (
    f'\n{per_host} devices to a host; certification is spread over {by}. No'
    ' waiting for data, compilation, communication or the host.'
  )
  if too_many:
    yield (
      'Too many hosts: the batch of a step, divided by `accumulate`, does not'
      ' divide over them.'
    )
  yield from (f'Not known: {sentence}.' for sentence in refusals)


def _bytes(stored: Sequence[Stored]) -> Iterator[str]:
  yield '| on the disk | bytes |'
  yield '|---|---|'
  for one in stored:
    yield f'| {one.what} | {_size(one.size)} |'
  yield f'| all | {_size(sum(one.size for one in stored))} |'


def _size(count: int) -> str:
  for unit, scale in (('GB', 1e9), ('MB', 1e6), ('kB', 1e3)):
    if count >= scale:
      return f'{count / scale:.3g} {unit}'
  return f'{count} B'


def _number(hours: float) -> str:
  if hours == math.inf:
    return 'too many'
  return f'{hours:,.0f}' if hours >= 100 else f'{hours:.2g}'
