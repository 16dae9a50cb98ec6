"""Votes per second on the published networks, and of what is possible.

  python -m benchmarks.throughput --output benchmarks/results/throughput-NAME.md

For each path of `benchmarks.paths`, with random weights, are measured in turn,
in rounds, in one run:

* a product of two large square matrices in the type of the networks, with
  JAX's default precision: the rate that all others are compared with;
* the bare jitted forward pass, on chunks of the same shape;
* `certify` at one noise level, from the image to the radius;
* adaptive certification of some images, of which the votes count that
  entered their certificates;
* where PyTorch is installed, on the same device with the same weights: a loop
  over batches, and the certifier of the Adversarial Robustness Toolbox
  (`pip install adversarial-robustness-toolbox statsmodels`). Logits of both
  libraries are compared before anything is timed. JAX takes three quarters of
  a GPU's memory; `--no-peers` where what is left is too little.

A vote costs two operations per multiplication in the networks' matrix products
and convolutions; nothing else is counted. It runs on whatever device is there;
a CPU has reduced sizes and float32 unless told otherwise. Where other work has
its turns on the CPU, wall time is wrong, most of all for PyTorch, whose threads
wait for each other: there, take one core and count its own seconds with
`taskset -c 0 python -m benchmarks.throughput --clock processor`.

With `--output` the figures are also written as JSON beside the Markdown. It
holds `command`, `processor`, `cpu_count` (cores that the run could use),
`load_before` (of the machine), `clock`, `environment`, and a list `rows`; each
of them has `path`, `sizes` ('full' or 'reduced'), `method`, `device_kind`,
`dtype`, `chunk_size`, `n`, `votes_per_second`, `flops_per_vote`, `of_forward`
(relative to the bare forward pass) and `fraction` (of the operations per second
of the matrix product, which are `matrix_flops_per_second`). All are medians
over the rounds, ratios of what was measured in the same round.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dualrs_jax
from benchmarks import paths
from benchmarks import throughput_report as report
from dualrs_jax import adaptive, composition, folders, sharding

SIGMA = 0.5
ALPHA = 0.001

CLOCKS = {'wall': time.perf_counter, 'processor': time.process_time}


def image(path: paths.Path) -> Any:
  return jax.random.uniform(jax.random.key(7), path.image_shape)


def product(dtype: Any, side: int, repeats: int = 8) -> Callable[[], int]:
  """Multiplies matrices one after the other; returns the operations."""
  matrix = jax.random.normal(jax.random.key(1), (side, side), dtype)
  matrix = matrix / math.sqrt(side)
  multiply = jax.jit(lambda a, b: a @ b)

  def run():
    x = matrix
    for _ in range(repeats):
      x = multiply(matrix, x)
    x.block_until_ready()
    return 2 * side**3 * repeats

  return run


def forward(
  network: Any, path: paths.Path, votes: int, chunk_size: int
) -> Callable[[], int]:
  """Classifies one noisy batch again and again; returns the votes."""
  shape = (chunk_size, *path.image_shape)
  noise = jax.random.normal(jax.random.key(2), shape)
  batch = image(path)[None] + SIGMA * noise
  levels = jnp.full(chunk_size, SIGMA)
  apply = jax.jit(lambda f, images, sigma: f(images, sigma).argmax(axis=-1))

  def run():
    chunks = votes // chunk_size
    jax.block_until_ready(
      [apply(network, batch, levels) for _ in range(chunks)]
    )
    return votes

  return run


def certify(
  network: Any, path: paths.Path, n: int, chunk_size: int
) -> Callable[[], int]:
  """Certifies an image; returns the votes."""

  def run():
    jax.block_until_ready(
      dualrs_jax.certify(
        network,
        image(path),
        SIGMA,
        jax.random.key(0),
        n0=chunk_size,
        n=n,
        alpha=ALPHA,
        chunk_size=chunk_size,
      )
    )
    return n + chunk_size

  return run


def adaptively(
  network: Any, path: paths.Path, n: int, chunk_size: int, images: int
) -> Callable[[], int]:
  """Certifies images adaptively; returns the votes that they asked for."""
  one = np.asarray(image(path))

  def run():
    certificates = adaptive.certify_images(
      None,
      network,
      [(index, one) for index in range(images)],
      [SIGMA],
      None,
      jax.random.key(0),
      goal='full',
      n0=chunk_size,
      n=n,
      alpha=ALPHA,
      certificate=composition.paper,
      chunk_size=chunk_size,
      mesh=sharding.votes_mesh(jax.local_devices()[:1]),
    )
    casts = [found.classifier_cast for _, found in certificates]
    return sum(int(np.sum(split)) for cast in casts for split in cast)

  return run


def peers(
  peer: Any, network: Any, path: paths.Path, n: int, chunk_size: int
) -> dict[str, Callable[[], int]]:
  """Certification of an image in PyTorch, by what is installed for it."""
  classes = path.sizes['num_classes']
  clean = peer.channels_first(image(path))
  options = {'classes': classes, 'n0': chunk_size, 'alpha': ALPHA}
  toolbox = peer.toolbox(network, path.image_shape, SIGMA, **options)

  def loop():
    peer.certify(network, clean, SIGMA, n=n, batch_size=chunk_size, **options)
    return n + chunk_size

  def other():
    toolbox.certify(clean[None], n, batch_size=chunk_size)
    return n + chunk_size

  return {'PyTorch, loop': loop} | ({'ART': other} if toolbox else {})


def alternate(
  methods: Mapping[str, Callable[[], int]],
  rounds: int,
  clock: Callable[[], float],
) -> dict[str, list[float]]:
  """Work per second of a clock in every round, after one call to compile."""
  for method in methods.values():
    method()
  rates = {name: [] for name in methods}
  for _ in range(rounds):
    for name, method in methods.items():
      start = clock()
      work = method()
      rates[name].append(work / (clock() - start))
  return rates


def measure(path: paths.Path, arguments: argparse.Namespace) -> report.Measured:
  """Times all methods on a path."""
  dtype = jnp.dtype(arguments.dtype)
  chunk_size = arguments.chunk_size or path.chunk_size
  n = arguments.n or 8 * chunk_size
  n = chunk_size * -(-n // chunk_size)
  peer, twins = torch_peer(arguments), None
  if peer is None:
    network = path.assemble(path.parts(dtype))
  else:
    twins = peer.twins(path, dtype, SIGMA)
    network = path.assemble(twins.parts)
  methods = {
    report.PRODUCT: product(dtype, arguments.matrix),
    report.FORWARD: forward(network, path, n + chunk_size, chunk_size),
    'certify': certify(network, path, n, chunk_size),
    'adaptive': adaptively(network, path, n, chunk_size, arguments.images),
  }
  if twins is not None:
    methods |= peers(peer, twins.network, path, n, chunk_size)
  return report.Measured(
    chunk_size=chunk_size,
    n=n,
    multiply_adds=path.multiply_adds(),
    difference=twins and twins.difference,
    rates=alternate(methods, arguments.rounds, CLOCKS[arguments.clock]),
  )


def torch_peer(arguments: argparse.Namespace) -> Any | None:
  """The module that times PyTorch, where that can be done."""
  if arguments.no_peers or importlib.util.find_spec('torch') is None:
    return None
  peer = importlib.import_module('benchmarks.torch_peer')
  return peer if peer.runs_here() else None


def options(argv: Sequence[str] | None) -> argparse.Namespace:
  cpu = jax.default_backend() == 'cpu'
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  add = parser.add_argument
  add('--paths', nargs='+', choices=list(paths.FULL), default=list(paths.FULL))
  add(
    '--sizes', choices=list(paths.SIZES), default='reduced' if cpu else 'full'
  )
  add(
    '--dtype',
    choices=['float32', 'bfloat16'],
    default='float32' if cpu else 'bfloat16',
  )
  add('--chunk-size', type=int, help='default: one for each path')
  add('--n', type=int, help='rounded up to whole chunks; default: 8 of them')
  add('--images', type=int, default=2, help='that are certified adaptively')
  add('--rounds', type=int, default=3)
  add('--matrix', type=int, default=2048 if cpu else 8192, help='its side')
  add('--clock', choices=list(CLOCKS), default='wall', help='see above')
  add('--no-peers', action='store_true', help='leaves out PyTorch')
  add('--output', type=folders.expand)
  return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
  arguments = options(argv)
  given = sys.argv[1:] if argv is None else argv
  command = ' '.join(['python -m benchmarks.throughput', *given])
  about = report.about(os.getloadavg()[0], arguments.clock)
  measured = {
    name: measure(paths.SIZES[arguments.sizes][name], arguments)
    for name in arguments.paths
  }
  text = report.markdown(command, about, measured, arguments)
  print(text)
  if arguments.output:
    arguments.output.write_text(text)
    content = {'command': command, **about}
    content['rows'] = [
      row
      for name, found in measured.items()
      for row in report.rows(name, found, arguments)
    ]
    written = json.dumps(content, indent=2)
    arguments.output.with_suffix('.json').write_text(f'{written}\n')


if __name__ == '__main__':
  main()
