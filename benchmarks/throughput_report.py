"""What benchmarks.throughput measured, as rows, as JSON and as a page."""

import argparse
import contextlib
import importlib.metadata
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from benchmarks import machine, paths
from dualrs_jax.runtime import environment

FORWARD = 'bare forward pass'
PRODUCT = 'matrix product'
PEERS = ('torch', 'adversarial-robustness-toolbox')

GOALS = (
  'Goals for a GPU with bfloat16: `certify` has at least 0.9 of the bare'
  ' forward pass, and at least 0.5 of the matrix product on cifar10-denoised.'
)


class Measured(NamedTuple):
  """What was measured of a path.

  Attributes:
    chunk_size: Noisy copies per forward pass.
    n: Estimation votes per image; as many as a chunk precede them.
    multiply_adds: Per vote.
    difference: Between logits of PyTorch and Flax, relative to the largest;
      None without PyTorch.
    rates: Work per second of each method in every round: votes, and
      floating-point operations of the matrix product.
  """

  chunk_size: int
  n: int
  multiply_adds: int
  difference: float | None
  rates: Mapping[str, Sequence[float]]


def rows(
  name: str, measured: Measured, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
  """A line of the table for each method, as `rows` of the JSON has it."""
  rates, cost = measured.rates, 2 * measured.multiply_adds
  ratio = lambda method, other: statistics.median(
    own / others
    for own, others in zip(rates[method], rates[other], strict=True)
  )
  return [
    {
      'path': name,
      'sizes': arguments.sizes,
      'method': method,
      'device_kind': jax.local_devices()[0].device_kind,
      'dtype': arguments.dtype,
      'chunk_size': measured.chunk_size,
      'n': measured.n,
      'votes_per_second': statistics.median(rates[method]),
      'flops_per_vote': cost,
      'of_forward': ratio(method, FORWARD),
      'fraction': cost * ratio(method, PRODUCT),
      'matrix_flops_per_second': statistics.median(rates[PRODUCT]),
    }
    for method in rates
    if method != PRODUCT
  ]


def described(path: paths.Path) -> str:
  """The networks of a path, with the sizes that they were given."""
  given = lambda sizes: ', '.join(
    f'{name} {value}' for name, value in sizes.items()
  )
  classifier = f'{path.architecture.__name__}: {given(path.sizes)}'
  if path.denoiser is None:
    return classifier
  return f'DiffusionUNet: {given(path.denoiser)}; {classifier}'


def about(load: float, clock: str) -> dict[str, Any]:
  """The machine, what else it did, the clock and the environment."""
  return {
    'processor': machine.processor(),
    'cpu_count': machine.cores(),
    'load_before': round(load, 2),
    'clock': clock,
    'environment': _environment(),
  }


def _environment() -> dict[str, Any]:
  """The environment, with the versions of the peers."""
  found = environment.describe()
  for package in PEERS:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      found['versions'][package] = importlib.metadata.version(package)
  return found


def markdown(
  command: str,
  about: Mapping[str, Any],
  measured: Mapping[str, Measured],
  arguments: argparse.Namespace,
) -> str:
  chosen = paths.SIZES[arguments.sizes]
  busy = about['load_before'] > 0.5
  lines = [
    f'# Throughput, {arguments.sizes} sizes',
    '',
    f'`{command}`',
    '',
    f'Networks of {arguments.sizes} sizes with random weights,'
    f' {arguments.dtype}. Medians of {arguments.rounds} alternating rounds;'
    f' ratios are of the same round. Seconds are of {arguments.clock} time.',
    '',
    f'Machine: {about["processor"]}, {about["cpu_count"]} of'
    f' {os.cpu_count()} CPU cores used; load of the machine before the run'
    f' {about["load_before"]}{", shared with other work" if busy else ""};'
    f' {len(jax.local_devices())} device(s) of kind'
    f' {jax.local_devices()[0].device_kind}, of which one is used.',
    '',
    f'| path, {arguments.sizes} | method | votes/s | of the forward pass'
    ' | TFLOP/s | of the matrix product |',
    '|---|---|---|---|---|---|',
  ]
  for name, found in measured.items():
    for row in rows(name, found, arguments):
      speed = row['votes_per_second']
      lines.append(
        f'| {name} | {row["method"]} | {speed:,.4g} | {row["of_forward"]:.3f}'
        f' | {speed * row["flops_per_vote"] / 1e12:,.4g}'
        f' | {row["fraction"]:.1%} |'
      )
  lines += [
    '',
    f'{GOALS} This run: {jax.default_backend()}, {arguments.dtype},'
    f' {arguments.sizes} sizes.',
    '',
    '| path | GMAC per vote | chunk | n | matrix product, TFLOP/s'
    ' | logits of PyTorch and Flax differ by | networks |',
    '|---|---|---|---|---|---|---|',
  ]
  for name, found in measured.items():
    rate = statistics.median(found.rates[PRODUCT])
    differ = found.difference
    lines.append(
      f'| {name} | {found.multiply_adds / 1e9:.4g} | {found.chunk_size}'
      f' | {found.n:,} | {rate / 1e12:,.4g}'
      f' | {"" if differ is None else f"{differ:.1e}"}'
      f' | images {chosen[name].image_shape}; {described(chosen[name])} |'
    )
  environments = json.dumps(about['environment'], indent=2)
  return '\n'.join([*lines, '', '```', environments, '```', ''])
