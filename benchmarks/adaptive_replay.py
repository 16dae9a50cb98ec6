"""The cost of adaptive certification, replayed from recorded votes.

  python -m benchmarks.adaptive_replay runs/digits-full

Records the class of every vote once: of the estimator, and of the classifier
at every level, on all test images. Then replays certification from these votes
under many random orders: with the fixed number n, and adaptively for every
goal. An order is shared by all stages of an image, as their noise is. Costs are
in units of standard smoothing, n0 + n classifier votes; a vote of the estimator
counts as much as was measured. `full, oracle` is what `full` would cost under
the first order if it were known beforehand which looks give its radius. The
recording is kept in the working directory, for another call with the same
networks.
"""

import argparse
import concurrent.futures
import functools
import os
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from configs import digits
from dualrs_jax import (
  composition,
  decisions,
  folders,
  lookups,
  noise,
  plans,
  vote_batches,
)
from dualrs_jax.base import Counts
from dualrs_jax.data import to_unit
from dualrs_jax.decisions import ESTIMATOR
from dualrs_jax.evaluation import (
  run_inputs,
  smoothed_networks,
)

GOALS = {
  'predict': (0.0,),
  'radius 0.5': (0.5,),
  'grid': digits.RADII,
  'full': (),
  'full, within 1%': (),
  'full, within 2%': (),
  'full, within 5%': (),
  'open, grid': digits.RADII,
  'open, full': (),
  'open, full, within 2%': (),
}
RULE = composition.agreement
_STEP = 500


class Result(NamedTuple):
  """One image under one order and one method.

  Attributes:
    predict: The class, or -1.
    radius: Its radius.
    classifier: Votes that the classifier cast.
    estimator: Votes that the estimator cast.
  """

  predict: int
  radius: float
  classifier: int
  estimator: int


def load(workdir, config):
  """The recording of these networks, made where there is none."""
  source = run_inputs.load_source(config)
  networks: Any = run_inputs.load_networks(config, workdir, source)
  estimator, classifier = networks
  fingerprints = [
    smoothed_networks.fingerprint(network) for network in networks
  ]
  path = workdir / 'recorded_votes.npz'
  if not path.exists():
    record(source, estimator, classifier, config, path, fingerprints)
  recorded = np.load(path)
  if recorded['fingerprints'].tolist() != fingerprints:
    raise SystemExit(f'{path} has votes of other networks; move it away.')
  return recorded


def record(source, estimator, classifier, config, path, fingerprints):
  """Casts n0 + n votes of each stage on each image; int8 [images, stages, *].

  Stage 0 is the estimator, the others are the levels of the classifier.
  """
  options = config.certify
  votes = options.n0 + options.n
  key = jax.random.key(0)
  cast = jax.jit(vote_batches.cast_batch)
  stages = [(estimator, config.estimator_sigma)]
  stages += [(classifier, sigma) for sigma in config.sigmas]
  table = np.empty((len(source), len(stages), votes), np.int8)
  seconds = np.zeros(len(stages))
  for position in range(len(source)):
    image = to_unit(source.gather(np.array([position]))[0])
    for stage, (network, sigma) in enumerate(stages):
      start = time.perf_counter()
      for first in range(0, votes, _STEP):
        step = vote_batches.VoteBatch(
          slot=jnp.zeros(_STEP, jnp.int32),
          index=jnp.full(_STEP, source.indices[position], jnp.uint32),
          split=jnp.full(_STEP, noise.ESTIMATION),
          vote=first + jnp.arange(_STEP),
          sigma=jnp.full(_STEP, sigma, jnp.float32),
        )
        found = np.asarray(cast(network, image, key, noise.gaussian, step))
        table[position, stage, first : first + _STEP] = found[: votes - first]
      if position:  # the first one compiles
        seconds[stage] += time.perf_counter() - start
  weight = seconds[0] / seconds[1:].mean()
  np.savez(
    path,
    votes=table,
    labels=source.labels,
    weight=weight,
    num_classes=source.num_classes,
    fingerprints=fingerprints,
  )


@functools.cache
def make_plan(goal):
  """The plan of a goal, once per process."""
  config: Any = digits.get_config('full')
  words = goal.removeprefix('open, ').replace(',', '').split()
  return plans.plan(
    config.sigmas,
    config.estimator_sigma,
    goal='radius' if goal == 'predict' else words[0],
    radii=GOALS[goal],
    n0=config.certify.n0,
    n=config.certify.n,
    alpha=config.certify.alpha,
    certificate=RULE,
    bounds=_bounds(goal),
    tolerance=float(words[-1][:-1]) / 100 if 'within' in words else 0.0,
  )


def _bounds(goal):
  if goal == 'predict':
    return lookups.deciding
  return lookups.open_ended if 'open' in goal else lookups.planned


def replay_image(votes, classes, orders, seed):
  """All methods on one image under random orders: Result by method, order."""
  config: Any = digits.get_config('full')
  n0, n = config.certify.n0, config.certify.n
  levels = len(config.sigmas)
  rng = np.random.default_rng(seed)
  names = ('paper', 'fixed', *GOALS, 'full, oracle')
  results = {name: [] for name in names}
  for _ in range(orders):
    shuffled = votes[:, rng.permutation(votes.shape[1])]
    width = [levels] + [classes] * levels

    def count(stage, split, number, shuffled=shuffled, width=width):
      start = n0 if split == noise.ESTIMATION else 0
      row = shuffled[stage + 1 if stage != ESTIMATOR else 0]
      size = width[stage + 1 if stage != ESTIMATOR else 0]
      cast = row[start : start + number]
      return np.bincount(cast, minlength=size + 1)[:size]

    estimator, classifier = _all_counts(count, levels, n0, n)
    for name, rule in (('paper', composition.paper), ('fixed', RULE)):
      found = rule(
        estimator,
        classifier,
        config.sigmas,
        config.estimator_sigma,
        n=n,
        alpha=config.certify.alpha,
      )
      result = Result(
        int(found.prediction), float(found.radius), n0 + n, n0 + n
      )
      results[name].append(result)
    for goal in GOALS:
      results[goal].append(_replay(make_plan(goal), count))
    if not results['full, oracle']:
      plan = make_plan('full')
      results['full, oracle'].append(
        _oracle(plan, count, _certify(plan, count))
      )
  return results


def _all_counts(count, levels, n0, n):
  def both(stages):
    return Counts(
      *(
        np.array([count(stage, split, number) for stage in stages])
        for split, number in ((noise.SELECTION, n0), (noise.ESTIMATION, n))
      )
    )

  estimator = both([ESTIMATOR])
  return Counts(*(votes[0] for votes in estimator)), both(range(levels))


def _replay(plan, count) -> Result:
  found = _certify(plan, count)
  return Result(
    found.prediction,
    found.radius,
    sum(int(split.sum()) for split in found.classifier_cast),
    sum(found.estimator_cast),
  )


def _certify(plan, count):
  image = decisions.certification(plan)
  request = next(image)
  while True:
    try:
      request = image.send(count(*request))
    except StopIteration as stop:
      return stop.value


def _oracle(plan, count, found) -> Result:
  """The fewest votes of each stage, the others given, with the same radius."""
  level = found.sigma_index
  costs = {}
  for stage in (ESTIMATOR, level):
    looks = plan.looks if found.radius > 0 else ()
    enough = (
      look
      for look in looks
      if _with_look(plan, count, found, stage, look) >= found.radius
    )
    costs[stage] = next(enough, 0)
  return Result(found.prediction, found.radius, costs[level], costs[ESTIMATOR])


def _with_look(plan, count, found, stage, look) -> float:
  """The radius, had a stage stopped at another look."""
  counts = count(stage, noise.ESTIMATION, look)
  estimator, classifier = found.estimator_counts, found.classifier_counts
  estimator_cast, classifier_cast = found.estimator_cast, found.classifier_cast
  if stage == ESTIMATOR:
    estimator = estimator._replace(estimation=counts)
    estimator_cast = estimator_cast._replace(estimation=look)
  else:
    votes, cast = (
      classifier.estimation.copy(),
      classifier_cast.estimation.copy(),
    )
    votes[stage], cast[stage] = counts, look
    classifier = classifier._replace(estimation=votes)
    classifier_cast = classifier_cast._replace(estimation=cast)
  again = plans.certificate_of_counts(
    estimator, classifier, estimator_cast, classifier_cast, plan
  )
  return again.radius


def markdown(results, labels, weight, radii):
  """The table: cost and certified accuracy, means over images and orders."""
  config: Any = digits.get_config('full')
  standard = config.certify.n0 + config.certify.n
  tables = {
    name: np.array([image[name] for image in results], float)
    for name in results[0]
  }
  lines = [
    '| | cost | classifier | estimator | mean radius | '
    + ' | '.join(f'r = {radius:g}' for radius in radii)
    + ' |',
    '|---' * (5 + len(radii)) + '|',
  ]
  for name, table in tables.items():
    right = table[..., 0] == labels[:, None]
    classifier, estimator = table[..., 2:].mean(axis=(0, 1)) / standard
    cells = [
      f'{100 * (right & (table[..., 1] >= radius)).mean():.2f}'
      if len(GOALS.get(name, ())) != 1 or radius in GOALS[name]
      else '-'
      for radius in radii
    ]
    cost = classifier + weight * estimator
    mean = f'{table[..., 1].mean():.4f}' if 'full' in name else '-'
    if name in ('paper', 'fixed'):
      mean = f'{table[..., 1].mean():.4f}'
    lines.append(
      f'| {name} | {cost:.3f} | {classifier:.3f} | {estimator:.3f} | {mean} | '
      + ' | '.join(cells)
      + ' |'
    )
  at_least = tables['full'][..., 1] >= tables['paper'][..., 1]
  lines += [
    '',
    f'Cost of a vote of the estimator: {weight:.2f} of one of the classifier.'
    f' `full` is at least the radius of `paper` in {100 * at_least.mean():.2f}%'
    ' of all cases.',
  ]
  return '\n'.join(lines)


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('workdir', type=folders.expand)
  parser.add_argument('--orders', type=int, default=200)
  parser.add_argument('--images', type=int, default=None)
  parser.add_argument('--processes', type=int, default=os.cpu_count())
  arguments = parser.parse_args()
  config: Any = digits.get_config('full')
  recorded = load(arguments.workdir, config)
  votes, labels = recorded['votes'], recorded['labels']
  votes, labels = votes[: arguments.images], labels[: arguments.images]
  classes = int(recorded['num_classes'])
  with concurrent.futures.ProcessPoolExecutor(arguments.processes) as pool:
    jobs = [
      pool.submit(replay_image, image, classes, arguments.orders, seed)
      for seed, image in enumerate(votes)
    ]
    results = [job.result() for job in jobs]
  print(
    f'{len(votes)} images, {arguments.orders} orders, n = {config.certify.n:,},'
    f' alpha = {config.certify.alpha:g}, rule `{RULE.name}`.\n'
  )
  print(markdown(results, labels, float(recorded['weight']), digits.RADII))


if __name__ == '__main__':
  main()
