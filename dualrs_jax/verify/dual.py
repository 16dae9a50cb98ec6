"""What the votes of dual and of plain smoothing amount to."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dualrs_jax.verify import claims, protocols, rules
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
  made = []
  for radius, *parts in zip(*_stages(row, level, label, settings), strict=True):
    answer = claims.reported(float(radius), settings)
    estimator, classifier = (max(0.0, float(part)) for part in parts)
    status = 'certified'
    if answer is None:
      cast = claims.second(row.classifier_cast.get(level, ()))
      stages = {
        'estimator': (estimator, [claims.second(row.estimator_cast)]),
        'classifier': (classifier, [cast]),
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
  for k, votes in row.classifier_estimation.items():
    own = 1.0 if len(sigmas) == 1 else shares.selected
    share = own if k == level else shares.agrees
    cast = claims.second(row.classifier_cast.get(k, ()))
    if cast and share:
      agrees[k] = protocol.bound_class(votes, label, cast, share * alpha)
  return rules.compose(keeps, avoids, agrees, level, sigmas, estimator_sigma)
