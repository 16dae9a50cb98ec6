"""What certification costs beyond the forward passes it cannot avoid.

  python -m benchmarks.overhead --output benchmarks/results/overhead-NAME.md

Three figures, each measured side by side in one run, in alternating rounds:

* votes per second of `certify`, of the bare jitted forward pass of the same
  network on the same chunk shape, and their ratio;
* the time of `certify_dual` against `certify`, at equal n, the estimator
  being a network of the classifier's size, and of half its depth, under the
  rule `paper`, and under `agreement`, which may sample further levels;
* peak memory of `certify` for growing n, each in a process of its own.

It runs on whatever device is there; sizes are options.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

import jax
import jax.numpy as jnp

import dualrs_jax
from benchmarks import machine
from dualrs_jax import folders, models

SHAPE = (32, 32, 3)
SIGMAS = (0.25, 0.5, 1.0)


def network(depth, num_classes):
  return models.inference_view(
    models.create(
      'cifar_resnet',
      num_classes=num_classes,
      image_shape=SHAPE,
      seed=0,
      depth=depth,
    )
  )


def image():
  return jax.random.uniform(jax.random.key(7), SHAPE)


def seconds(function):
  start = time.perf_counter()
  jax.block_until_ready(function())
  return time.perf_counter() - start


def alternate(functions, rounds):
  """Seconds of each function in every round, after one call to compile."""
  for function in functions.values():
    seconds(function)
  times = {name: [] for name in functions}
  for _ in range(rounds):
    for name, function in functions.items():
      times[name].append(seconds(function))
  return times


def statistics_of(n, chunk):
  return {'n0': chunk, 'n': n, 'alpha': 0.001, 'chunk_size': chunk}


def against_forward(depth, n, chunk, rounds):
  classifier = network(depth, 10)
  key = jax.random.key(0)
  batch = jax.random.uniform(key, (chunk, *SHAPE))
  levels = jnp.full(chunk, 0.5)
  forward = jax.jit(lambda f, images, sigma: f(images, sigma).argmax(axis=-1))
  options = statistics_of(n, chunk)
  votes = options['n0'] + n

  def bare():
    votes_of_chunks = [
      forward(classifier, batch, levels) for _ in range(votes // chunk)
    ]
    return votes_of_chunks[-1]

  times = alternate(
    {
      'bare forward pass': bare,
      'certify': lambda: dualrs_jax.certify(
        classifier, image(), 0.5, key, **options
      ),
    },
    rounds,
  )
  ratio = statistics.median(
    bare / own
    for bare, own in zip(
      times['bare forward pass'], times['certify'], strict=True
    )
  )
  return votes, times, ratio


def dual_against_plain(depth, n, chunk, rounds):
  classifier = network(depth, 10)
  key = jax.random.key(0)
  options = statistics_of(n, chunk)

  def dual(estimator, rule=dualrs_jax.paper):
    return lambda: dualrs_jax.certify_dual(
      estimator,
      classifier,
      image(),
      SIGMAS,
      0.5,
      key,
      certificate=rule,
      **options,
    )

  half = 6 * max(1, (depth - 2) // 12) + 2
  names = {
    'plain': lambda: dualrs_jax.certify(
      classifier, image(), 0.5, key, **options
    ),
    f'dual, estimator of depth {depth}': dual(network(depth, len(SIGMAS))),
    f'dual, estimator of depth {half}': dual(network(half, len(SIGMAS))),
    'the same, rule agreement': dual(
      network(half, len(SIGMAS)), dualrs_jax.agreement
    ),
  }
  times = alternate(names, rounds)
  return {
    name: (
      statistics.median(times[name]),
      statistics.median(
        own / plain
        for own, plain in zip(times[name], times['plain'], strict=True)
      ),
    )
    for name in names
  }


def peak_memory(depth, n, chunk):
  """Bytes at the peak of a process that certifies one image with n votes."""
  arguments = ['--child', '--depth', depth, '--n', n, '--chunk', chunk]
  process = subprocess.run(
    [sys.executable, '-m', 'benchmarks.overhead', *map(str, arguments)],
    capture_output=True,
    text=True,
    check=True,
  )
  return int(process.stdout.strip().splitlines()[-1])


def certify_once(depth, n, chunk):
  jax.block_until_ready(
    dualrs_jax.certify(
      network(depth, 10),
      image(),
      0.5,
      jax.random.key(0),
      **statistics_of(n, chunk),
    )
  )
  device = jax.local_devices()[0]
  used = device.memory_stats() or {}
  peak = used.get(
    'peak_bytes_in_use',
    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    * (1 if sys.platform == 'darwin' else 1024),  # bytes there, KiB elsewhere
  )
  print(peak)


def markdown(arguments):
  depth, n, chunk = arguments.depth, arguments.n, arguments.chunk
  votes, times, ratio = against_forward(depth, n, chunk, arguments.rounds)
  lines = [
    '# Overhead of certification',
    '',
    f'`{" ".join(["python -m benchmarks.overhead", *sys.argv[1:]])}`',
    '',
    f'Network: CIFAR ResNet of depth {depth}, {chunk} noisy copies of 32 x 32'
    f' x 3 per forward pass, n = {n:,}, float32. Medians of'
    f' {arguments.rounds} alternating rounds.',
    '',
    f'Machine: {machine.processor()}, {machine.devices()}.',
    '',
    '| | votes/s | of the bare forward pass |',
    '|---|---|---|',
  ]
  for name, values in times.items():
    share = 1.0 if name != 'certify' else ratio
    speed = votes / statistics.median(values)
    lines.append(f'| {name} | {speed:,.0f} | {share:.3f} |')
  lines += ['', '| | seconds per image | of plain |', '|---|---|---|']
  costs = dual_against_plain(depth, n, chunk, arguments.rounds)
  for name, (cost, relative) in costs.items():
    lines.append(f'| {name} | {cost:.2f} | {relative:.2f} |')
  lines += ['', '| n | peak memory, MiB |', '|---|---|']
  for factor in (1, 2, 4):
    peak = peak_memory(depth, factor * n, chunk) / 2**20
    lines.append(f'| {factor * n:,} | {peak:,.0f} |')
  return '\n'.join([*lines, *machine.block()])


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--depth', type=int, default=20)
  parser.add_argument('--n', type=int, default=2000)
  parser.add_argument('--chunk', type=int, default=100)
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--output', type=folders.expand)
  parser.add_argument('--child', action='store_true', help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.child:
    certify_once(arguments.depth, arguments.n, arguments.chunk)
    return
  text = markdown(arguments)
  print(text)
  if arguments.output:
    arguments.output.write_text(text)


if __name__ == '__main__':
  main()
