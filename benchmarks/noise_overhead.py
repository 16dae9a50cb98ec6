"""What exact integer noise costs against float32 Gaussian noise.

  python -m benchmarks.noise_overhead --output \
    benchmarks/results/noise-overhead-NAME.md

For images of 32 x 32 x 3 and 32 x 32 x 1: microseconds per noisy copy of
`gaussian` and of `lattice_noise`, and of a vote of a CIFAR ResNet that is cast
on such a copy by the same device. All are measured in turn, in rounds, in one
run. On a CPU it is the processor time of all threads, which other work on the
machine hardly moves; on an accelerator, where that means nothing, wall time.
Then the time that the tables take to build, and the distance of their law from
the ideal.

It runs on whatever device is there; sizes are options.
"""

import argparse
import os
import statistics
import sys
import time

import jax
import jax.numpy as jnp

from benchmarks import machine
from dualrs_jax import folders, lattice, models, noise, voting

SHAPES = ((32, 32, 3), (32, 32, 1))
SIGMAS = (0.25, 0.5, 1.0)


def network(depth, shape):
  channels = shape[-1]
  model = models.create(
    'cifar_resnet',
    num_classes=10,
    image_shape=shape,
    seed=0,
    depth=depth,
    mean=(0.5,) * channels,
    deviation=(0.25,) * channels,
  )
  return models.inference_view(model)


def noisy_copies(sampler, shape, copies):
  """A program that makes noisy copies, without arguments."""
  image = jnp.round(jax.random.uniform(jax.random.key(7), shape) * 255) / 255
  program = jax.jit(voting.noisy_copies)
  splits = jnp.full(copies, noise.ESTIMATION)
  return lambda: program(
    image,
    jnp.float32(0.5),
    jax.random.key(0),
    splits,
    jnp.arange(copies),
    noise=sampler,
  )


def votes(depth, shape, copies):
  """A program that casts votes on copies that are there already."""
  classifier = network(depth, shape)
  images = jax.random.normal(jax.random.key(1), (copies, *shape))
  levels = jnp.full(copies, 0.5)
  program = jax.jit(voting.cast_votes)
  return lambda: program(classifier, images, levels)


def clock():
  """Seconds: of the processor on a CPU, of the wall elsewhere."""
  cpu = jax.default_backend() == 'cpu'
  return time.process_time() if cpu else time.perf_counter()


def seconds(function):
  start = clock()
  jax.block_until_ready(function())
  return clock() - start


def alternate(functions, rounds):
  """Seconds of each function in every round, after one call to compile."""
  for function in functions.values():
    seconds(function)
  times = {name: [] for name in functions}
  for _ in range(rounds):
    for name, function in functions.items():
      times[name].append(seconds(function))
  return times


def row(shape, arguments):
  """A line of the table: times of one image shape."""
  sampler = lattice.lattice_noise(SIGMAS)
  times = alternate(
    {
      'gaussian': noisy_copies(noise.gaussian, shape, arguments.copies),
      'lattice': noisy_copies(sampler, shape, arguments.copies),
      'vote': votes(arguments.depth, shape, arguments.copies),
    },
    arguments.rounds,
  )
  middle = {name: statistics.median(values) for name, values in times.items()}
  cells = [
    f'{1e6 * middle[name] / arguments.copies:,.1f}'
    f' ({1e6 * min(values) / arguments.copies:,.1f})'
    for name, values in times.items()
  ]
  shares = [
    middle['lattice'] / middle['gaussian'],
    (middle['lattice'] - middle['gaussian']) / middle['vote'],
  ]
  size = ' x '.join(map(str, shape))
  return f'| {size} | {" | ".join(cells)} | {shares[0]:.2f} | {shares[1]:.2%} |'


def tables():
  lines = [
    '| sigma | processor seconds to build | total variation, 3,072 pixels'
    ' | 150,528 pixels |',
    '|---|---|---|---|',
  ]
  for sigma in (*SIGMAS, 1.9):
    start = time.process_time()
    distance = float(lattice.lattice_noise([sigma]).total_variation()[0])
    elapsed = time.process_time() - start
    lines.append(
      f'| {sigma:g} | {elapsed:.2f} | {3_072 * distance:.1e}'
      f' | {150_528 * distance:.1e} |'
    )
  return lines


def markdown(arguments):
  build = tables()  # first: the tables of a level are kept once they are made
  of_what = ' of processor time' if jax.default_backend() == 'cpu' else ''
  of_what = ' of processor time' if jax.default_backend() == 'cpu' else ''
  return '\n'.join(
    [
      '# What exact noise costs',
      '',
      f'`{" ".join(["python -m benchmarks.noise_overhead", *sys.argv[1:]])}`',
      '',
      f'Microseconds{of_what} per noisy copy, and per vote of a CIFAR ResNet'
      f' of depth {arguments.depth}, float32, in batches of'
      f' {arguments.copies}. Medians of {arguments.rounds} alternating rounds,'
      ' in brackets the best.',
      '',
      f'Machine: {machine.processor()}, {os.cpu_count()} CPU cores,'
      f' {machine.devices()}.',
      '',
      '| image | gaussian | lattice | vote | lattice / gaussian'
      ' | extra, of a vote |',
      '|---|---|---|---|---|---|',
      *(row(shape, arguments) for shape in SHAPES),
      '',
      'The tables, of 8,192 columns per level:',
      '',
      *build,
      *machine.block(),
    ]
  )


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--depth', type=int, default=20)
  parser.add_argument('--copies', type=int, default=256)
  parser.add_argument('--rounds', type=int, default=20)
  parser.add_argument('--output', type=folders.expand)
  arguments = parser.parse_args()
  text = markdown(arguments)
  print(text)
  if arguments.output:
    arguments.output.write_text(text)


if __name__ == '__main__':
  main()
