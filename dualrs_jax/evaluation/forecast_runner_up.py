"""Certificates that bound the runner-up, as adaptive ones do, for forecasts.

Adaptive certification bounds the probability of a class, and half the distance
to its strongest competitor (`look_bounds`); a fixed number of votes bounds the
class alone. Here are the bounds of the former, were all votes cast and looked
at once: what is forecast, and no certificate.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from dualrs_jax import composition, confidence, fallbacks, majorities
from dualrs_jax.base import ABSTAIN, Counts
from dualrs_jax.composition import CompositionRule
from dualrs_jax.look_bounds import RUNNER_UP_SHARE


class Answer(NamedTuple):
  """An answer to an image, or to each of several.

  Attributes:
    prediction: The class, or -1 for an abstention.
    radius: In pixel units, 0 for an abstention.
  """

  prediction: Int[np.ndarray, '*batch']
  radius: Float[np.ndarray, '*batch']


def single(counts: Counts, sigma: float, *, n: int, alpha: float) -> Answer:
  """Of plain smoothing.

  Args:
    counts: Arrays of shape [..., classes].
    sigma: The noise level, in pixel units.
    n: The number of estimation votes, invalid ones included.
    alpha: The failure probability.
  """
  label = np.argmax(counts.selection, -1)
  z = half_distance(np.asarray(counts.estimation), label, n=n, alpha=alpha)
  return _answer(label, sigma * z)


def cascade(
  counts: Counts,
  sigmas: Float[np.ndarray, ' levels'],
  *,
  n0: int,
  n: int,
  alpha: float,
) -> Answer:
  """Of a cascade, whose smallest level answers even without a majority.

  Args:
    counts: Arrays of shape [..., K, classes].
    sigmas: The K noise levels, in pixel units.
    n0: The number of selection votes at a level.
    n: The number of estimation votes at a level, invalid ones included.
    alpha: The failure probability.
  """
  likely = majorities.likely_z(counts.selection, n0)
  level, label, _ = majorities.choose(likely, sigmas, runner_up=True)
  bounds = _of_majorities(counts.estimation, label, sigmas, n=n, alpha=alpha)
  parts = majorities.radii(bounds, level, label, sigmas)
  return _answer(label, np.minimum(*parts))


def dual(
  rule: CompositionRule,
  estimator: Counts,
  classifier: Counts,
  sigmas: Float[np.ndarray, ' levels'],
  estimator_sigma: float,
  *,
  n0: int,
  n: int,
  alpha: float,
) -> Answer:
  """Of a dual certificate.

  Args:
    rule: See `composition` and `fallbacks`.
    estimator: Arrays of shape [..., K].
    classifier: Arrays of shape [..., K, classes].
    sigmas: The K noise levels, in pixel units.
    estimator_sigma: That of the estimator.
    n0: The number of selection votes of a stage.
    n: The number of estimation votes of a stage, invalid ones included.
    alpha: The failure probability.
  """
  votes = np.asarray(classifier.estimation)
  if rule.falls_back:
    level, label, answering = fallbacks.selection(
      estimator, classifier, sigmas, n0, runner_up=True
    )
  else:
    level, label = composition.selection(estimator, classifier)
    answering = None

  def at_levels(share):
    if not share:
      return np.full(votes.shape[:-1], -np.inf)
    given = {'n': n, 'alpha': share * alpha}
    if answering is not None:
      bounds = _of_majorities(votes, label, sigmas, **given)
      return fallbacks.radii(bounds, label, answering, sigmas)
    everywhere = np.broadcast_to(label[..., None], votes.shape[:-1])
    return sigmas * half_distance(votes, everywhere, **given)

  keeps, avoids = rule.estimator_bounds(
    estimator.estimation, level, n=n, alpha=alpha
  )
  selected = composition.take(
    at_levels(rule.selected_share(len(sigmas))), level
  )
  radii = composition.join(
    keeps, avoids, selected, at_levels(rule.agrees), level, estimator_sigma
  )
  return _answer(label, radii.radius)


def _of_majorities(
  votes, label, sigmas, *, n: int, alpha: float
) -> majorities.Bounds:
  """Bounds of all levels; at the smallest, of the label ahead of the others."""
  bounds = majorities.fixed_bounds(votes, n=n, alpha=alpha)
  smallest = majorities.smallest(sigmas)
  ahead = half_distance(votes[..., smallest, :], label, n=n, alpha=alpha)
  here = np.arange(votes.shape[-2]) == smallest
  ours = np.arange(votes.shape[-1]) == label[..., None, None]
  wins = np.where(here[:, None] & ours, ahead[..., None, None], bounds.wins)
  return bounds._replace(wins=wins)


def half_distance(
  votes: Int[np.ndarray, '*batch classes'],
  label: Int[np.ndarray, '*batch'],
  *,
  n: int,
  alpha: float,
) -> Float[np.ndarray, '*batch']:
  """Half the distance of a class to its strongest competitor, in z-scores.

  It is never below the bound of the class itself.

  Args:
    votes: Valid votes.
    label: The class.
    n: All votes; invalid ones count for every competitor.
    alpha: The failure probability of both bounds together.
  """
  own = composition.take(votes, label)
  others = np.arange(votes.shape[-1]) != label[..., None]
  rival = np.where(others, votes, 0).max(-1) + n - votes.sum(-1)

  def lower(wins, share):
    table = confidence.lower_z(n, share * alpha)
    return confidence.lookup(table, np.asarray(wins))

  ours = lower(own, 1 - RUNNER_UP_SHARE)
  theirs = lower(n - rival, RUNNER_UP_SHARE)  # of what it has not
  return np.maximum(ours, (ours + theirs) / 2)


def _answer(label: Any, radius: Any) -> Answer:
  positive = radius > 0  # which a NaN is not
  return Answer(
    np.where(positive, label, ABSTAIN), np.where(positive, radius, 0.0)
  )
