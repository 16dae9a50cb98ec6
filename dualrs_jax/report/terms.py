"""What limits a radius, and what endless votes would make of it.

Here the observed shares of votes are taken for the probabilities. That is a
diagnosis, an estimate without confidence, and no part of any certificate: these
are in the rows. Where all votes agreed, no radius is too large for the share of
one that was seen: only the number of votes limits it.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special

from dualrs_jax.evaluation.records import Record, Votes
from dualrs_jax.report import guarantee

_UNANIMOUS = 'all votes of that stage agreed, and only their number limits it'
#: What may limit a radius, and what that means.
LIMITS = {
  'classifier': 'the classifier at the chosen level is not surer of its answer',
  'estimator': 'the estimator could choose another level, which is not asked',
  'other level': 'at another level the classifier is less sure of the answer',
  'votes of classifier': _UNANIMOUS,
  'votes of estimator': _UNANIMOUS,
  'votes of other level': _UNANIMOUS,
}
#: Votes that are added on either side of a share: none for the radius, and half
#: a vote to tell which of several unanimous stages has the fewest votes.
_ADDED = np.array([0.0, 0.5])

#: A score of each of `_ADDED`, and radii made of it.
_Pair = Float[np.ndarray, ' 2']


class Terms(NamedTuple):
  """The smallest term of a radius, by the observed shares.

  Attributes:
    answer: The class that was selected, answered or not; None before that.
    radius: The radius if the observed shares were the probabilities, in pixel
      units, at most 0 where no number of votes would certify, and infinite
      where all votes of the stages agreed; None if no stage has votes.
    limit: One of `LIMITS`: whose term is the smallest.
    complete: Whether every stage has votes; `radius` is else an upper limit.
  """

  answer: int | None
  radius: float | None
  limit: str
  complete: bool


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
  if level < 0:
    return Terms(None, None, '', complete=False)
  others = [k for k in range(len(settings['sigmas'])) if k != level]
  estimator = bool(row.estimator_cast[1])
  classifier = bool(row.classifier_cast.get(level, (0, 0))[1])
  terms = []
  if answer is not None and classifier:  # selection votes come first
    terms.append(_at_level(row, settings, level, answer, 'classifier'))
  if estimator:
    terms += [_apart(row, settings, k, answer) for k in others]
  complete = classifier and (estimator or not others)
  if not terms:
    return Terms(answer, None, '', complete=False)
  radius, _, limit = min(terms)
  return Terms(answer, radius, limit, complete)


def share(row: Record, answer: int | None) -> tuple[int, int] | None:
  """Votes for a class at the chosen level, of how many; None without any."""
  votes = row.classifier_estimation.get(row.sigma_index)
  if votes is None or answer is None or answer < 0:
    return None
  cast = row.classifier_cast.get(row.sigma_index, (0, 0))[1]
  return votes[answer], cast


def z_score(votes: int, cast: int) -> _Pair:
  """The normal quantiles of a share, see `_ADDED`; infinite for all or none."""
  return special.ndtri((votes + _ADDED) / (cast + 2 * _ADDED))


def _at_level(
  row: Record, settings: Mapping[str, Any], level: int, answer: int, who: str
) -> tuple[float, float, str]:
  """Within how far the classifier gives the answer at a level, and why."""
  cast = row.classifier_cast[level][1]
  votes = row.classifier_estimation.get(level, (0,) * settings['num_classes'])
  score = z_score(votes[answer], cast)
  if settings['goal'] is not None:  # adaptive bounds know the runner-up
    rivals = np.delete(votes, answer).max(initial=0) + cast - sum(votes)
    score = _larger(score, z_score(cast - int(rivals), cast))
  return _term(settings['sigmas'][level] * score, who)


def _apart(
  row: Record, settings: Mapping[str, Any], k: int, answer: int | None
) -> tuple[float, float, str]:
  """Within how far level k is not chosen or gives the answer, and why."""
  rule = guarantee.rule(settings)
  votes, cast = row.estimator_estimation, row.estimator_cast[1]
  score = z_score(votes[row.sigma_index], cast)
  if rule.avoids:
    invalid = cast - sum(votes)
    score = _larger(score, z_score(cast - votes[k] - invalid, cast))
  term = _term(settings['estimator_sigma'] * score, 'estimator')
  asked = rule.agrees and row.classifier_cast.get(k, (0, 0))[1]
  if answer is not None and asked:
    term = max(term, _at_level(row, settings, k, answer, 'other level'))
  return term


def _larger(keeps: _Pair, avoids: _Pair) -> _Pair:
  """The score of a class, or half its distance to a competitor's."""
  with np.errstate(invalid='ignore'):  # none for either: still none
    return np.fmax(keeps, (keeps + avoids) / 2)


def _term(radii: _Pair, who: str) -> tuple[float, float, str]:
  radius, capped = radii.tolist()
  return radius, capped, f'votes of {who}' if radius == math.inf else who


def _first(votes: Votes) -> int | None:
  return int(np.argmax(votes)) if votes else None
