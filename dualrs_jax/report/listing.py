"""The table of a page: one entry per image, column by column."""

import math
from typing import Any, NamedTuple

from dualrs_jax.evaluation.records import Record
from dualrs_jax.report import findings, terms
from dualrs_jax.report import subject as subject_lib
from dualrs_jax.report.subject import Subject
from dualrs_jax.report.terms import Terms

#: Why there is no answer, in a few words.
CAUSES = {
  'estimator': 'estimator undecided after all its votes',
  'classifier': 'classifier undecided after all its votes',
  'both': 'both stages undecided after all their votes',
  'earlier': 'an earlier level of the cascade undecided after all its votes',
  'hopeless': 'given up early: out of reach',
}


#: The radius with endless votes where all votes agreed.
UNLIMITED = 'no limit seen'


class Column(NamedTuple):
  """A column of the table.

  Attributes:
    name: Its key.
    title: Its heading.
    kind: 'text' to choose from, 'search' for text to search in, 'radius',
      'estimate' (a radius; `UNLIMITED` where nothing limits it), 'share',
      'count' or 'seconds'.
    values: One for each listed row; None where there is none.
    help: A sentence on what it says.
  """

  name: str
  title: str
  kind: str
  values: list[Any]
  help: str


def columns(subject: Subject) -> list[Column]:
  """The columns of the listed rows, see `subject.LISTED`."""
  chosen = listed(subject)
  pairs = [(subject.rows[at], subject.terms[at]) for at in chosen]
  found = [
    Column(name, title, kind, [of(subject, *pair) for pair in pairs], told)
    for name, title, kind, of, told in _COLUMNS
  ]
  return [
    column
    for column in found
    if column.name in _ALWAYS
    or any(value not in (None, '') for value in column.values)
  ]


def listed(subject: Subject) -> list[int]:
  """Places of the rows that are in the table."""
  return subject_lib.sample(len(subject.rows), subject_lib.LISTED)


def safe_radius(radius: float) -> float:
  """A radius with six digits after the point, never above it.

  Example:
    >>> safe_radius(0.3), safe_radius(0.49999999)
    (0.3, 0.499999)
  """
  rounded = round(radius, 6)
  return rounded if rounded <= radius else round(rounded - 1e-6, 6)


def outcome(row: Record) -> str:
  """What became of a row: right, wrong, or given up."""
  if row.predict < 0:
    return 'given up'
  return 'right' if row.correct else 'wrong'


def _radius(subject: Subject, row: Record, term: Terms | None) -> float | None:
  if not subject.certifies or row.predict < 0:
    return None
  return safe_radius(row.radius)


def _level(subject: Subject, row: Record, term: Terms | None) -> str:
  if row.sigma_index < 0:
    return ''
  return f'{row.sigma:g}'


def _level_share(subject: Subject, row: Record, term) -> float | None:
  cast = row.estimator_cast[1]
  if not cast or row.sigma_index < 0:
    return None
  return round(row.estimator_estimation[row.sigma_index] / cast, 4)


def _answer_share(subject: Subject, row: Record, term) -> float | None:
  answer = row.predict if term is None else term.answer
  found = terms.share(row, answer)
  return round(found[0] / found[1], 4) if found and found[1] else None


def _endless(subject: Subject, row: Record, term) -> float | str | None:
  if term is None or term.radius is None or not term.complete:
    return None
  if term.radius == math.inf:
    return UNLIMITED
  return round(max(term.radius, row.radius, 0.0), 3)


def _likely(subject: Subject, row: Record, term) -> str:
  """The class that was selected: the answer, unless it was given up."""
  if term is not None and term.answer is not None:
    return subject.name(term.answer)
  return subject.name(row.predict)


def _cause(subject: Subject, row: Record, term) -> str:
  return '' if row.predict >= 0 else _SHORT.get(row.status, row.status)


_SHORT = {
  'estimator': 'estimator undecided',
  'classifier': 'classifier undecided',
  'both': 'both undecided',
  'earlier': 'earlier level undecided',
  'hopeless': 'out of reach',
}
_ALWAYS = ('idx', 'label', 'answer', 'outcome')
_COLUMNS = (
  (
    'idx',
    'image',
    'count',
    lambda _, row, term: row.idx,
    'Its number in the data set.',
  ),
  (
    'file',
    'file',
    'search',
    lambda subject, row, term: subject.files.get(row.idx, ''),
    'Its file, in the folder of the data set.',
  ),
  (
    'label',
    'label',
    'text',
    lambda subject, row, term: subject.name(row.label),
    'The class that the data set says.',
  ),
  (
    'answer',
    'answer',
    'text',
    lambda subject, row, term: subject.name(row.predict),
    'The class that is certified; empty where the image was given up.',
  ),
  (
    'outcome',
    'outcome',
    'text',
    lambda _, row, term: outcome(row),
    'Whether the answer is the label.',
  ),
  (
    'radius',
    'radius',
    'radius',
    _radius,
    'Certified ℓ₂ distance; pixels lie in [0, 1].',
  ),
  ('cause', 'given up because', 'text', _cause, 'Why there is no answer.'),
  (
    'limit',
    'limited by',
    'text',
    lambda _, row, term: '' if term is None else term.limit,
    'Whose term of the radius is the smallest, by the observed shares.',
  ),
  (
    'endless',
    'radius with endless votes',
    'estimate',
    _endless,
    'An estimate, no certificate: the radius if the observed shares of votes'
    f' were the probabilities; “{UNLIMITED}” where all votes agreed.',
  ),
  ('level', 'level σ', 'text', _level, 'The noise level chosen for the image.'),
  (
    'level_share',
    'votes for level',
    'share',
    _level_share,
    'Of the estimator’s estimation votes, the share for this level.',
  ),
  (
    'answer_share',
    'votes for answer',
    'share',
    _answer_share,
    'Of the classifier’s estimation votes at this level, the share for the'
    ' selected class.',
  ),
  (
    'estimator_votes',
    'estimator votes',
    'count',
    lambda _, row, term: sum(row.estimator_cast) or None,
    'All votes that the estimator cast on the image.',
  ),
  (
    'classifier_votes',
    'classifier votes',
    'count',
    lambda _, row, term: findings.classifier_votes(row),
    'All votes that the classifier cast on the image, at all levels.',
  ),
  (
    'selected',
    'selected class',
    'text',
    _likely,
    'The class that the selection votes chose, certified or not.',
  ),
  (
    'time',
    'seconds',
    'seconds',
    lambda _, row, term: round(row.time, 3),
    'Time spent on the image.',
  ),
)
