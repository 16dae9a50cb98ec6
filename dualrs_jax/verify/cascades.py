"""What the votes of a cascade amount to, from docs/theory.md, section 8.

With k and y the level and class that selection votes choose, s the noise levels
and z Phi^-1 of a lower bound at the full alpha,

    R   = min( B_k,  min over earlier levels j of E_j )
    B_k = s_k z(y at level k)
    E_j = s_j min over c != y of z(not c at level j)

Levels are visited from the largest down. The smallest answers even without a
majority: where votes are looked at in between, its B_k is s_k times half the
distance of y to its runner-up. Runs whose settings do not say so are older, and
have majorities there, too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from dualrs_jax.verify import bounds, claims, protocols
from dualrs_jax.verify.bounds import NOTHING
from dualrs_jax.verify.claims import ABSTAIN, Claim
from dualrs_jax.verify.rows import Row

#: What the settings of a run say of the smallest level, and by what word.
SMALLEST_LEVEL, RUNNER_UP = 'smallest_level', 'runner-up'

#: Promises are compared with 32 bits; those that are closer to the largest, as
#: a share of it and of the largest level, may be taken for it.
_CLOSE = 1e-6


def certified(row: Row, settings: Mapping[str, Any]) -> tuple[Claim, Claim]:
  """The least that a careful computation claims, and the most that is true.

  Args:
    row: A row whose votes fit the settings, see `votes.problems`.
    settings: Those of its run.
  """
  order = visits(claims.sampled(settings['sigmas']))
  level, label = _chosen(row, settings)
  visited = order[: order.index(level)]
  cast = {
    k: claims.second(row.classifier_cast.get(k, ())) for k in (*visited, level)
  }
  alpha = claims.alpha_of(settings)
  stages = parts(row, visited, level, label, settings, alpha)
  made = []
  for own, before in zip(*(part.tolist() for part in stages), strict=True):
    answer = claims.reported(min(own, before), settings)
    own, before = max(0.0, own), max(0.0, before)
    cause = {
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
        else claims.cause(cause, settings),
        classifier_radius=own,
        earlier_radius=before,
      )
    )
  return made[0], made[1]


def parts(
  row: Row,
  visited: Sequence[int],
  level: int,
  label: int,
  settings: Mapping[str, Any],
  alpha: float,
) -> tuple[np.ndarray, np.ndarray]:
  """B_k, and the smallest E_j, from the least to the most, shape [2].

  Args:
    row: See `certified`.
    visited: The levels before the one that answers.
    level: k.
    label: y.
    settings: Those of its run.
    alpha: Of each bound.
  """
  protocol = protocols.of(settings)
  sigmas = claims.sampled(settings['sigmas'])
  here, earlier = NOTHING, np.full(2, np.inf)
  votes = row.classifier_estimation.get(level, ())
  if (cast := claims.second(row.classifier_cast.get(level, ()))) and votes:
    ahead = (
      protocol.bound_class(votes, label, cast, alpha)
      if _bounds_runner_up(level, settings)
      else protocol.bound(votes[label], cast, alpha)
    )
    here = sigmas[level] * ahead
  for j in visited:
    votes = row.classifier_estimation.get(j, ())
    loses = NOTHING
    if (cast := claims.second(row.classifier_cast.get(j, ()))) and votes:
      others = [*votes[:label], *votes[label + 1 :]]
      # An invalid vote is for every competitor, so all others are against it.
      against = sum(votes) - max(others, default=0)
      loses = protocol.bound(against, cast, alpha)
      loses = loses if others else np.full(2, np.inf)
    earlier = np.minimum(earlier, sigmas[j] * loses)
  return here, earlier


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


def _chosen(row: Row, settings: Mapping[str, Any]) -> tuple[int, int]:
  """The level and class that promise the largest radius, see `able`.

  Where two are within rounding of each other, the row has the choice.
  """
  enough = settings['radii'][-1] if settings['radii'] else np.inf
  found = able(row, settings, enough=enough)
  level = row.sigma_index if row.sigma_index in found else next(iter(found))
  return level, found[level]


def able(
  row: Row,
  settings: Mapping[str, Any],
  *,
  start: int | None = None,
  label: int | None = None,
  enough: float = np.inf,
) -> dict[int, int]:
  """The levels that promise the largest radius, each with its class.

  The formula of the module, of shares (votes + 1/2) / (n0 + 1) of selection
  votes; of equal promises that of the level which is visited first. Levels
  whose promises are within rounding of the largest follow it.

  Args:
    row: See `certified`.
    settings: Those of its run.
    start: The level that is visited first; the largest by default.
    label: The class; by default that which leads at each level.
    enough: A radius beyond which a promise is worth no more.
  """
  sigmas = claims.sampled(settings['sigmas'])
  order = visits(sigmas)
  order = order[0 if start is None else order.index(start) :]
  scores = {k: _scores(row, k, settings['num_classes']) for k in order}
  labels = {
    k: int(np.argmax(scores[k])) if label is None else label for k in order
  }
  promises = {}
  for place, k in enumerate(order):
    own = scores[k][labels[k]]
    if _bounds_runner_up(k, settings):
      rest = np.min(-np.delete(scores[k], labels[k]), initial=np.inf)
      own = max(own, (own + rest) / 2)
    terms = [sigmas[k] * own]
    terms += [
      sigmas[j] * np.min(-np.delete(scores[j], labels[k]), initial=np.inf)
      for j in order[:place]
    ]
    terms = np.nextafter(terms, -np.inf)  # what is 0 promises nothing
    promises[k] = min(*terms.tolist(), enough)
  best = max(order, key=promises.__getitem__)
  near = promises[best] - _CLOSE * (abs(promises[best]) + max(sigmas))
  first = {promises[k]: k for k in reversed(order) if promises[k] >= near}
  found = [best, *(k for k in first.values() if k != best)]
  return {k: labels[k] for k in found}


def _bounds_runner_up(level: int, settings: Mapping[str, Any]) -> bool:
  """Whether y need only be ahead at a level, without a majority."""
  smallest = visits(claims.sampled(settings['sigmas']))[-1]
  return level == smallest and settings.get(SMALLEST_LEVEL) == RUNNER_UP


def _scores(row: Row, level: int, classes: int) -> np.ndarray:
  """Where selection votes place each class, as z-scores; no bound."""
  votes = row.classifier_selection.get(level, (0,) * classes)
  cast = row.classifier_cast.get(level, (0, 0))[0]
  return np.asarray(special.ndtri((np.array(votes) + 0.5) / (cast + 1)))
