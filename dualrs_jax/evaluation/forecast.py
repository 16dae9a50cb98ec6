"""What certificates are likely to be, from few votes; none of them is one.

Which certificate to ask for is a choice, and one that was made by looking at
test images voids what is claimed of them. It is made on others: each share of
a few votes stands for the probability of a vote, and a radius is the one that n
votes would be expected to give.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from dualrs_jax import composition, confidence, majorities
from dualrs_jax.composition import Bounds, CompositionRule
from dualrs_jax.evaluation import run_plans

#: Right and wrong votes that are added to each share: nothing is certain.
_SHRINKAGE = 0.02
_RESAMPLES = 2_000


class Votes(NamedTuple):
  """The votes on some images, and their classes.

  Attributes:
    labels: The true classes.
    estimator: Votes for each level; None without an estimator.
    classifier: Votes for each class, at each level.
  """

  labels: Int[np.ndarray, ' images']
  estimator: Int[np.ndarray, 'images levels'] | None
  classifier: Int[np.ndarray, 'images levels classes']


class Forecast(NamedTuple):
  """What one certification would be expected to give.

  Attributes:
    name: That of its folder.
    options: Fields of `config.certify` that ask for it.
    radius: Of each image, in pixel units; not positive where the answer is
      wrong or the image abstains.
  """

  name: str
  options: Mapping[str, Any]
  radius: Float[np.ndarray, ' images']


class Ahead(NamedTuple):
  """The mean ratio of a forecast less that of the best single level.

  Attributes:
    difference: It.
    error: Its standard error, for having few images.
  """

  difference: float
  error: float


def forecasts(
  votes: Votes,
  sigmas: Sequence[float],
  estimator_sigma: float,
  *,
  n: int,
  alpha: float,
) -> list[Forecast]:
  """Of plain smoothing at each level, every cascade of them, and the dual.

  Args:
    votes: Some votes on each image, and its class.
    sigmas: The K noise levels, in pixel units.
    estimator_sigma: The noise level of the estimator.
    n: The number of votes of the certification to come.
    alpha: Its failure probability.

  Returns:
    Forecasts: those of the levels in their order, cascades by their number of
    levels, and the dual under each composition rule if there is an estimator.
  """
  levels = np.asarray(sigmas, float)

  def lower(counts, of, share):
    shrunk = (counts + _SHRINKAGE) / (of + 2 * _SHRINKAGE)
    return confidence.predicted_lower_z(shrunk, n, share * alpha)

  def right(answer, radius):
    return np.where(answer == votes.labels, radius, -np.inf)

  answers = votes.classifier.argmax(-1)
  cast = votes.classifier.sum(-1)
  plain = levels * lower(votes.classifier.max(-1), cast, 1.0)
  found = [
    Forecast(
      f'single-{sigma:g}',
      {'smoothing': 'single', 'levels': (sigma,)},
      right(answers[:, level], plain[:, level]),
    )
    for level, sigma in enumerate(sigmas)
  ]
  for size in range(2, len(sigmas) + 1):
    for of in itertools.combinations(range(len(sigmas)), size):
      every = size == len(sigmas)
      chosen = tuple(sigmas[level] for level in of)
      name = ['cascade'] if every else ['cascade', *(f'{s:g}' for s in chosen)]
      options = {'smoothing': 'cascade', 'levels': () if every else chosen}
      answer, radius = _cascade(votes.classifier[:, of], levels[[*of]], lower)
      found.append(Forecast('-'.join(name), options, right(answer, radius)))
  if votes.estimator is not None:
    for rule in run_plans.RULES.values():
      answer, radius = _dual(votes, levels, estimator_sigma, rule, lower)
      options = {'smoothing': 'dual', 'certificate': rule.name}
      name = f'dual-{rule.name}'
      found.append(Forecast(name, options, right(answer, radius)))
  return found


def _dual(
  votes: Votes,
  sigmas: Float[np.ndarray, ' levels'],
  estimator_sigma: float,
  rule: CompositionRule,
  lower: Callable[..., Any],
):
  """What the dual answers, and its radius under a rule."""
  of_levels = votes.estimator
  assert of_levels is not None
  level = of_levels.argmax(-1)
  total = of_levels.sum(-1, keepdims=True)
  answer = composition.take(votes.classifier.argmax(-1), level)
  agreeing = composition.votes_for(votes.classifier, answer)
  cast = votes.classifier.sum(-1)

  def bound(counts, of, share):
    return lower(counts, of, share) if share else np.full(counts.shape, -np.inf)

  bounds = Bounds(
    keeps=bound(composition.take(of_levels, level), total[:, 0], rule.keeps),
    avoids=bound(total - of_levels, total, rule.avoids),
    selected=bound(
      composition.take(agreeing, level),
      composition.take(cast, level),
      rule.selected_share(len(sigmas)),
    ),
    agrees=bound(agreeing, cast, rule.agrees),
  )
  radii = composition.compose(bounds, level, sigmas, estimator_sigma)
  return answer, radii.radius


def _cascade(
  counts: Int[np.ndarray, 'images levels classes'],
  sigmas: Float[np.ndarray, ' levels'],
  lower: Callable[..., Any],
):
  """What a cascade of some levels answers, and its radius.

  Half of the votes choose level and class, as far fewer do than bound; all of
  them bound, as at the single levels to which it is compared.
  """
  rng = np.random.default_rng(0)
  chosen_by = np.stack(
    [
      [rng.multivariate_hypergeometric(row, row.sum() // 2) for row in rows]
      for rows in counts
    ]
  )
  likely = majorities.likely_z(chosen_by, chosen_by.sum(-1))
  level, answer, _ = majorities.choose(likely, sigmas)
  of = counts.sum(-1, keepdims=True)
  bounds = majorities.Bounds(
    wins=lower(counts, of, 1.0), loses=lower(of - counts, of, 1.0)
  )
  return answer, np.minimum(*majorities.radii(bounds, level, answer, sigmas))


def reached(
  radius: Float[np.ndarray, '*images'], radii: Sequence[float]
) -> Bool[np.ndarray, '*images radii']:
  """Whether images are right and certified at each radius."""
  return (radius > 0)[..., None] & (radius[..., None] >= np.asarray(radii))


def singles(found: Sequence[Forecast]) -> Float[np.ndarray, 'levels images']:
  """The radii at the single levels."""
  return np.stack(
    [f.radius for f in found if f.options['smoothing'] == 'single']
  )


def mean_ratio(
  found: Forecast, levels: Float[np.ndarray, 'levels images'], radii
) -> float:
  """The mean ratio to the best single level at each radius.

  Radii that no level reaches are left out; NaN where none is left.
  """
  ratios, _ = _mean_ratios(found, levels, radii, np.ones((1, levels.shape[1])))
  return float(ratios[0])


def ahead(
  found: Forecast, levels: Float[np.ndarray, 'levels images'], radii
) -> Ahead:
  """How far a forecast is ahead of the best constant choice of a level.

  The standard error is that of a paired bootstrap over images, in which each
  resample has its own best level, at each radius and as a constant.
  """
  images = levels.shape[1]
  rng = np.random.default_rng(0)
  draws = rng.multinomial(images, np.full(images, 1 / images), size=_RESAMPLES)
  weights = np.concatenate([np.ones((1, images)), draws])
  ratios, constants = _mean_ratios(found, levels, radii, weights)
  difference = ratios - constants
  return Ahead(float(difference[0]), float(difference[1:].std()))


def _mean_ratios(found, levels, radii, weights):
  """Mean ratios of a forecast and of the best constant, by resample."""
  of_levels = reached(levels, radii)
  used = of_levels.any((0, 1))
  if not used.any():
    nothing = np.full(len(weights), np.nan)
    return nothing, nothing
  counted = np.einsum('ri,kia->kar', weights, of_levels[..., used])
  envelope = np.maximum(counted.max(0), 1)
  ours = np.einsum('ri,ia->ar', weights, reached(found.radius, radii)[:, used])
  constants = (counted / envelope).mean(1)
  return (ours / envelope).mean(0), constants.max(0)
