"""How often adaptive certificates are wrong: as often as they may be.

  python -m benchmarks.coverage --output benchmarks/results/coverage.md

The bounds of `sequential` hold at all looks together, but for a probability
that is known exactly: that of a look at which the failures do not exceed the
boundary of a threshold just above the truth. Votes are drawn one by one, and
three things compared with this probability:

* the bounds under each rule, where a claim at any look counts. They have to be
  wrong as often as that, no more and no less;
* the coroutine that asks for votes until its goal is decided. It gives up
  where luck is not likely to turn, and forgets the looks before its last one,
  so it may be wrong less often, not more. Made to go on while the radius can
  be reached at all, it has to be wrong exactly as often as the bounds;
* mistakes, each of which has to be caught.

The cases are in `coverage_bounds`, `coverage_coroutines`, `coverage_mistakes`,
`coverage_cascade` and `coverage_distance`, the exact probabilities in
`coverage_cases`. A section alone, with the votes that it has among all of them:

  python -m benchmarks.coverage --only Cascade
"""

import argparse
import concurrent.futures
import itertools
import multiprocessing
import os
import platform
import sys
from collections.abc import Iterator

import numpy as np
import scipy

from benchmarks import (
  coverage_bounds,
  coverage_cascade,
  coverage_coroutines,
  coverage_distance,
  coverage_mistakes,
)
from benchmarks import coverage_cases as cases
from benchmarks.coverage_cases import Case
from dualrs_jax import folders

CHUNK = 5_000


def count(event, seed, images):
  return int(np.count_nonzero(event(np.random.default_rng(seed), images)))


def row(pool, case: Case, seed: int, images: int) -> str:
  """Measures a case; the same with any number of processes."""
  images *= case.effort
  seeds = np.random.SeedSequence(seed).spawn(images // CHUNK)
  sizes = [CHUNK] * len(seeds)
  wrong = sum(pool.map(count, [case.event] * len(seeds), seeds, sizes))
  low, high = case.interval(images)
  verdict = case.kind if low <= wrong <= high else '**FAILS**'
  exact = 'unknown' if case.exact is None else f'{case.exact:.5f}'
  return (
    f'| {case.name} | {case.noise} | {images:,} | {exact} |'
    f' {low / images:.5f} - {high / images:.5f} | {wrong / images:.5f} |'
    f' {verdict} |'
  )


def report(options) -> Iterator[str]:
  yield from (
    '# Coverage of adaptive certification',
    '',
    f'`{" ".join(["python -m benchmarks.coverage", *sys.argv[1:]])}`',
    '',
    f'Looks {", ".join(map(str, cases.LOOKS))}, alpha = {cases.ALPHA:g}. The'
    ' truth is just below the grid point where the bounds are wrong most'
    ' often. What is'
    f' measured has to lie in the interval, which has a false alarm rate of'
    f' {cases.FALSE_ALARM:g} on either side.',
    '',
    f'Machine: {os.cpu_count()} CPU cores ({platform.machine()}), Python'
    f' {platform.python_version()}, NumPy {np.__version__}, SciPy'
    f' {scipy.__version__}.',
  )
  sections = (
    (
      'Bounds',
      'A claim at any look counts.',
      [*coverage_bounds.bounds_cases(), coverage_bounds.published_case()],
      options.images,
    ),
    (
      'The coroutine',
      'The claim with which it ends; `endless` where it was made to go on while'
      ' the radius can be reached at all. Bounds on a classifier have 0.9 of'
      ' alpha, their runner-up the rest.',
      list(coverage_coroutines.coroutine_cases()),
      options.coroutines,
    ),
    (
      'Mistakes',
      f'What passes exceeds alpha = {cases.ALPHA:g} by more than chance, and'
      ' equals what is computed for the mistake.',
      list(coverage_mistakes.mistakes()),
      options.coroutines,
    ),
    (
      'Cascade',
      'Two levels, the first undecided. Bounds are claims at any look, each at'
      ' all of alpha; then the coroutine, whose second level has 0.9 of it for'
      ' its class and the rest for the runner-up; and mistakes as above.',
      [*coverage_cascade.valid_cases(), *coverage_cascade.mistakes()],
      options.coroutines,
    ),
    (
      'Savings and distances',
      'Predictions that stop, of a class with a little less than half of the'
      ' votes; radii to a tolerance; and levels that follow a distance, with'
      ' the worst classifier there is and n = 256 votes.',
      [
        *coverage_coroutines.saving_cases(),
        *coverage_distance.valid_cases(),
        *coverage_distance.mistakes(),
      ],
      options.coroutines,
    ),
    (
      'Predictions of a cascade',
      'From n = 256 votes at each of two levels, with alpha / 2 each, whether a'
      ' class has a majority there is read from the votes that answer.',
      list(coverage_cascade.prediction_cases()),
      options.coroutines,
    ),
  )
  context = multiprocessing.get_context('spawn')
  with concurrent.futures.ProcessPoolExecutor(mp_context=context) as pool:
    seeds = itertools.count()
    for title, remark, listed, images in sections:
      yield from (
        '',
        f'## {title}',
        '',
        remark,
        '',
        '| case | noise | images | exact | interval | measured | verdict |',
        '|---|---|---|---|---|---|---|',
      )
      for case in listed:
        seed = next(seeds)
        if options.only in (None, title):
          yield row(pool, case, seed, images)


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--images', type=int, default=400_000)
  parser.add_argument('--coroutines', type=int, default=100_000)
  parser.add_argument('--output', type=folders.expand)
  parser.add_argument('--only', help='The title of the only section to draw.')
  options = parser.parse_args()
  lines = []
  for line in report(options):
    lines.append(line)
    print(line, flush=True)
  if options.output:
    options.output.write_text('\n'.join(lines) + '\n')
  if any('FAILS' in line for line in lines):
    sys.exit(1)


if __name__ == '__main__':
  main()
