"""How often adaptive certificates are wrong: as often as they may be.

  python benchmarks/coverage.py --output benchmarks/results/coverage.md

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

Two stages see the same noise, opposite noise (u and 1 - u), or independent
noise. `exact_either` follows the failures of both, vote by vote; it has
nothing in common with the program that made the boundaries.
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import itertools
import multiprocessing
import os
import platform
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import scipy
from scipy import special, stats

from dualrs_jax import (
  boundaries,
  composition,
  confidence,
  decisions,
  folders,
  plans,
  sequential,
)
from dualrs_jax.composition import Bounds, agreement, minimum
from dualrs_jax.decisions import ESTIMATOR
from dualrs_jax.noise import ESTIMATION, SELECTION

ALPHA = 0.05
N = 256
N0 = 128
LOOKS = sequential.default_looks(N)
NOISES = ('shared', 'antithetic', 'independent')
#: Of the interval that an exact probability leaves, on either side.
FALSE_ALARM = 1e-6
#: The truth lies this far below a point of the grid, and the radius that is
#: asked for in between.
BELOW = 1e-6
#: In standard deviations: to give up only what cannot be reached.
ENDLESS = 1e4
CHUNK = 5_000


@dataclasses.dataclass(frozen=True)
class Case:
  """What is simulated, and how often it has to go wrong.

  Attributes:
    name: What is done.
    noise: That of the two stages, or '' where there is one.
    event: From a generator and a number of images, which of them were given a
      wrong certificate.
    exact: The probability of that, if it is known.
    kind: 'equal' and 'not above' say how it compares with `exact`; 'caught'
      that it exceeds ALPHA, too, by more than chance.
    effort: A multiple of the usual number of images.
  """

  name: str
  noise: str
  event: Callable[[np.random.Generator, int], Any]
  exact: float | None
  kind: str = 'equal'
  effort: int = 1

  def interval(self, images: int) -> tuple[int, int]:
    """How many wrong certificates pass."""
    low, high = 0, images
    if self.exact is not None:
      low, high = explained(images, self.exact)
    if self.kind == 'not above':
      low = 0
    if self.kind == 'caught':
      low = max(low, explained(images, ALPHA)[1] + 1)
    return low, high


def explained(images: int, probability: float) -> tuple[int, int]:
  law = stats.binom(images, probability)
  return int(law.ppf(FALSE_ALARM)), int(law.isf(FALSE_ALARM))


# Exact probabilities. A limit is the largest number of failures, for a look,
# after which the bound is above the truth.


def limits_of(table, z):
  return [
    np.count_nonzero(table.lower_z(k, n - np.arange(n + 1)) > z) - 1
    for k, n in enumerate(table.looks)
  ]


def exact_one(looks, limits, z):
  """P[failures within the limit of some look], at the truth z."""
  fail = special.ndtr(-z)
  law = np.zeros(looks[-1] + 1)
  law[0] = 1
  limit = dict(zip(looks, limits, strict=True))
  for vote in range(1, looks[-1] + 1):
    law[1 : vote + 1] = law[1 : vote + 1] * (1 - fail) + law[:vote] * fail
    law[0] *= 1 - fail
    law[: limit.get(vote, -1) + 1] = 0
  return 1 - law.sum()


def exact_either(looks, limits, z, noise):
  """P[the failures of either stage are within a limit of theirs].

  Both stages have the truth z, and limits of their own.
  """
  fail = special.ndtr(-z)
  both = {
    'shared': fail,
    'antithetic': max(2 * fail - 1, 0.0),
    'independent': fail**2,
  }[noise]
  law = np.zeros((looks[-1] + 1,) * 2)
  law[0, 0] = 1
  limit = dict(zip(looks, zip(*limits, strict=True), strict=True))
  for vote in range(1, looks[-1] + 1):
    old = law[:vote, :vote].copy()
    law[:vote, :vote] *= 1 - 2 * fail + both
    law[1 : vote + 1, :vote] += (fail - both) * old
    law[:vote, 1 : vote + 1] += (fail - both) * old
    law[1 : vote + 1, 1 : vote + 1] += both * old
    first, second = limit.get(vote, (-1, -1))
    law[: first + 1] = 0
    law[:, : second + 1] = 0
  return 1 - law.sum()


def exact_both(looks, limits, z, noise):
  single = sum(exact_one(looks, own, z) for own in limits)
  return single - exact_either(looks, limits, z, noise)


@functools.cache
def worst_truth(*tables, near=0.5, points=64):
  """Of some points, the one below which the tables fail most often."""
  looks = tables[0].looks
  grid = boundaries.grid(looks[-1], ALPHA)
  grid = grid[np.searchsorted(grid, near) :][: 4 * points : 4]
  wrong = [
    sum(exact_one(looks, limits_of(table, z), z) for table in tables)
    for z in grid - BELOW
  ]
  return float(grid[np.argmax(wrong)] - BELOW)


@functools.cache
def share(part):
  """The bounds that a share of alpha gives."""
  return sequential.table(N, part * ALPHA)


# Simulated votes, and which of the certificates are wrong.


def draw(generator, images, z, noise, votes=N):
  """For each of two stages, which votes are won: Phi(z) of them."""
  first = second = generator.random((images, votes))
  if noise == 'antithetic':
    second = 1 - first
  if noise == 'independent':
    second = generator.random((images, votes))
  return first < special.ndtr(z[0]), second < special.ndtr(z[1])


def at_looks(won, looks=LOOKS):
  """Wins among the first votes, for each look."""
  parts = np.add.reduceat(won, [0, *looks[:-1]], axis=1, dtype=np.int64)
  return parts.cumsum(axis=1)


def best(table, wins):
  """The largest bound of all looks."""
  return table.lower_z(np.arange(len(table.looks)), wins).max(axis=1)


def of_one_stage(generator, images, *, table, z):
  steps = np.diff(table.looks, prepend=0)
  size = (images, len(steps))
  wins = generator.binomial(steps, special.ndtr(z), size).cumsum(axis=1)
  return best(table, wins) > z


def of_rule(generator, images, *, rule, z, noise):
  """The radius of two levels, all sigmas 1: the smaller z is the truth.

  Under `minimum` the two walks are the estimator and the classifier at the
  selected level. Under `agreement` they are the estimator and the classifier
  at the other level; the one at the selected level is certain.
  """
  estimator, classifier = map(at_looks, draw(generator, images, z, noise))
  avoids, agrees = np.full((2, images, 2), -np.inf)
  selected = np.full(images, np.inf)
  if rule.agrees:
    # Of two levels, a vote that is not for the one is for the other.
    avoids[:, 1] = best(share(rule.avoids), estimator)
    agrees[:, 1] = best(share(rule.agrees), classifier)
  else:
    selected = best(share(rule.selected), classifier)
  radii = composition.compose(
    Bounds(best(share(rule.keeps), estimator), avoids, selected, agrees),
    np.zeros(images, int),
    (1.0, 1.0),
    1.0,
  )
  return radii.radius > min(z)


def of_coroutine(generator, images, *, plan, walks, z, noise, patience):
  """Images that start with selection and end with a certificate.

  `walks` says which of two walks with the truth z the votes of a stage follow;
  one that it does not name is certain.
  """
  drawn = {}
  for split, looks in (
    (SELECTION, plan.selection_looks),
    (ESTIMATION, plan.looks),
  ):
    for walk, won in enumerate(draw(generator, images, z, noise, looks[-1])):
      wins = at_looks(won, looks).T.tolist()
      drawn[walk, split] = dict(zip(looks, wins, strict=True))

  def counts(image, request):
    wins = votes = request.votes
    if request.stage in walks:
      wins = drawn[walks[request.stage], request.split][votes][image]
    return np.array([wins, votes - wins])

  with mock.patch.object(decisions, '_PATIENCE', patience):
    found = [
      certificate(plan, functools.partial(counts, image))
      for image in range(images)
    ]
  # The radius of the other class is negative.
  return np.array([c.radius > (0 if c.prediction else min(z)) for c in found])


def certificate(plan, counts):
  """Runs the coroutine of one image."""
  certification = decisions.certification(plan)
  request = next(certification)
  try:
    while True:
      request = certification.send(counts(request))
  except StopIteration as end:
    return end.value


def of_pilots(generator, images, *, z, start):
  """The classifier at the level that the estimator has selected.

  The levels are equally good and their votes antithetic; the estimator prefers
  whichever is about to win. With `start` None estimation starts where the
  classifier's own pilot stopped, though the estimator's may have gone on.
  """
  uniform = generator.random((images, N0 + N))
  level, _ = pilot(uniform < 0.5)
  uniform = np.where(level[:, None], 1 - uniform, uniform)
  won = uniform < special.ndtr(z)
  label, votes = pilot(won)
  start = votes if start is None else np.full(images, start)
  wins = np.pad(won.cumsum(axis=1), ((0, 0), (1, 0)))
  ends = start[:, None] + np.array([0, *LOOKS])
  wins = np.take_along_axis(wins, ends, axis=1)
  return (best(share(1.0), wins[:, 1:] - wins[:, :1]) > z) & (label == 0)


def pilot(won):
  """Which of two was selected, and after how many votes."""
  looks = np.array([16, 32, 64, N0])
  ahead = 2 * at_looks(won[:, :N0], looks) - looks
  clear = np.abs(ahead) >= 2.5 * np.sqrt(looks)
  clear[:, -1] = True
  stop = np.argmax(clear, axis=1)
  return (ahead[np.arange(len(won)), stop] < 0).astype(int), looks[stop]


def of_larger(generator, images, *, parts, z, noise):
  """Of two bounds, at these shares of alpha, the larger."""
  both = map(at_looks, draw(generator, images, (z, z), noise))
  found = [best(share(p), wins) for p, wins in zip(parts, both, strict=True)]
  return np.maximum(*found) > z


def of_leader(generator, images):
  """A claim for the class that leads among the estimation votes, p = 1/2."""
  wins = at_looks(draw(generator, images, (0.0, 0.0), 'shared')[0])
  return best(share(1.0), np.maximum(wins, LOOKS - wins)) > 0


def of_seeds(generator, images, *, z, seeds):
  """The largest radius of several runs."""
  draws = [
    of_one_stage(generator, images, table=share(1.0), z=z) for _ in range(seeds)
  ]
  return np.any(draws, axis=0)


# The cases.


def bounds_cases() -> Iterator[Case]:
  z = worst_truth(share(1.0))
  limits = limits_of(share(1.0), z)
  attained = exact_one(LOOKS, limits, z)
  event = functools.partial(of_one_stage, table=share(1.0), z=z)
  yield Case('single stage', '', event, attained)
  far = 8.0
  for noise in NOISES:
    for name, pair in (('estimator', (z, far)), ('classifier', (far, z))):
      event = functools.partial(of_rule, rule=minimum, z=pair, noise=noise)
      yield Case(f'minimum, the {name} limits', noise, event, attained)
    event = functools.partial(of_rule, rule=minimum, z=(z, z), noise=noise)
    exact = exact_both(LOOKS, (limits, limits), z, noise)
    yield Case('minimum, both limit', noise, event, exact)
  parts = [share(agreement.keeps), share(agreement.agrees)]
  # Of two levels, the two-sided form of A_k adds nothing.
  assert np.all(share(agreement.avoids).bounds <= parts[0].bounds)
  z = worst_truth(*parts)
  limits = [limits_of(part, z) for part in parts]
  for noise in NOISES:
    event = functools.partial(of_rule, rule=agreement, z=(z, z), noise=noise)
    exact = exact_either(LOOKS, limits, z, noise)
    yield Case('agreement, A_k = B_k', noise, event, exact)


def published_case() -> Case:
  table = sequential.table(10_000, 0.001)
  z = worst_truth(table, near=1.5, points=8)
  exact = exact_one(table.looks, limits_of(table, z), z)
  event = functools.partial(of_one_stage, table=table, z=z)
  name = 'single stage, n = 10,000, alpha = 0.001'
  return Case(name, '', event, exact, effort=10)


#: The rule, which stages follow which walk, and when both of them matter.
COROUTINES = {
  'single stage': (minimum, {0: 1}, None),
  'minimum, both limit': (minimum, {ESTIMATOR: 0, 0: 1}, exact_both),
  'agreement, A_k = B_k': (agreement, {ESTIMATOR: 0, 1: 1}, exact_either),
}


def plan_of(name, goal):
  """A plan, the truth at which it fails most often, and its limits there."""
  rule, _, combine = COROUTINES[name]
  plan = plans.plan(
    (1.0,) if combine is None else (1.0, 1.0),
    1.0,
    goal=goal,
    radii=() if goal == 'full' else (1.0,),
    n0=N0,
    n=N,
    alpha=ALPHA,
    certificate=rule,
  )
  top, rival = plan.agrees or plan.selected
  # Of two classes, the form with a runner-up adds nothing.
  assert np.all(rival.table.bounds <= top.table.bounds)
  tables = (plan.keeps.table, top.table)
  z = worst_truth(*(tables if plan.agrees else tables[1:]))
  asked = z + BELOW / 2
  radii = {'radius': (asked,), 'grid': (0.25, asked, asked + 0.25), 'full': ()}
  plan = dataclasses.replace(plan, radii=radii[goal])
  return plan, z, [limits_of(table, z) for table in tables]


def coroutine_case(name, goal, noise, patience=None) -> Case:
  """The coroutine, as patient as it is or as it is made to be."""
  plan, z, limits = plan_of(name, goal)
  _, walks, combine = COROUTINES[name]
  event = functools.partial(
    of_coroutine,
    plan=plan,
    walks=walks,
    z=(z, z),
    noise=noise,
    patience=decisions._PATIENCE if patience is None else patience,
  )
  if combine is None:
    exact = exact_one(LOOKS, limits[1], z)
  else:
    exact = combine(LOOKS, limits, z, noise)
  title = f'{name}, goal {goal}' + ', endless' * (patience == ENDLESS)
  kind = 'equal' if patience == ENDLESS else 'not above'
  return Case(title, noise, event, exact, kind)


def coroutine_cases() -> Iterator[Case]:
  for name, (_, _, combine) in COROUTINES.items():
    noises = NOISES if combine else ('',)
    for patience in (ENDLESS, None):
      for noise in noises:
        yield coroutine_case(name, 'radius', noise, patience)
    # The noise under which both stages fail most often.
    worst = 'antithetic' if combine is exact_either else noises[0]
    for goal in ('grid', 'full'):
      yield coroutine_case(name, goal, worst)


def mistakes() -> Iterator[Case]:
  z = worst_truth(share(1.0))
  attained = exact_one(LOOKS, limits_of(share(1.0), z), z)
  for name, start, exact, kind in (
    ('valid: estimation starts after all pilots', N0, attained, 'equal'),
    ('estimation starts inside the pilot of a stage', None, None, 'caught'),
  ):
    event = functools.partial(of_pilots, z=z, start=start)
    yield Case(name, 'antithetic', event, exact, kind)
  for name, parts in (
    ('A_k at alpha where B_k was skipped', (1.0, agreement.agrees)),
    ('the larger of two certificates', (1.0, 1.0)),
  ):
    limits = [limits_of(share(part), z) for part in parts]
    for noise in ('antithetic', 'independent'):
      event = functools.partial(of_larger, parts=parts, z=z, noise=noise)
      exact = exact_either(LOOKS, limits, z, noise)
      yield Case(name, noise, event, exact, 'caught')
  limits = [limits_of(share(1.0), 0.0)] * 2
  exact = exact_either(LOOKS, limits, 0.0, 'antithetic')
  yield Case(
    'the class that estimation prefers', '', of_leader, exact, 'caught'
  )
  exact = 1 - (1 - attained) ** 3
  event = functools.partial(of_seeds, z=z, seeds=3)
  yield Case('the best of three seeds', '', event, exact, 'caught')
  peeking = fixed_bounds(ALPHA)
  exact = exact_one(LOOKS, limits_of(peeking, z), z)
  event = functools.partial(of_one_stage, table=peeking, z=z)
  name = 'Clopper-Pearson of fixed n at every look'
  yield Case(name, '', event, exact, 'caught')
  plan, z, _ = plan_of('single stage', 'radius')
  tables = [fixed_bounds(part.table.alpha) for part in plan.selected]
  selected = tuple(map(plans.Lookup, tables))
  event = functools.partial(
    of_coroutine,
    plan=dataclasses.replace(plan, selected=selected),
    walks={0: 0},
    z=(z, z),
    noise='',
    patience=ENDLESS,
  )
  exact = exact_one(LOOKS, limits_of(tables[0], z), z)
  yield Case(f'{name}, in the coroutine', '', event, exact, 'caught')


def fixed_bounds(alpha):
  rows = [confidence.lower_z(n, alpha)[::-1] for n in LOOKS]
  return sequential.SequentialTable(LOOKS, alpha, np.concatenate(rows))


# The report.


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
    f'`{" ".join(["python", *sys.argv])}`',
    '',
    f'Looks {", ".join(map(str, LOOKS))}, alpha = {ALPHA:g}. The truth is just'
    ' below the grid point where the bounds are wrong most often. What is'
    f' measured has to lie in the interval, which has a false alarm rate of'
    f' {FALSE_ALARM:g} on either side.',
    '',
    f'Machine: {os.cpu_count()} CPU cores ({platform.machine()}), Python'
    f' {platform.python_version()}, NumPy {np.__version__}, SciPy'
    f' {scipy.__version__}.',
  )
  sections = (
    (
      'Bounds',
      'A claim at any look counts.',
      [*bounds_cases(), published_case()],
      options.images,
    ),
    (
      'The coroutine',
      'The claim with which it ends; `endless` where it was made to go on while'
      ' the radius can be reached at all. Bounds on a classifier have 0.9 of'
      ' alpha, their runner-up the rest.',
      list(coroutine_cases()),
      options.coroutines,
    ),
    (
      'Mistakes',
      f'What passes exceeds alpha = {ALPHA:g} by more than chance, and equals'
      ' what is computed for the mistake.',
      list(mistakes()),
      options.coroutines,
    ),
  )
  context = multiprocessing.get_context('spawn')
  with concurrent.futures.ProcessPoolExecutor(mp_context=context) as pool:
    seeds = itertools.count()
    for title, remark, cases, images in sections:
      yield from (
        '',
        f'## {title}',
        '',
        remark,
        '',
        '| case | noise | images | exact | interval | measured | verdict |',
        '|---|---|---|---|---|---|---|',
      )
      for case in cases:
        yield row(pool, case, next(seeds), images)


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--images', type=int, default=400_000)
  parser.add_argument('--coroutines', type=int, default=100_000)
  parser.add_argument('--output', type=folders.expand)
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
