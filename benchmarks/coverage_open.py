"""How often certificates to which votes are added are wrong.

  python -m benchmarks.coverage_open \
    --output benchmarks/results/coverage-open.md

The bounds of `mixture` hold at every number of votes. Votes are simulated one
by one up to a horizon, and a bound is wrong if it is wrong after any vote: the
probability of that is computed exactly, vote by vote, and must not exceed
alpha. Then runs are continued because of what they show: after each stop a
person looks, and asks for twice as many votes where the radius is not reached
yet. What such a person may claim in the end is compared with alpha, for
planned and open-ended bounds, and for mistakes that have to be caught. Called
again with the same output, it goes on after the rows that are there.
"""

import argparse
import concurrent.futures
import functools
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

from benchmarks.coverage_continued import ALPHA, ASKED, continued, plan_of
from dualrs_jax import folders, lookups, mixture
from dualrs_jax.composition import agreement, minimum

HORIZON = ASKED[-1]
#: By how much the radius that is asked for exceeds the truth.
ABOVE = 1e-6
#: In standard deviations: to give up only what cannot be reached.
ENDLESS = 1e4
FALSE_ALARM = 1e-6
CHUNK = 5_000


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


def open_limits(z, alpha, rejected=mixture._rejected):
  """After each number of votes, the most failures at which p <= Phi(z) falls.

  Failures are searched for by halving: with more of them no bound is larger.
  """
  n = np.arange(1, HORIZON + 1)
  low, high = np.full(len(n), -1), n.copy()
  needed = -np.log(alpha) + mixture._LOG_MARGIN
  while np.any(low < high):
    middle = (low + high + 1) // 2
    wrong = rejected(z, (n - middle) * 1.0, middle * 1.0, needed)
    low, high = np.where(wrong, middle, low), np.where(wrong, high, middle - 1)
  return low


def two_sided(z, won, lost, needed):
  """Whether the mixture over all p, not those above alone, rejects."""
  evidence = (
    special.betaln(won + 0.5, lost + 0.5)
    - np.log(np.pi)
    - won * special.log_ndtr(z)
    - lost * special.log_ndtr(-z)
  )
  return (won > (won + lost) * special.ndtr(z)) & (evidence >= needed)


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


def exact_continued(rule, both, z):
  """The probability for two stages that see the same votes, or for one."""
  plan = plan_of(rule, lookups.open_ended, z + ABOVE, HORIZON)
  parts = [plan.selected[0]]
  if rule is not None:
    parts = [plan.keeps, plan.agrees[0] if plan.agrees else plan.selected[0]]
  limits = [open_limits(z + ABOVE, part.alpha) for part in parts]
  # Between two looks nothing is claimed.
  at_look = np.isin(np.arange(1, HORIZON + 1), plan.looks)
  return exact_ever(np.where(at_look, functools.reduce(both, limits), -1), z)


def cases() -> Iterator[Case]:
  for z in (0.0, 0.5, 1.5, 2.5):
    limits = open_limits(z, ALPHA)
    event = functools.partial(ever, limits=limits, z=z)
    yield Case(f'bounds at every vote, z = {z:g}', event, exact_ever(limits, z))
  z = 0.5
  for name, rule, noise, both in (
    ('single stage', None, 'shared', np.minimum),
    ('minimum', minimum, 'shared', np.minimum),
    ('minimum', minimum, 'antithetic', None),
    ('agreement, A_k = B_k', agreement, 'shared', np.maximum),
    ('agreement, A_k = B_k', agreement, 'antithetic', None),
  ):
    event = functools.partial(
      continued,
      rule=rule,
      noise=noise,
      z=z,
      bounds=lookups.open_ended,
      radius=z + ABOVE,
    )
    name = f'{name}, {noise} noise, continued while it is not reached'
    yield Case(name, event, None)
    if both is not None:
      event = functools.partial(event, patience=ENDLESS)
      yield Case(f'{name}, endless', event, exact_continued(rule, both, z))
  event = functools.partial(
    continued,
    rule=None,
    noise='shared',
    z=z,
    bounds=lookups.planned,
    radius=z + ABOVE,
  )
  yield Case('planned bounds, planned anew for each n', event, None, True)
  two = functools.partial(open_limits, z, rejected=two_sided)
  for name, limits, caught in (
    ('Clopper-Pearson of a fixed n', fixed_limits(z, ALPHA), True),
    ('evidence 1 / (2 alpha)', open_limits(z, 2 * ALPHA), True),
    ('two-sided evidence, 1 / alpha: harmless', two(ALPHA), False),
    ('two-sided evidence, read as one-sided', two(2 * ALPHA), False),
    ('two-sided evidence, read as one-sided twice', two(4 * ALPHA), True),
  ):
    event = functools.partial(ever, limits=limits, z=z)
    yield Case(name, event, exact_ever(limits, z), caught)


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


def heading() -> list[str]:
  return [
    '# Coverage of certificates to which votes are added',
    '',
    f'`{" ".join(["python -m benchmarks.coverage_open", *sys.argv[1:]])}`',
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
  ]


def report(options, lines: list[str]) -> Iterator[str]:
  """The lines that follow those that are there."""
  top = heading()
  yield from top[len(lines) :]
  there = max(0, len(lines) - len(top))
  context = multiprocessing.get_context('spawn')
  with concurrent.futures.ProcessPoolExecutor(
    options.processes, mp_context=context
  ) as pool:
    for seed, case in enumerate(cases()):
      if seed >= there:
        yield row(pool, case, seed, options.images)


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--images', type=int, default=100_000)
  parser.add_argument('--processes', type=int, default=os.cpu_count())
  parser.add_argument(
    '--output', type=folders.expand, default=pathlib.Path('coverage-open.md')
  )
  options = parser.parse_args()
  path = options.output
  lines = path.read_text().splitlines() if path.exists() else []
  with path.open('a') as file:
    for line in report(options, lines):
      print(line, flush=True)
      print(line, file=file, flush=True)
  if 'FAILS' in path.read_text():
    sys.exit(1)


if __name__ == '__main__':
  main()
