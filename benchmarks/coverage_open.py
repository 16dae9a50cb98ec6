"""How often certificates to which votes are added are wrong.

  python benchmarks/coverage_open.py --output coverage-open.md

The bounds of `mixture` hold at every number of votes. Votes are simulated one
by one up to a horizon, and a bound is wrong if it is wrong after any vote: the
probability of that is computed exactly, vote by vote, and must not exceed
alpha. Then runs are continued because of what they show: after each stop a
person looks, and asks for twice as many votes where the radius is not reached
yet. What such a person may claim in the end is compared with alpha, for
planned and open-ended bounds, and for mistakes that have to be caught.
"""

import argparse
import concurrent.futures
import functools
import itertools
import multiprocessing
import os
import pathlib
import platform
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy
from scipy import special, stats

from dualrs_jax import lookups, mixture, plans
from dualrs_jax.composition import agreement, minimum
from dualrs_jax.decisions import ESTIMATOR, certification, is_decided
from dualrs_jax.noise import ESTIMATION

ALPHA = 0.05
HORIZON = 4_096
#: What the person asks for, one after the other.
ASKED = (64, 128, 256, 512, 1_024, 2_048, 4_096)
FALSE_ALARM = 1e-6
CHUNK = 1_000


class Case(NamedTuple):
  """What is simulated, and how it compares with alpha.

  Attributes:
    name: What is done.
    event: From a generator and a number of images, which certificates are
      wrong at any time.
    exact: The probability of that, or None.
    caught: Whether it has to exceed alpha by more than chance.
  """

  name: str
  event: Callable[[np.random.Generator, int], Any]
  exact: float | None
  caught: bool = False

  def interval(self, images: int) -> tuple[int, int]:
    """How many wrong certificates pass."""
    law = stats.binom(images, ALPHA if self.exact is None else self.exact)
    low, high = int(law.ppf(FALSE_ALARM)), int(law.isf(FALSE_ALARM))
    if self.caught:
      least = int(stats.binom(images, ALPHA).isf(FALSE_ALARM)) + 1
      return max(least, low if self.exact is not None else 0), (
        images if self.exact is None else high
      )
    return (0 if self.exact is None else low), high


# The bounds: limits are the most failures at which a bound is not below z.


def open_limits(z, alpha):
  """After each number of votes, the most failures at which p <= Phi(z) falls.

  Failures are searched for by halving: with more of them no bound is larger.
  """
  n = np.arange(1, HORIZON + 1)
  low, high = np.full(len(n), -1), n.copy()
  needed = -np.log(alpha) + mixture._LOG_MARGIN
  while np.any(low < high):
    middle = (low + high + 1) // 2
    wrong = mixture._rejected(z, (n - middle) * 1.0, middle * 1.0, needed)
    low, high = np.where(wrong, middle, low), np.where(wrong, high, middle - 1)
  return low


def fixed_limits(z, alpha):
  """The same of Clopper-Pearson bounds for a fixed number, at every number."""
  n = np.arange(1, HORIZON + 1)
  return stats.binom(n, special.ndtr(-z)).ppf(alpha).astype(int) - 1


def exact_ever(limits, z):
  """P[some number of votes has no more failures than its limit]."""
  fail = special.ndtr(-z)
  law = np.zeros(HORIZON + 1)
  law[0] = 1
  for n, limit in enumerate(limits, start=1):
    law[1 : n + 1] = law[1 : n + 1] * (1 - fail) + law[:n] * fail
    law[0] *= 1 - fail
    law[: limit + 1] = 0
  return 1 - law.sum()


def ever(generator, images, *, limits, z):
  """Votes one by one; a bound that is wrong after any of them."""
  lost = generator.random((images, HORIZON)) < special.ndtr(-z)
  return np.any(lost.cumsum(axis=1) <= limits, axis=1)


# Certificates, continued.


def continued(generator, images, *, rule, noise, z, bounds, radius):
  """A person who asks for more votes until the radius is reached.

  The walks of the two stages have the same truth. Of several certificates of
  an image a single wrong one makes the image wrong.
  """
  return np.array(
    [
      _continued_image(generator, rule, noise, z, bounds, radius)
      for _ in range(images)
    ]
  )


@functools.cache
def _plan(rule, bounds, radius, n):
  levels = 1 if rule is None else 2
  return plans.plan(
    (1.0,) * levels,
    1.0,
    goal='radius',
    radii=(radius,),
    n0=64,
    n=n,
    alpha=ALPHA,
    certificate=rule or minimum,
    bounds=bounds,
  )


def _continued_image(generator, rule, noise, z, bounds, radius):
  first = generator.random(64 + HORIZON)
  second = {'antithetic': 1 - first, 'shared': first}[noise]
  won = np.stack([first, second]) < special.ndtr(z)
  # The truth is that of the walks; other stages are certain.
  walks = {ESTIMATOR: 0, 0: 1} if rule is minimum else {ESTIMATOR: 0, 1: 1}
  if rule is None:
    walks = {0: 0}

  def counts(request):
    wins = votes = request.votes
    if request.split == ESTIMATION and request.stage in walks:
      wins = int(won[walks[request.stage], 64 : 64 + votes].sum())
    return np.array([wins, votes - wins])

  found = None
  for n in ASKED:
    plan = _plan(rule, bounds, radius, n)
    if found is not None and is_decided(plan, found):
      continue
    begun = found if bounds is lookups.open_ended else None
    stage = certification(plan, begun)
    request = next(stage)
    while True:
      try:
        request = stage.send(counts(request))
      except StopIteration as stop:
        found = stop.value
        break
    if found.prediction == 0 and found.radius > z:
      return True
  return False


def cases() -> Iterator[Case]:
  for z in (0.0, 0.5, 1.5, 2.5):
    limits = open_limits(z, ALPHA)
    event = functools.partial(ever, limits=limits, z=z)
    yield Case(f'bounds at every vote, z = {z:g}', event, exact_ever(limits, z))
  z = 0.5
  for name, rule, noise in (
    ('single stage', None, 'shared'),
    ('minimum', minimum, 'shared'),
    ('minimum', minimum, 'antithetic'),
    ('agreement, A_k = B_k', agreement, 'shared'),
    ('agreement, A_k = B_k', agreement, 'antithetic'),
  ):
    yield Case(
      f'{name}, {noise} noise, continued while it is not reached',
      functools.partial(
        continued,
        rule=rule,
        noise=noise,
        z=z,
        bounds=lookups.open_ended,
        radius=z + 1e-6,
      ),
      None,
    )
  yield Case(
    'planned bounds, planned anew for each n',
    functools.partial(
      continued,
      rule=None,
      noise='shared',
      z=z,
      bounds=lookups.planned,
      radius=z + 1e-6,
    ),
    None,
    caught=True,
  )
  for name, limits in (
    ('Clopper-Pearson of a fixed number at every vote', fixed_limits(z, ALPHA)),
    ('evidence 1 / (4 alpha): one side read as two, twice', None),
    ('no margin but alpha / 2 returned', None),
  ):
    if limits is None:
      limits = open_limits(z, 4 * ALPHA if '4' in name else 2 * ALPHA)
    exact = exact_ever(limits, z)
    event = functools.partial(ever, limits=limits, z=z)
    yield Case(name, event, exact, caught=exact > ALPHA)


def count(event, seed, images):
  return int(np.count_nonzero(event(np.random.default_rng(seed), images)))


def row(pool, case: Case, seed: int, images: int) -> str:
  """Measures a case; the same with any number of processes."""
  seeds = np.random.SeedSequence(seed).spawn(images // CHUNK)
  sizes = [CHUNK] * len(seeds)
  wrong = sum(pool.map(count, [case.event] * len(seeds), seeds, sizes))
  low, high = case.interval(images)
  kind = 'caught' if case.caught else 'equal' if case.exact else 'not above'
  exact = 'unknown' if case.exact is None else f'{case.exact:.5f}'
  return (
    f'| {case.name} | {images:,} | {exact} |'
    f' {low / images:.5f} - {high / images:.5f} | {wrong / images:.5f} |'
    f' {kind if low <= wrong <= high else "**FAILS**"} |'
  )


def report(options) -> Iterator[str]:
  yield from (
    '# Coverage of certificates to which votes are added',
    '',
    f'`{" ".join(["python", *sys.argv])}`',
    '',
    f'alpha = {ALPHA:g}, up to {HORIZON:,} votes. A case passes within its'
    f' interval, which has a false alarm rate of {FALSE_ALARM:g} on either'
    ' side; without an exact probability it must not exceed alpha by more than'
    ' chance. Mistakes have to.',
    '',
    f'Machine: {os.cpu_count()} CPU cores ({platform.machine()}), Python'
    f' {platform.python_version()}, NumPy {np.__version__}, SciPy'
    f' {scipy.__version__}.',
    '',
    '| case | images | exact | interval | measured | verdict |',
    '|---|---|---|---|---|---|',
  )
  context = multiprocessing.get_context('spawn')
  with concurrent.futures.ProcessPoolExecutor(
    options.processes, mp_context=context
  ) as pool:
    seeds = itertools.count()
    for case in cases():
      yield row(pool, case, next(seeds), options.images)


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--images', type=int, default=100_000)
  parser.add_argument('--processes', type=int, default=os.cpu_count())
  parser.add_argument('--output', type=pathlib.Path)
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
