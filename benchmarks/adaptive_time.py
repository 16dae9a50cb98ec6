"""Wall clock of adaptive certification beside a fixed number of votes.

  python -m benchmarks.adaptive_time runs/digits-full

Certifies the same test images by the same networks in one process: with n votes
each, adaptively for the grid of report radii under gaussian noise, and so
under exact lattice noise. The methods take turns, `--rounds` times; compilation
is not timed. The overhead of the scheduler is what a step takes beyond the bare
call of the same compiled function, waited for one at a time.
"""

import argparse
import time
from typing import Any

import jax
import numpy as np

from configs import digits
from dualrs_jax import (
  adaptive,
  composition,
  dual,
  folders,
  lattice,
  noise,
  sharding,
  vote_batches,
)
from dualrs_jax.data import to_unit
from dualrs_jax.evaluation import run_inputs

SEED = 0


def fixed(networks, images, config):
  """Certifies one image after the other, as certify.py does."""
  options = config.certify
  estimator, classifier = networks
  for index, image in images:
    found = dual.certify_dual(
      estimator,
      classifier,
      image,
      np.asarray(config.sigmas, np.float32),
      config.estimator_sigma,
      noise.image_key(jax.random.key(SEED), index),
      n0=options.n0,
      n=options.n,
      alpha=options.alpha,
      certificate=composition.agreement,
      chunk_size=options.chunk_size,
    )
    jax.device_get(found)


def adaptively(networks, images, config, sampler):
  """Certifies all images for the grid of report radii; returns the votes."""
  options = config.certify
  estimator, classifier = networks
  certificates = adaptive.certify_images(
    estimator,
    classifier,
    images,
    config.sigmas,
    config.estimator_sigma,
    jax.random.key(SEED),
    goal='grid',
    radii=config.certify.radii,
    n0=options.n0,
    n=options.n,
    alpha=options.alpha,
    certificate=composition.agreement,
    chunk_size=options.chunk_size,
    noise=sampler,
    mesh=sharding.votes_mesh(jax.local_devices()[:1]),
  )
  casts = [found[-2:] for _, found in certificates]
  return sum(
    int(np.sum(split)) for pair in casts for cast in pair for split in cast
  )


class Steps:
  """Counts and times the steps of the scheduler, and the bare ones."""

  def __init__(self):
    self.count = 0
    self.last: Any = None
    self._cast = vote_batches._cast  # pyright: ignore[reportPrivateUsage]

  def __call__(self, *arguments, **options):
    self.count += 1
    self.last = arguments, options
    return self._cast(*arguments, **options)

  def bare(self, repeats):
    """Seconds of one step, one after the other."""
    arguments, options = self.last
    jax.block_until_ready(self._cast(*arguments, **options))
    start = time.perf_counter()
    for _ in range(repeats):
      np.asarray(self._cast(*arguments, **options))
    return (time.perf_counter() - start) / repeats


def seconds(call, *arguments):
  start = time.perf_counter()
  call(*arguments)
  return time.perf_counter() - start


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('workdir', type=folders.expand)
  parser.add_argument('--images', type=int, default=500)
  parser.add_argument('--rounds', type=int, default=1)
  arguments = parser.parse_args()
  config: Any = digits.get_config('full')
  source = run_inputs.load_source(config)
  networks = run_inputs.load_networks(config, arguments.workdir, source)
  images = [
    (
      int(source.indices[at]),
      np.asarray(to_unit(source.gather(np.array([at]))[0])[0]),
    )
    for at in range(min(arguments.images, len(source)))
  ]
  levels = [*config.sigmas, config.estimator_sigma]
  exact = lattice.lattice_noise(levels)
  steps = Steps()
  vote_batches._cast = steps  # pyright: ignore[reportPrivateUsage]
  methods = {
    'fixed n': lambda: fixed(networks, images, config),
    'adaptive': lambda: adaptively(networks, images, config, noise.gaussian),
    'adaptive, lattice': lambda: adaptively(networks, images, config, exact),
  }
  fixed(networks, images[:2], config)
  for sampler in (noise.gaussian, exact):
    adaptively(networks, images[:2], config, sampler)
  print(
    '| round | '
    + ' | '.join(methods)
    + ' | adaptive / fixed | lattice / fixed |'
  )
  print('|---' * (len(methods) + 3) + '|')
  steps_taken, times = 0, {}
  for number in range(arguments.rounds):
    times = {}
    for name, method in methods.items():
      steps.count = 0
      times[name] = seconds(method)
      steps_taken = steps.count
    first, *others = times.values()
    cells = [f'{value:.1f} s' for value in times.values()]
    cells += [f'{value / first:.2f}' for value in others]
    print(f'| {number + 1} | ' + ' | '.join(cells) + ' |')
  bare = steps.bare(100)
  each = times['adaptive, lattice'] / steps_taken
  print(
    f'\n{len(images)} images. The last run took {steps_taken} steps of'
    f' {config.certify.chunk_size} votes, {1e3 * each:.2f} ms each; a bare step'
    f' takes {1e3 * bare:.2f} ms, so the scheduler adds'
    f' {1e3 * (each - bare):.2f} ms ({each / bare - 1:.1%}).'
  )


if __name__ == '__main__':
  main()
