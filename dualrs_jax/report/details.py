"""What a page says about one image when it is opened."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dualrs_jax.evaluation import tsv
from dualrs_jax.evaluation.records import Record
from dualrs_jax.report import guarantee, listing, terms
from dualrs_jax.report.subject import Subject
from dualrs_jax.report.terms import Terms

_CLASSES = 5


def of(subject: Subject, row: Record, term: Terms | None) -> dict[str, Any]:
  """Sentences and votes about an image.

  Returns:
    `said`, a list of sentences, and `votes`: for each stage its title, how many
    votes it cast to select and to estimate, and who got most of them.
  """
  said = [
    sentence
    for sentence in (
      answer(subject, row, term),
      level(subject, row),
      limit(subject, term),
    )
    if sentence
  ]
  return {'said': said, 'votes': _stages(subject, row)}


def answer(subject: Subject, row: Record, term: Terms | None) -> str:
  """What is certified of an image, or why nothing is."""
  label = subject.name(row.label)
  if row.predict < 0:
    selected = subject.name(None if term is None else term.answer)
    likely = f' Selection votes chose {selected}.' if selected else ''
    return (
      f'Given up: {listing.CAUSES.get(row.status, row.status)}. The label is'
      f' {label}.{likely}'
    )
  judgement = 'right' if row.correct else f'wrong, the label is {label}'
  text = f'The answer is {subject.name(row.predict)} ({judgement})'
  if guarantee.unknown(subject.settings):
    return (
      f'{text}. This page does not know the method and states no guarantee.'
    )
  if not subject.certifies:
    return f'{text}.'
  return f'{text}, certified to a radius of {tsv.round_down(row.radius)}.'


def level(subject: Subject, row: Record) -> str:
  """Which noise level an image got, and how sure that is."""
  settings = subject.settings
  sigmas = settings['sigmas']
  if row.sigma_index < 0:
    return 'The estimator chose no noise level.'
  chosen = f'σ = {row.sigma:g}'
  if settings['smoothing'] == 'distance':
    return (
      f'The noise level is {chosen}, at the distance {row.distance:.4g} to the'
      ' nearest training images.'
    )
  if settings['smoothing'] == 'cascade':
    return f'The cascade stops at the noise level {chosen}.'
  if len(sigmas) == 1 or not sum(row.estimator_cast):
    return f'The noise level is {chosen}; there was nothing to choose.'
  text = f'The noise level is {chosen}'
  if row.estimator_selection:
    votes = row.estimator_selection[row.sigma_index]
    text += f', chosen by {votes} of {row.estimator_cast[0]} selection votes'
  if not row.estimator_cast[1]:
    return f'{text}; no votes were cast on how sure that is.'
  votes, cast = row.estimator_estimation[row.sigma_index], row.estimator_cast[1]
  text += (
    f'. How sure is that: {votes:,} of {cast:,} further votes'
    f' ({100 * votes / cast:.1f} %) are for it'
  )
  rule = guarantee.rule(settings)
  if rule is None:
    return f'{text}.'
  if not row.estimator_radius > 0:
    return f'{text}, too few to prove that it is the estimator’s choice.'
  share = rule.keeps + rule.avoids
  return (
    f'{text}, and the estimator keeps it within'
    f' {tsv.round_down(row.estimator_radius)}, with probability at least'
    f' {1 - share * settings["alpha"]:.6g}.'
  )


def limit(subject: Subject, term: Terms | None) -> str:
  """What limits the radius of an image, by the observed shares."""
  if not subject.certifies or term is None or not term.limit:
    return ''
  text = f'Limited by: {term.limit} ({terms.LIMITS[term.limit]}).'
  if term.radius is None or not term.complete:
    return text
  if term.radius == math.inf:
    return f'{text} With endless votes: {listing.UNLIMITED} (an estimate).'
  radius = max(term.radius, 0.0)
  return f'{text} Radius with endless votes: {radius:.2f} (an estimate).'


def _stages(subject: Subject, row: Record) -> list[dict[str, Any]]:
  sigmas = subject.settings['sigmas']
  stages = []
  if sum(row.estimator_cast):
    names = [f'σ = {sigma:g}' for sigma in sigmas]
    stages.append(
      _stage(
        f'Estimator, at σ = {subject.settings["estimator_sigma"]:g}',
        row.estimator_cast,
        row.estimator_selection,
        row.estimator_estimation,
        dict(enumerate(names)),
      )
    )
  for k, cast in sorted(row.classifier_cast.items()):
    chosen = ' (chosen)' if k == row.sigma_index else ''
    sigma = row.sigma if chosen else sigmas[k]
    stages.append(
      _stage(
        f'Classifier, at σ = {sigma:g}{chosen}',
        cast,
        row.classifier_selection.get(k, ()),
        row.classifier_estimation.get(k, ()),
        {c: subject.name(c) for c in range(subject.settings['num_classes'])},
      )
    )
  return stages


def _stage(
  title: str, cast, selection, estimation, names: Mapping[int, str]
) -> dict[str, Any]:
  count = len(names)
  pair = [np.array(v or (0,) * count) for v in (selection, estimation)]
  order = np.argsort(-(pair[0] + pair[1]), kind='stable')[:_CLASSES]
  return {
    'title': title,
    'cast': list(cast),
    'top': [
      [names[at], int(pair[0][at]), int(pair[1][at])]
      for at in order.tolist()
      if pair[0][at] + pair[1][at]
    ],
  }
