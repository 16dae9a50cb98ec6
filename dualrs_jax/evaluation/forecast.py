"""What certificates are likely to be, from few votes; none of them is one.

Which certificate to ask for is a choice, and one that was made by looking at
test images voids what is claimed of them. It is made on others, from few votes:
how probable the votes of a network are is drawn from what these leave open,
votes of a certification are drawn from that, and certified as they would be.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from dualrs_jax import majorities, posterior, smoothing
from dualrs_jax.base import Counts
from dualrs_jax.evaluation import forecast_runner_up, run_plans

#: Certifications that are drawn for each image.
_DRAWS = 8
_RESAMPLES = 2_000
#: Levels above which only pairs are cascades, and all together.
_MOST_LEVELS = 4
_SEED = 0


class Votes(NamedTuple):
  """The votes on some images, and their classes.

  Attributes:
    labels: The true classes.
    cast: How many votes each network cast on an image, at each level; those
      that are missing below are invalid.
    estimator: Valid votes for each level; None without an estimator.
    classifier: Valid votes for each class, at each level.
  """

  labels: Int[np.ndarray, ' images']
  cast: int
  estimator: Int[np.ndarray, 'images levels'] | None
  classifier: Int[np.ndarray, 'images levels classes']


class Forecast(NamedTuple):
  """What one certification is likely to give.

  Attributes:
    name: That of its folder.
    options: Fields of `config.certify` that ask for it.
    radius: In pixel units, of each image in some certifications that were
      drawn; 0 where the answer is wrong or the image abstains.
  """

  name: str
  options: Mapping[str, Any]
  radius: Float[np.ndarray, 'draws images']


class Lead(NamedTuple):
  """How far the best of some forecasts is ahead of every single level.

  Attributes:
    best: The place of the forecast with the largest mean ratio.
    ahead: That less the largest one of a single level.
    error: Its standard error for having few images; in each resample of these
      the best is chosen anew.
  """

  best: int
  ahead: float
  error: float


def forecasts(
  votes: Votes,
  sigmas: Sequence[float],
  estimator_sigma: float,
  *,
  n0: int,
  n: int,
  alpha: float,
  runner_up: bool = False,
) -> list[Forecast]:
  """Of plain smoothing at each level, of cascades, and of the dual.

  Args:
    votes: Some votes on each image, and its class.
    sigmas: The K noise levels, in pixel units.
    estimator_sigma: The noise level of the estimator.
    n0: The number of selection votes to come, of each network and level.
    n: The number of estimation votes to come.
    alpha: The failure probability.
    runner_up: Whether the runner-up is bounded, as adaptive certification does;
      in cascades, and where a rule falls back, at the smallest level alone.

  Returns:
    Forecasts: those of the levels in their order, cascades by their number of
    levels, and the dual under each composition rule if there is an estimator.
  """
  rng = np.random.default_rng(_SEED)
  levels = np.asarray(sigmas, float)
  statistics = {'n': n, 'alpha': alpha}

  def to_come(counts) -> Counts:
    return draw(counts, votes.cast, n0=n0, n=n, rng=rng)

  def right(certificate):
    return np.where(
      certificate.prediction == votes.labels, certificate.radius, 0.0
    )

  single, cascade = (
    (forecast_runner_up.single, forecast_runner_up.cascade)
    if runner_up
    else (smoothing.certificate_of_counts, majorities.certificate_of_counts)
  )
  each = [to_come(votes.classifier[:, k]) for k in range(len(levels))]
  classifier = Counts(
    *(np.stack(splits, -2) for splits in zip(*each, strict=True))
  )
  found = [
    Forecast(
      f'single-{sigma:g}',
      {'smoothing': 'single', 'levels': (sigma,)},
      right(single(counts, sigma, **statistics)),
    )
    for counts, sigma in zip(each, levels.tolist(), strict=True)
  ]
  for of in _cascades(len(levels)):
    every = len(of) == len(levels)
    chosen = () if every else tuple(levels[[*of]].tolist())
    certificate = cascade(
      Counts(*(split[..., of, :] for split in classifier)),
      levels[[*of]],
      n0=n0,
      **statistics,
    )
    name = '-'.join(['cascade', *(f'{sigma:g}' for sigma in chosen)])
    options = {'smoothing': 'cascade', 'levels': chosen}
    found.append(Forecast(name, options, right(certificate)))
  if votes.estimator is not None:
    estimator = to_come(votes.estimator)
    for rule in run_plans.RULES.values():
      given = estimator, classifier, levels, estimator_sigma
      compose = rule
      if runner_up:
        compose = functools.partial(forecast_runner_up.dual, rule)
      certificate = compose(*given, n0=n0, **statistics)
      options = {
        'smoothing': 'dual',
        'levels': (),
        'certificate': rule.name,
      }
      found.append(Forecast(f'dual-{rule.name}', options, right(certificate)))
  return found


def _cascades(levels: int):
  """The levels of each cascade that is forecast, by their numbers."""
  sizes = range(2, levels + 1)
  if levels > _MOST_LEVELS:
    sizes = [2, levels]
  for size in sizes:
    yield from itertools.combinations(range(levels), size)


def draw(
  counts: Int[np.ndarray, 'images classes'],
  cast: int,
  *,
  n0: int,
  n: int,
  rng: np.random.Generator,
) -> Counts:
  """Draws the votes of certifications to come from those that were cast.

  The share of the class with most votes is drawn from its posterior under a
  beta prior that fits the images, so that unanimous votes are not taken for
  certainty where the other images are not certain; the rest goes to the other
  classes as their votes do.

  Args:
    counts: Valid votes of one network at one level.
    cast: How many there were on an image.
    n0: Selection votes to draw.
    n: Estimation votes to draw.
    rng: Draws them.

  Returns:
    Counts of shape [draws, images, classes].
  """
  top = counts.argmax(-1)[:, None]
  wins = np.take_along_axis(counts, top, -1)[:, 0]
  prior = posterior.fit(wins, cast)
  share = prior.draw(wins, cast, rng, (_DRAWS,))
  rivals = counts + 1 / counts.shape[-1]
  np.put_along_axis(rivals, top, 0.0, -1)
  invalid = cast - counts.sum(-1, keepdims=True)
  rivals = np.concatenate([rivals, invalid], -1)
  parts = rng.standard_gamma(rivals, size=(_DRAWS, *rivals.shape))
  parts *= ((1 - share) / np.maximum(parts.sum(-1), 1e-300))[..., None]
  place = np.broadcast_to(top, (_DRAWS, *top.shape))
  np.put_along_axis(parts, place, share[..., None], -1)
  return Counts(*(rng.multinomial(m, parts)[..., :-1] for m in (n0, n)))


def reached(
  radius: Float[np.ndarray, 'draws images'], radii: Sequence[float]
) -> Float[np.ndarray, 'images radii']:
  """How often each image is right and certified at each radius."""
  hits = (radius > 0)[..., None] & (radius[..., None] >= np.asarray(radii))
  return hits.mean(0)


def singles(
  found: Sequence[Forecast],
) -> Float[np.ndarray, 'levels draws images']:
  """The radii at the single levels."""
  return np.stack(
    [one.radius for one in found if one.options.get('smoothing') == 'single']
  )


def mean_ratios(
  found: Sequence[Forecast], radii: Sequence[float]
) -> Float[np.ndarray, ' forecasts']:
  """Mean ratios to the best single level at each radius.

  Radii that no level reaches are left out; NaN where none is left.
  """
  images = found[0].radius.shape[-1]
  return _mean_ratios(found, radii, np.ones((1, images)))[:, 0]


def lead(found: Sequence[Forecast], radii: Sequence[float]) -> Lead:
  """The forecast with the largest mean ratio, and how far it is ahead."""
  images = found[0].radius.shape[-1]
  rng = np.random.default_rng(_SEED)
  draws = rng.multinomial(images, np.full(images, 1 / images), size=_RESAMPLES)
  ratios = _mean_ratios(
    found, radii, np.concatenate([np.ones((1, images)), draws])
  )
  single = [one.options.get('smoothing') == 'single' for one in found]
  ahead = ratios.max(0) - ratios[single].max(0)
  best = int(np.argmax(ratios[:, 0]))
  return Lead(best, float(ahead[0]), float(ahead[1:].std()))


def _mean_ratios(found, radii, weights):
  """Mean ratios of each forecast in each resample of the images."""
  hits = np.stack([reached(one.radius, radii) for one in found])
  single = [one.options.get('smoothing') == 'single' for one in found]
  used = hits[single].any((0, 1))
  if not used.any():
    return np.full((len(found), len(weights)), np.nan)
  counted = np.einsum('ri,fia->far', weights, hits[..., used], optimize=True)
  envelope = np.maximum(counted[single].max(0), 1 / _DRAWS)
  return (counted / envelope).mean(1)
