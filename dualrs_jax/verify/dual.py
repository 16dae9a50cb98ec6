"""What the votes of dual and of plain smoothing amount to."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dualrs_jax.verify import claims, fallbacks, protocols, rules
from dualrs_jax.verify.bounds import NOTHING
from dualrs_jax.verify.claims import ABSTAIN, Claim
from dualrs_jax.verify.rows import Row


def certified(row: Row, settings: Mapping[str, Any]) -> tuple[Claim, Claim]:
  """The least that a careful computation claims, and the most that is true.

  Args:
    row: A row whose votes fit the settings, see `votes.problems`.
    settings: Those of its run.
  """
  level = claims.leader(row.estimator_selection)
  label = claims.leader(row.classifier_selection.get(level, ()))
  if settings['certificate'] in rules.OF_CASCADES:
    label = fallbacks.labels(row, level, settings)
  made = []
  for radius, *parts in zip(*_stages(row, level, label, settings), strict=True):
    answer = claims.reported(float(radius), settings)
    estimator, classifier = (max(0.0, float(part)) for part in parts)
    status = 'certified'
    if answer is None:
      asked = [level]
      if settings['certificate'] in rules.OF_CASCADES:
        asked = fallbacks.asked(row, level, label, settings)
      cast = [claims.second(row.classifier_cast.get(k, ())) for k in asked]
      stages = {
        'estimator': (estimator, [claims.second(row.estimator_cast)]),
        'classifier': (classifier, cast),
      }
      status = claims.cause(stages, settings)
    made.append(
      Claim(
        predict=ABSTAIN if answer is None else label,
        radius_full=answer or 0.0,
        sigma_index=level,
        status=status,
        classifier_radius=classifier,
        estimator_radius=estimator,
      )
    )
  return made[0], made[1]


def _stages(
  row: Row, level: int, label: int, settings: Mapping[str, Any]
) -> rules.Stages:
  protocol, alpha = protocols.of(settings), claims.alpha_of(settings)
  sigmas = claims.sampled(settings['sigmas'])
  [estimator_sigma] = claims.sampled([settings['estimator_sigma'] or np.nan])
  shares = rules.RULES[settings['certificate'] or 'minimum']
  keeps, avoids, agrees = NOTHING, {}, {level: NOTHING}
  votes, cast = row.estimator_estimation, claims.second(row.estimator_cast)
  if cast and votes:
    keeps = protocol.bound(votes[level], cast, shares.keeps * alpha)
    if shares.avoids:
      avoids = {
        k: protocol.bound(sum(votes) - own, cast, shares.avoids * alpha)
        for k, own in enumerate(votes)
      }
  for k, sigma in enumerate(sigmas):
    own = 1.0 if len(sigmas) == 1 else shares.selected
    share = own if k == level else shares.agrees
    if settings['certificate'] in rules.OF_CASCADES:
      agrees[k] = fallbacks.radius(row, k, label, settings, share * alpha)
      continue
    votes = row.classifier_estimation.get(k, ())
    cast = claims.second(row.classifier_cast.get(k, ()))
    if cast and share and votes:
      bound = protocol.bound_class(votes, label, cast, share * alpha)
      agrees[k] = sigma * bound
  return rules.compose(keeps, avoids, agrees, level, sigmas, estimator_sigma)
