"""Mistakes, each of which has to be caught."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
from scipy import special

from benchmarks import coverage_bounds, coverage_coroutines
from benchmarks import coverage_cases as cases
from benchmarks.coverage_cases import Case
from dualrs_jax import confidence, look_bounds, lookups, sequential
from dualrs_jax.composition import agreement


def of_pilots(generator, images, *, z, start):
  """The classifier at the level that the estimator has selected.

  The levels are equally good and their votes antithetic; the estimator prefers
  whichever is about to win. With `start` None estimation starts where the
  classifier's own pilot stopped, though the estimator's may have gone on.
  """
  uniform = generator.random((images, cases.N0 + cases.N))
  level, _ = pilot(uniform < 0.5)
  uniform = np.where(level[:, None], 1 - uniform, uniform)
  won = uniform < special.ndtr(z)
  label, votes = pilot(won)
  start = votes if start is None else np.full(images, start)
  wins = np.pad(won.cumsum(axis=1), ((0, 0), (1, 0)))
  ends = start[:, None] + np.array([0, *cases.LOOKS])
  wins = np.take_along_axis(wins, ends, axis=1)
  return (cases.best(cases.share(1.0), wins[:, 1:] - wins[:, :1]) > z) & (
    label == 0
  )


def pilot(won):
  """Which of two was selected, and after how many votes."""
  looks = np.array([16, 32, 64, cases.N0])
  ahead = 2 * cases.at_looks(won[:, : cases.N0], looks) - looks
  clear = np.abs(ahead) >= 2.5 * np.sqrt(looks)
  clear[:, -1] = True
  stop = np.argmax(clear, axis=1)
  return (ahead[np.arange(len(won)), stop] < 0).astype(int), looks[stop]


def of_larger(generator, images, *, parts, z, noise):
  """Of two bounds, at these shares of alpha, the larger."""
  both = map(cases.at_looks, cases.draw(generator, images, (z, z), noise))
  found = [
    cases.best(cases.share(p), wins)
    for p, wins in zip(parts, both, strict=True)
  ]
  return np.maximum(*found) > z


def of_leader(generator, images):
  """A claim for the class that leads among the estimation votes, p = 1/2."""
  wins = cases.at_looks(cases.draw(generator, images, (0.0, 0.0), 'shared')[0])
  return cases.best(cases.share(1.0), np.maximum(wins, cases.LOOKS - wins)) > 0


def of_seeds(generator, images, *, z, seeds):
  """The largest radius of several runs."""
  draws = [
    coverage_bounds.of_one_stage(generator, images, table=cases.share(1.0), z=z)
    for _ in range(seeds)
  ]
  return np.any(draws, axis=0)


def mistakes() -> Iterator[Case]:
  z = cases.worst_truth(cases.share(1.0))
  attained = cases.exact_one(
    cases.LOOKS, cases.limits_of(cases.share(1.0), z), z
  )
  for name, start, exact, kind in (
    ('valid: estimation starts after all pilots', cases.N0, attained, 'equal'),
    ('estimation starts inside the pilot of a stage', None, None, 'caught'),
  ):
    event = functools.partial(of_pilots, z=z, start=start)
    yield Case(name, 'antithetic', event, exact, kind)
  for name, parts in (
    ('A_k at alpha where B_k was skipped', (1.0, agreement.agrees)),
    ('the larger of two certificates', (1.0, 1.0)),
  ):
    limits = [cases.limits_of(cases.share(part), z) for part in parts]
    for noise in ('antithetic', 'independent'):
      event = functools.partial(of_larger, parts=parts, z=z, noise=noise)
      exact = cases.exact_either(cases.LOOKS, limits, z, noise)
      yield Case(name, noise, event, exact, 'caught')
  limits = [cases.limits_of(cases.share(1.0), 0.0)] * 2
  exact = cases.exact_either(cases.LOOKS, limits, 0.0, 'antithetic')
  yield Case(
    'the class that estimation prefers', '', of_leader, exact, 'caught'
  )
  exact = 1 - (1 - attained) ** 3
  event = functools.partial(of_seeds, z=z, seeds=3)
  yield Case('the cases.best of three seeds', '', event, exact, 'caught')
  peeking = fixed_bounds(cases.ALPHA)
  exact = cases.exact_one(cases.LOOKS, cases.limits_of(peeking, z), z)
  event = functools.partial(coverage_bounds.of_one_stage, table=peeking, z=z)
  name = 'Clopper-Pearson of fixed n at every look'
  yield Case(name, '', event, exact, 'caught')
  plan, z, _ = coverage_coroutines.plan_of('single stage', 'radius')
  top, rivals, _ = plan.selected
  tables = [fixed_bounds(part.alpha) for part in (top, rivals)]
  selected = look_bounds.Tables(*map(lookups.Lookup, tables))
  event = functools.partial(
    coverage_coroutines.of_coroutine,
    plan=dataclasses.replace(plan, selected=selected),
    walks={0: 0},
    z=(z, z),
    noise='',
    patience=cases.ENDLESS,
  )
  exact = cases.exact_one(cases.LOOKS, cases.limits_of(tables[0], z), z)
  yield Case(f'{name}, in the coroutine', '', event, exact, 'caught')


def fixed_bounds(alpha):
  rows = [confidence.lower_z(n, alpha)[::-1] for n in cases.LOOKS]
  return sequential.SequentialTable(cases.LOOKS, alpha, np.concatenate(rows))
