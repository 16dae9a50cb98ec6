"""What limits a radius, and what endless votes would make of it.

Here the observed shares of votes are taken for the probabilities. That is a
diagnosis, an estimate without confidence, and no part of any certificate: these
are in the rows.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from dualrs_jax.evaluation.records import Record, Votes
from dualrs_jax.report import guarantee

#: What may limit a radius, and what that means.
LIMITS = {
  'classifier': 'the classifier at the chosen level is not surer of its answer',
  'estimator': 'the estimator could choose another level, which is not asked',
  'other level': 'at another level the classifier is less sure of the answer',
  'votes': 'all votes of that stage agreed: only more of them would help',
}


class Terms(NamedTuple):
  """The smallest term of a radius, by the observed shares.

  Attributes:
    answer: The class that was selected, answered or not; None before that.
    radius: The radius if the observed shares were the probabilities, in pixel
      units, at most 0 where no number of votes would certify; None if no stage
      has votes.
    limit: One of `LIMITS`: whose term is the smallest.
  """

  answer: int | None
  radius: float | None
  limit: str


def observe(row: Record, settings: Mapping[str, Any]) -> Terms | None:
  """The terms of a row; None for a method that is not known here.

  A stage without estimation votes limits nothing, and another level without
  votes does not agree.

  Args:
    row: The row.
    settings: Those of its run.
  """
  rule = guarantee.rule(settings)
  if rule is None:
    return None
  level = row.sigma_index
  answer = _first(row.classifier_selection.get(level, ()))
  if answer is None:
    return Terms(None, None, '')
  terms = [_at_level(row, settings, level, answer, 'classifier')]
  cast = row.estimator_cast[1]
  if len(settings['sigmas']) > 1 and cast:
    votes = row.estimator_estimation
    keeps = z_score(votes[level], cast)
    invalid = cast - sum(votes)
    for k in range(len(votes)):
      if k != level:
        gap = -math.inf
        if rule.avoids:
          gap = (keeps + z_score(cast - votes[k] - invalid, cast)) / 2
        radius = settings['estimator_sigma'] * max(keeps, gap)
        term = radius, 'votes' if votes[level] == cast else 'estimator'
        if rule.agrees and row.classifier_cast.get(k, (0, 0))[1]:
          term = max(term, _at_level(row, settings, k, answer, 'other level'))
        terms.append(term)
  radius, limit = min(terms)
  return Terms(answer, None if radius == math.inf else radius, limit)


def share(row: Record, answer: int | None) -> tuple[int, int] | None:
  """Votes for a class at the chosen level, of how many; None without any."""
  votes = row.classifier_estimation.get(row.sigma_index)
  if votes is None or answer is None or answer < 0:
    return None
  cast = row.classifier_cast.get(row.sigma_index, (0, 0))[1]
  return votes[answer], cast


def z_score(votes: int, cast: int) -> float:
  """The normal quantile of a share, with half a vote on either side."""
  return float(special.ndtri((votes + 0.5) / (cast + 1)))


def _at_level(
  row: Record, settings: Mapping[str, Any], level: int, answer: int, who: str
) -> tuple[float, str]:
  """Within how far the classifier gives the answer at a level, and why."""
  cast = row.classifier_cast.get(level, (0, 0))[1]
  if not cast:
    return math.inf, who
  votes = row.classifier_estimation.get(level, (0,) * settings['num_classes'])
  score = z_score(votes[answer], cast)
  if settings['goal'] is not None:  # adaptive bounds know the runner-up
    rivals = np.delete(votes, answer).max(initial=0) + cast - sum(votes)
    score = max(score, (score + z_score(cast - int(rivals), cast)) / 2)
  unanimous = votes[answer] == cast
  return settings['sigmas'][level] * score, 'votes' if unanimous else who


def _first(votes: Votes) -> int | None:
  return int(np.argmax(votes)) if votes else None
