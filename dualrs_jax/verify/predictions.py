"""What votes amount to where no radius is asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

from dualrs_jax.verify import bounds, claims, dual
from dualrs_jax.verify.claims import ABSTAIN, Claim
from dualrs_jax.verify.rows import Row


def tested(row: Row, settings: Mapping[str, Any]) -> tuple[Claim, Claim]:
  """PREDICT of the estimator, if there is one, and then of the classifier.

  Args:
    row: A row whose votes fit the settings, see `votes.problems`.
    settings: Those of its run.
  """
  alpha, level = claims.alpha_of(settings), 0
  if len(settings['sigmas']) > 1:
    alpha /= 2
    level = _winner(row.estimator_estimation, settings['n'], alpha)
  if level == ABSTAIN:
    claim = Claim(ABSTAIN, 0.0, ABSTAIN, 'estimator')
    return claim, claim
  votes = row.classifier_estimation.get(level, ())
  predict = _winner(votes, settings['n'], alpha)
  status = 'classifier' if predict == ABSTAIN else 'predicted'
  claim = Claim(predict, 0.0, level, status)
  return claim, claim


def stopped(row: Row, settings: Mapping[str, Any]) -> tuple[Claim, Claim]:
  """A certificate of the image alone: of the radius 0, docs/adaptive.md, 11.

  Args:
    row: See `tested`.
    settings: Those of its run.
  """
  least, most = (
    Claim(
      claim.predict,
      0.0,
      claim.sigma_index,
      claim.status if claim.predict == ABSTAIN else 'predicted',
    )
    for claim in dual.certified(row, settings)
  )
  return least, most


def _winner(votes: Sequence[int], n: int, alpha: float) -> int:
  """The class that wins against the second and all invalid votes, or -1."""
  first = claims.leader(votes)
  rest = sorted(votes)[:-1]
  others = (rest[-1] if rest else 0) + n - sum(votes)
  wins = votes[first] if votes else 0
  return first if bounds.is_winner(wins, others, alpha) else ABSTAIN
