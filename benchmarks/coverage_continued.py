"""Runs that are continued because of what they show.

Many images at a time. What certification does next follows from the votes that
it has, so images with the same votes go on alike, and the coroutine is asked
once for each such state.
"""

import functools
from typing import NamedTuple
from unittest import mock

import numpy as np
from scipy import special

from dualrs_jax import decisions, lookups, plans, pursuit, sequential
from dualrs_jax.base import AdaptiveCertificate, Cast, Counts
from dualrs_jax.composition import CompositionRule, minimum
from dualrs_jax.decisions import ESTIMATOR

ALPHA = 0.05
N0 = 64
#: What the person asks for, one after the other.
ASKED = (64, 128, 256, 512, 1_024, 2_048, 4_096)
#: Where votes are counted: among these are the looks of all numbers.
LOOKS = sequential.default_looks(ASKED[-1])
#: What `_answer` returns for a certificate that is wrong, and one that is not.
_WRONG, _RIGHT = (-1, 0), (-2, 0)


def continued(
  generator, images, *, rule, noise, z, bounds, radius, patience=None
):
  """A person who asks for more votes until the radius is reached.

  The walks of the two stages have the same truth, z; other stages are certain.
  Of several certificates of an image a single wrong one makes the image wrong.

  Args:
    generator: Of the votes.
    images: How many.
    rule: The composition rule; None for a single stage.
    noise: 'shared' or 'antithetic', of the two walks.
    z: The truth.
    bounds: `lookups.open_ended`, whose certificates are added to, or
      `lookups.planned`, which begin anew for each n.
    radius: What is asked for, above the truth.
    patience: In place of that of `decisions`.

  Returns:
    Whether a certificate of an image was ever wrong.
  """
  wins = _wins(generator, images, rule, noise, z)
  nothing = np.zeros((images, len(wins)), np.int64)
  casts = nothing.copy()
  wrong = np.zeros(images, bool)
  for n in ASKED:
    question = Question(rule, bounds, radius, z, patience, n)
    ask = functools.partial(_ask, question)
    going, _, _ = ask(casts, wins)
    going &= ~wrong
    if bounds is lookups.planned:
      casts[going] = 0
    while going.any():
      again, fails, steps = ask(casts[going], wins[:, going])
      wrong[going] = fails
      casts[going] += steps
      going[going] = again
  return wrong


def _wins(generator, images, rule, noise, z):
  """Wins after each look, and before the first: [stages, images, looks]."""
  ends = np.array([0, *LOOKS])
  sure = np.broadcast_to(ends, (images, len(ends)))
  first = generator.random((images, LOOKS[-1]))
  drawn = [first] if rule is None else [first, _other(first, noise)]
  walks = []
  for uniform in drawn:
    won = uniform < special.ndtr(z)
    steps = np.add.reduceat(won, ends[:-1], axis=1, dtype=np.int64)
    walks.append(np.pad(steps.cumsum(axis=1), ((0, 0), (1, 0))))
  if rule is None:
    return np.stack(walks)
  # Under `agreement` it is the level that is not selected that follows a walk.
  one, two = walks
  return np.stack([one, two, sure] if rule is minimum else [one, sure, two])


def _other(uniform, noise):
  return {'antithetic': 1 - uniform, 'shared': uniform}[noise]


class Question(NamedTuple):
  """What certifications have in common, see `continued`."""

  rule: CompositionRule | None
  bounds: lookups.Kind
  radius: float
  z: float
  patience: float | None
  n: int


def _ask(question, casts, wins):
  """What each image does next.

  Args:
    question: What is asked.
    casts: How many looks each stage has had, [images, stages].
    wins: After each look, [stages, images, looks].

  Returns:
    Whether an image asks for votes, whether it ends with a wrong certificate,
    and by how many looks each stage advances.
  """
  stages = np.arange(len(wins))
  rows = np.arange(len(casts))
  now = wins[stages[None], rows[:, None], casts]
  states, where = np.unique(
    np.concatenate([casts, now], axis=1), axis=0, return_inverse=True
  )
  answers = np.array(
    [_answer(question, tuple(state)) for state in states.tolist()]
  )
  stage, look = answers[where.ravel()].T
  going = stage >= 0
  steps = np.where(
    going[:, None] & (stages == stage[:, None]), look[:, None] - casts, 0
  )
  return going, stage == _WRONG[0], steps


@functools.lru_cache(maxsize=2**20)
def _answer(question, state) -> tuple[int, int]:
  """The stage that comes next and its number of looks then, or how it ends."""
  plan = plan_of(question.rule, question.bounds, question.radius, question.n)
  levels = len(plan.sigmas)
  asked = [0] if levels == 1 else [ESTIMATOR, *range(levels)]
  cast = np.array([0, *LOOKS])[list(state[: len(asked)])]
  wins = np.array(state[len(asked) :])
  votes = np.stack([wins, cast - wins], axis=1)
  chosen = np.broadcast_to([N0, 0], votes.shape)
  first = 0 if levels == 1 else 1
  nobody = Counts(np.zeros(1, np.int64), np.zeros(1, np.int64))
  begun = AdaptiveCertificate(
    0, 0.0, 0, 0.0, 0.0,
    Counts(chosen[0], votes[0]) if first else nobody,
    Counts(chosen[first:], votes[first:]),
    Cast(N0, int(cast[0])) if first else Cast(0, 0),
    Cast(np.full(levels, N0), cast[first:]),
  )  # fmt: skip
  patience = question.patience or pursuit._PATIENCE
  try:
    with mock.patch.object(pursuit, '_PATIENCE', patience):
      request = next(decisions.certification(plan, begun))
  except StopIteration as end:
    found = end.value
    wrong = found.prediction == 0 and found.radius > question.z
    return _WRONG if wrong else _RIGHT
  return asked.index(request.stage), 1 + LOOKS.index(request.votes)


@functools.cache
def plan_of(rule, bounds, radius, n):
  levels = 1 if rule is None else 2
  return plans.plan(
    (1.0,) * levels,
    1.0,
    goal='radius',
    radii=(radius,),
    n0=N0,
    n=n,
    alpha=ALPHA,
    certificate=rule or minimum,
    bounds=bounds,
  )
