"""What a certification found, as numbers: the answers of a page."""

import collections
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dualrs_jax import metrics
from dualrs_jax.evaluation import methods
from dualrs_jax.report.subject import Subject

_INTERVAL = 0.95


class AtRadius(NamedTuple):
  """How many images are certified to a radius.

  Attributes:
    radius: In pixel units.
    right: Images that are right and certified there.
    wrong: Images that are certified there with another answer than the label.
    low: The 95% Clopper-Pearson interval of the share of those that are right,
      in percent, rounded outward.
    high: Its upper end.
    endless: How many would be right and certified if no votes were lacking,
      by the observed shares; None where that is not known. Where all votes of
      the stages agreed, no radius is beyond that.
  """

  radius: float
  right: int
  wrong: int
  low: float
  high: float
  endless: int | None


class GivenUp(NamedTuple):
  """The images that were given up for one reason.

  Attributes:
    cause: As in the column `status`.
    images: Their dataset indices.
    helped: Of how many the observed shares would certify the first radius, had
      there been more votes; None where that is not known.
    unknown: Of how many that cannot be said, as a stage has no votes to
      estimate and the others rule nothing out.
  """

  cause: str
  images: list[int]
  helped: int | None
  unknown: int


class Cost(NamedTuple):
  """What a run cost.

  Attributes:
    estimator: Mean votes of the estimator on an image.
    classifier: Those of the classifier.
    fixed: What n0 + n votes of both stages would be, at the chosen level alone.
    seconds: The sum of the times of the rows.
    seconds_fixed: That of `fixed` votes at the same speed.
  """

  estimator: float
  classifier: float
  fixed: int
  seconds: float
  seconds_fixed: float


def at_radii(
  subject: Subject, radii: Sequence[float] | None = None
) -> list[AtRadius]:
  """How many images are certified at each radius, those of the page if None."""
  radii = subject.radii if radii is None else radii
  found = np.array(
    [(row.correct, row.predict >= 0, row.radius) for row in subject.rows]
  )
  right, answered, reached = found.T
  known = None not in subject.terms
  endless = reached
  if known:
    possible = [
      term.radius
      if term.radius is not None and term.complete and term.answer == row.label
      else -math.inf
      for row, term in zip(subject.rows, subject.terms, strict=True)
      if term is not None
    ]
    endless = np.where(right > 0, np.maximum(reached, possible), possible)
  rows = []
  for radius in radii:
    hits = int((right * (reached >= radius)).sum())
    all_hits = int((answered * (reached >= radius)).sum())
    low, high = interval(hits, len(subject.rows))
    later = None
    if known:
      later = int(((endless >= radius) & (endless > 0)).sum())
      later = max(later, hits)
    rows.append(AtRadius(radius, hits, all_hits - hits, low, high, later))
  return rows


def interval(hits: int, rows: int) -> tuple[float, float]:
  """The 95% interval of a share, in percent, rounded outward to tenths."""
  low, high = metrics.accuracy_interval(hits / rows, rows, alpha=1 - _INTERVAL)
  return math.floor(1000 * low) / 10, math.ceil(1000 * high) / 10


def given_up(subject: Subject) -> list[GivenUp]:
  """Why images were given up, the most frequent reason first."""
  groups = collections.defaultdict(list)
  for row, term in zip(subject.rows, subject.terms, strict=True):
    if row.predict < 0:
      groups[row.status].append((row.idx, term))
  first = subject.settings['radii'][0] if subject.settings['radii'] else 0.0
  found = []
  for cause, members in groups.items():
    possible = [term for _, term in members if term is not None]
    helped, unknown = None, 0
    if len(possible) == len(members):
      open_ = [
        term
        for term in possible
        if term.radius is None or (term.radius >= first and term.radius > 0)
      ]
      helped = sum(term.complete for term in open_)
      unknown = len(open_) - helped
    images = [idx for idx, _ in members]
    found.append(GivenUp(cause, images, helped, unknown))
  order = [*methods.CAUSES]
  return sorted(
    found,
    key=lambda group: (
      -len(group.images),
      order.index(group.cause) if group.cause in order else len(order),
    ),
  )


def unlimited(subject: Subject) -> int:
  """How many right radii endless votes would raise without a limit.

  All votes of the stages agreed on these images, and the largest radius that
  the run decides, if it decides only some, is not yet reached.
  """
  decided = subject.settings['radii']
  most = decided[-1] if decided else math.inf
  return sum(
    term is not None
    and term.complete
    and term.radius == math.inf
    and term.answer == row.label
    and row.radius < most
    for row, term in zip(subject.rows, subject.terms, strict=True)
  )


def cost(subject: Subject) -> Cost:
  """What the votes were, beside a fixed number of them."""
  settings, rows = subject.settings, subject.rows
  estimator = float(np.mean([sum(row.estimator_cast) for row in rows]))
  classifier = float(np.mean([classifier_votes(row) for row in rows]))
  stages = 2 if estimator else 1
  fixed = stages * ((settings['n0'] or 0) + settings['n'])
  seconds = sum(row.time for row in rows)
  spent = estimator + classifier
  return Cost(
    estimator,
    classifier,
    fixed,
    seconds,
    seconds * fixed / spent if spent else 0.0,
  )


def classifier_votes(row) -> int:
  """All votes of the classifier on an image."""
  return sum(sum(cast) for cast in row.classifier_cast.values())


def missing(subject: Subject) -> int:
  """How many of the images that were asked for have no row yet."""
  return max(0, subject.settings['images'] - len(subject.rows))
