"""What the votes of a row amount to, by the settings of its run."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dualrs_jax.verify import bounds, looks, rules
from dualrs_jax.verify.rows import Row

#: The prediction of a row without an answer.
ABSTAIN = -1
#: Of a classifier's part of alpha, what bounds the strongest competitor when
#: votes are looked at in between.
_COMPETITOR = 0.1
#: The part of alpha that is kept for the last look, by what is asked.
AT_THE_END = {'full': 0.75, 'grid': 0.5, 'radius': 0.5}


class Claim(NamedTuple):
  """What a row should say, apart from its votes; names are its columns'.

  Attributes:
    predict: The class, or `ABSTAIN`.
    radius_full: The certified radius in pixel units, not rounded.
    sigma_index: The selected noise level, from 0.
    estimator_radius: Within it the estimator keeps that level.
    classifier_radius: Within it the classifier there keeps its class.
    status: How the row was decided, or why it was given up.
  """

  predict: int
  radius_full: float
  sigma_index: int
  estimator_radius: float
  classifier_radius: float
  status: str


def claims(row: Row, settings: Mapping[str, Any]) -> tuple[Claim, Claim]:
  """The least that a careful computation claims, and the most that is true.

  Args:
    row: A row whose votes fit the settings, see `votes.problem`.
    settings: Those of its run.
  """
  alpha = settings['alpha'] - settings['noise_alpha']
  if settings['task'] == 'predict':
    claim = _prediction(row, settings, alpha)
    return claim, claim
  level = _leader(row.estimator_selection)
  label = _leader(row.classifier_selection.get(level, ()))
  stages = _stages(row, level, label, settings, alpha)
  made = []
  for radius, *parts in zip(*stages, strict=True):
    claimed = _claimed(float(radius), settings)
    estimator, classifier = (max(0.0, float(part)) for part in parts)
    status = 'certified'
    if claimed is None:
      status = _cause(row, level, (estimator, classifier), settings)
    made.append(
      Claim(
        ABSTAIN if claimed is None else label,
        claimed or 0.0,
        level,
        estimator,
        classifier,
        status,
      )
    )
  return made[0], made[1]


def _leader(votes) -> int:
  """The first class with the most votes; 0 where there are none."""
  return votes.index(max(votes)) if votes else 0


def _stages(row: Row, level: int, label: int, settings, alpha) -> rules.Stages:
  adaptive = settings['goal'] is not None
  bound = _at_look if adaptive else _of_all
  sigmas = [float(np.float32(sigma)) for sigma in settings['sigmas']]
  estimator_sigma = float(np.float32(settings['estimator_sigma'] or math.nan))
  shares = rules.RULES[settings['certificate'] or 'minimum']
  keeps, avoids, agrees = rules.NOTHING, {}, {level: rules.NOTHING}
  votes, cast = row.estimator_estimation, _second(row.estimator_cast)
  if cast and votes:
    keeps = bound(votes[level], cast, settings, shares.keeps * alpha)
    if shares.avoids:
      avoids = {
        k: bound(sum(votes) - own, cast, settings, shares.avoids * alpha)
        for k, own in enumerate(votes)
      }
  for k, votes in row.classifier_estimation.items():
    own = 1.0 if len(sigmas) == 1 else shares.selected
    share = own if k == level else shares.agrees
    cast = _second(row.classifier_cast.get(k, ()))
    if cast and share:
      ours, others = votes[label], votes[:label] + votes[label + 1 :]
      if not adaptive:
        agrees[k] = bound(ours, cast, settings, share * alpha)
        continue
      ours = bound(ours, cast, settings, share * (1 - _COMPETITOR) * alpha)
      # Not for the strongest competitor; an invalid vote is for everybody.
      against = sum(votes) - max(others, default=0)
      rest = bound(against, cast, settings, share * _COMPETITOR * alpha)
      agrees[k] = np.maximum(ours, (ours + rest) / 2)
  return rules.compose(keeps, avoids, agrees, level, sigmas, estimator_sigma)


def _second(cast) -> int:
  return cast[1] if cast else 0


def _of_all(wins: int, cast: int, settings, alpha: float) -> np.ndarray:
  del cast  # all n count, whatever became of them
  return bounds.fixed(wins, settings['n'], alpha)


def _at_look(wins: int, cast: int, settings, alpha: float) -> np.ndarray:
  n, end = settings['n'], AT_THE_END[settings['goal']]
  return looks.bound(cast, cast - wins, n, alpha, end)


def _claimed(radius: float, settings) -> float | None:
  """The radius that is said to be certified, or None for none."""
  if not radius > 0:
    return None
  if settings['goal'] in (None, 'full'):
    return radius
  reached = [asked for asked in settings['radii'] if asked <= radius]
  return max(reached) if reached else None


def _cause(row: Row, level: int, own, settings) -> str:
  """Which stages had all their votes, and fell short nevertheless."""
  first, used = 0.0, [settings['n']] * 2
  if settings['goal'] is not None:
    first = settings['radii'][0] if settings['radii'] else 0.0
    used = [
      _second(row.estimator_cast),
      _second(row.classifier_cast.get(level, ())),
    ]
  short = [
    votes == settings['n'] and not (radius > 0 and radius >= first)
    for radius, votes in zip(own, used, strict=True)
  ]
  names = {
    (True, True): 'both',
    (True, False): 'estimator',
    (False, True): 'classifier',
  }
  return names.get((short[0], short[1]), 'hopeless')


def _prediction(row: Row, settings, alpha: float) -> Claim:
  level = 0
  if len(settings['sigmas']) > 1:
    alpha /= 2
    level = _winner(row.estimator_estimation, settings['n'], alpha)
  if level == ABSTAIN:
    return Claim(ABSTAIN, 0.0, ABSTAIN, 0.0, 0.0, 'estimator')
  votes = row.classifier_estimation.get(level, ())
  predict = _winner(votes, settings['n'], alpha)
  status = 'classifier' if predict == ABSTAIN else 'predicted'
  return Claim(predict, 0.0, level, 0.0, 0.0, status)


def _winner(votes, n: int, alpha: float) -> int:
  """The class that wins against the second and all invalid votes, or -1."""
  first = _leader(votes)
  rest = sorted(votes)[:-1]
  others = (rest[-1] if rest else 0) + n - sum(votes)
  wins = votes[first] if votes else 0
  return first if bounds.is_winner(wins, others, alpha) else ABSTAIN
