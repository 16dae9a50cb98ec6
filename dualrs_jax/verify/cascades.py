"""What the votes of a cascade amount to, from docs/theory.md, section 8.

With k and y the level and class that selection votes choose, s the noise levels
and z Phi^-1 of a lower bound at the full alpha,

    R   = min( B_k,  min over earlier levels j of E_j )
    B_k = s_k z(y at level k)
    E_j = s_j min over c != y of z(not c at level j)

Levels are visited from the largest down.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from dualrs_jax.verify import bounds, claims, protocols
from dualrs_jax.verify.bounds import NOTHING
from dualrs_jax.verify.claims import ABSTAIN, Claim
from dualrs_jax.verify.rows import Row

#: Promises are compared with 32 bits; those that are closer to the largest, as
#: a share of it, may be taken for it.
_CLOSE = 1e-6


def certified(row: Row, settings: Mapping[str, Any]) -> tuple[Claim, Claim]:
  """The least that a careful computation claims, and the most that is true.

  Args:
    row: A row whose votes fit the settings, see `votes.problems`.
    settings: Those of its run.
  """
  protocol, alpha = protocols.of(settings), claims.alpha_of(settings)
  sigmas = claims.sampled(settings['sigmas'])
  level, label = _chosen(row, sigmas, settings)
  order = visits(sigmas)
  visited = order[: order.index(level)]
  cast = {
    k: claims.second(row.classifier_cast.get(k, ())) for k in (*visited, level)
  }
  here, earlier = NOTHING, np.full(2, np.inf)
  votes = row.classifier_estimation.get(level, ())
  if cast[level] and votes:
    here = sigmas[level] * protocol.bound(votes[label], cast[level], alpha)
  for j in visited:
    votes = row.classifier_estimation.get(j, ())
    loses = NOTHING
    if cast[j] and votes:
      others = [*votes[:label], *votes[label + 1 :]]
      # An invalid vote is for every competitor, so all others are against it.
      against = sum(votes) - max(others, default=0)
      loses = protocol.bound(against, cast[j], alpha)
      loses = loses if others else np.full(2, np.inf)
    earlier = np.minimum(earlier, sigmas[j] * loses)
  made = []
  for own, before in zip(here.tolist(), earlier.tolist(), strict=True):
    answer = claims.reported(min(own, before), settings)
    own, before = max(0.0, own), max(0.0, before)
    parts = {
      'earlier': (before, [cast[j] for j in visited]),
      'classifier': (own, [cast[level]]),
    }
    made.append(
      Claim(
        predict=ABSTAIN if answer is None else label,
        radius_full=answer or 0.0,
        sigma_index=level,
        status='certified'
        if answer is not None
        else claims.cause(parts, settings),
        classifier_radius=own,
        earlier_radius=before,
      )
    )
  return made[0], made[1]


def predicted(row: Row, settings: Mapping[str, Any]) -> tuple[Claim, Claim]:
  """The first level at which a class is sure of a majority, or nothing.

  Args:
    row: See `certified`.
    settings: Those of its run.
  """
  n, levels = settings['n'], len(settings['sigmas'])
  part = claims.alpha_of(settings) / levels
  claim = Claim(ABSTAIN, 0.0, ABSTAIN, 'classifier')
  for level in visits(claims.sampled(settings['sigmas'])):
    votes = row.classifier_estimation.get(level, ())
    wins, invalid = max(votes, default=0), n - sum(votes)
    if bounds.is_winner(wins, n - wins, part):
      claim = Claim(claims.leader(votes), 0.0, level, 'predicted')
      break
    if not bounds.is_winner(n - wins - invalid, wins + invalid, part):
      break  # neither sure of a majority nor sure of none
  return claim, claim


def visits(sigmas: Sequence[float]) -> list[int]:
  """The levels in the order of the visits; of equal ones the first."""
  return sorted(range(len(sigmas)), key=lambda k: -sigmas[k])


def _chosen(
  row: Row, sigmas: Sequence[float], settings: Mapping[str, Any]
) -> tuple[int, int]:
  """The level and class that promise the largest radius.

  The formula of the module, of shares (votes + 1/2) / (n0 + 1) of selection
  votes; of equal promises that of the level which is visited first. Where two
  are within rounding of each other, the row has the choice.
  """
  order = visits(sigmas)
  scores = {k: _scores(row, k, settings['num_classes']) for k in order}
  enough = settings['radii'][-1] if settings['radii'] else np.inf
  promises = {}
  for place, k in enumerate(order):
    label = int(np.argmax(scores[k]))
    terms = [sigmas[k] * scores[k][label]]
    terms += [
      sigmas[j] * np.min(-np.delete(scores[j], label), initial=np.inf)
      for j in order[:place]
    ]
    promises[k] = min(*terms, enough)
  best = max(order, key=promises.__getitem__)
  near = promises[best] - _CLOSE * abs(promises[best])
  able = {promises[k]: k for k in reversed(order) if promises[k] >= near}
  level = row.sigma_index if row.sigma_index in able.values() else best
  return level, int(np.argmax(scores[level]))


def _scores(row: Row, level: int, classes: int) -> np.ndarray:
  """Where selection votes place each class, as z-scores; no bound."""
  votes = row.classifier_selection.get(level, (0,) * classes)
  cast = row.classifier_cast.get(level, (0, 0))[0]
  return np.asarray(special.ndtri((np.array(votes) + 0.5) / (cast + 1)))
