"""What certificates have of the best single level, and where the rest is lost.

The envelope is the best single level at each radius, chosen after the fact. A
ratio to it is a quotient of two shares of the same images; its interval is a
paired bootstrap over the images, in which each resample has an envelope of its
own.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from benchmarks import compared_rules
from benchmarks.compared_rules import Adaptive, Answer, Method
from benchmarks.compared_votes import Recording

_RESAMPLES = 10_000
_SEED = 0
_INTERVAL = 0.95


class Estimate(NamedTuple):
  """A value, and the ends of its interval."""

  value: float
  low: float
  high: float


class Ratios(NamedTuple):
  """Of one method.

  Attributes:
    at: Its ratio to the envelope at each radius.
    mean: Their mean.
    ahead: The mean less that of the best constant choice of a level.
  """

  at: list[Estimate]
  mean: Estimate
  ahead: Estimate


def reached(
  answers: Sequence[Answer | Adaptive], labels, radii: Sequence[float]
) -> Bool[np.ndarray, 'radii images']:
  """Whether each image is right and certified, at each radius."""
  right = np.array([answer.predict for answer in answers]) == labels
  radius = np.array([answer.radius for answer in answers])
  return right & (radius >= np.asarray(radii)[:, None])


def ratios(
  hits: Bool[np.ndarray, 'methods radii images'],
  levels: Bool[np.ndarray, 'levels radii images'],
) -> list[Ratios]:
  """Ratios of methods to the envelope of levels.

  Args:
    hits: Whether each image is right and certified, see `reached`.
    levels: The same of the single levels; at each radius one certifies
      something.
  """
  images = hits.shape[-1]
  rng = np.random.default_rng(_SEED)
  draws = rng.multinomial(
    images, np.full(images, 1 / images), size=_RESAMPLES
  ).astype(np.float32)
  # The first is the data themselves, the others are drawn from them.
  weights = np.concatenate([np.ones((1, images), np.float32), draws])

  def counted(which):
    return which.astype(np.float32) @ weights.T  # [..., radii, resamples]

  singles = counted(levels)
  envelope = np.maximum(singles.max(0), 1)
  constants = (singles / envelope).mean(1)
  found = []
  for method in counted(hits):
    ratio = method / envelope
    mean = ratio.mean(0)
    found.append(
      Ratios(
        [_estimate(row) for row in ratio],
        _estimate(mean),
        _estimate(mean - constants.max(0)),
      )
    )
  return found


def _estimate(values: Float[np.ndarray, ' resamples']) -> Estimate:
  tail = (1 - _INTERVAL) / 2
  low, high = np.quantile(values[1:], [tail, 1 - tail])
  return Estimate(float(values[0]), float(low), float(high))


def lost(
  best: Bool[np.ndarray, 'radii images'],
  selected: Bool[np.ndarray, 'radii images'],
  dual: Bool[np.ndarray, 'radii images'],
) -> dict[str, Float[np.ndarray, ' radii']]:
  """The shares of images that a dual certificate loses, at each radius.

  Args:
    best: Whether the best level of the image certifies it, or, under a rule
      that falls back, the cascade from the best one.
    selected: Whether the selected level does, were the selection certain.
    dual: Whether the dual certificate does.
  """
  return {
    'the level': (best & ~selected).mean(-1),
    'certainty': (selected & ~dual).mean(-1),
  }


def table_of_radii(
  found: Recording, results: Mapping[Method, Sequence[Answer]]
) -> str:
  """One line an image, one column a method: its radius where it is right.

  Radii are rounded down; -1 stands for a wrong answer and an abstention. Every
  curve and ratio of the methods follows from it.
  """
  lines = [','.join(method.name.replace(',', '') for method in results)]
  for image, recorded in enumerate(found.images):
    answers = [answered[image] for answered in results.values()]
    cells = [
      f'{math.floor(1e4 * answer.radius) / 1e4:g}'
      if answer.predict == recorded.label
      else '-1'
      for answer in answers
    ]
    lines.append(','.join(cells))
  return '\n'.join(lines) + '\n'


def rows(
  name: str,
  hits: Mapping[str, Bool[np.ndarray, 'radii images']],
  levels: Bool[np.ndarray, 'levels radii images'],
  radii: Sequence[float],
) -> list[str]:
  """A table of ratios in Markdown, a line for each method; see `ratios`."""
  lines = head(name, radii, 'mean', 'less the best constant')
  table = ratios(np.stack([*hits.values()]), levels)
  for method, of in zip(hits, table, strict=True):
    cells = [_cell(estimate) for estimate in [*of.at, of.mean]]
    cells.append(_cell(of.ahead, digits=3, sign='+'))
    lines.append(f'| {method} | {" | ".join(cells)} |')
  return lines


def head(name: str, radii: Sequence[float], *more: str) -> list[str]:
  """The first two lines of a table that has a column for each radius."""
  cells = [name, *(f'r = {radius:g}' for radius in radii), *more]
  return [f'| {" | ".join(cells)} |', '|---' * len(cells) + '|']


def percent(name: str, shares: Float[np.ndarray, ' radii']) -> str:
  """A line of shares."""
  return f'| {name} | ' + ' | '.join(f'{100 * s:.1f}' for s in shares) + ' |'


def markdown(
  found: Recording,
  results: Mapping[Method, Sequence[Answer]],
  radii: Sequence[float],
  alpha: float,
) -> str:
  """The table of ratios, and that of what each dual certificate loses."""
  labels = np.array([recorded.label for recorded in found.images])
  hits = {
    method.name: reached(answers, labels, radii)
    for method, answers in results.items()
  }
  levels = [f'level {sigma:g}' for sigma in found.sigmas]
  singles = np.stack([hits[name] for name in levels])
  covered = singles.any(-1).any(0)
  if not covered.all():
    none = radii[int(np.argmin(covered))]
    return f'No level certifies an image at r = {none:g}: there are no ratios.'
  lines = rows('ratio to the envelope', hits, singles, radii)
  selected = np.array(
    [np.argmax(found.counts(image, 0).selection) for image in found.images]
  )
  lines += ['', *head(f'%, {len(labels)} images', radii)]
  starts = _starts(found, radii, alpha, labels)
  for which, options, rules in (
    ('the best level per image', singles, ('paper', 'minimum', 'agreement')),
    ('the cascade from the best level per image', starts, ('fallback',)),
  ):
    best = np.any(options, axis=0)
    lines.append(percent(f'certified by {which}', best.mean(-1)))
    certain = np.take_along_axis(options, selected[None, None], axis=0)[0]
    for rule in rules:
      parts = lost(best, certain, hits[f'dual, `{rule}`'])
      lines += [
        percent(f'`{rule}`: lost by {name}', part)
        for name, part in parts.items()
      ]
  shares = np.bincount(selected, minlength=len(levels)) / len(labels)
  chosen = ', '.join(
    f'{sigma:g} for {share:.1%}'
    for sigma, share in zip(found.sigmas, shares, strict=True)
  )
  return '\n'.join([*lines, '', f'Levels selected: {chosen}.'])


def adaptively(
  found: Recording,
  results: Mapping[Method, Sequence[Answer]],
  radii: Sequence[float],
) -> str:
  """What is certified where the radii are decided adaptively, and its ratios.

  Plain smoothing bounds the runner-up there, at every level; a cascade at its
  smallest.
  """
  labels = np.array([recorded.label for recorded in found.images])
  decided = {
    method.name: [a.adaptive for a in answers if a.adaptive]
    for method, answers in results.items()
  }
  hits = {
    name: reached(answers, labels, radii)
    for name, answers in decided.items()
    if answers
  }
  levels = np.stack([hits[f'level {sigma:g}'] for sigma in found.sigmas])
  hits['best level per image'] = np.any(levels, axis=0)
  lines = head('decided adaptively, %', radii)
  lines += [percent(name, which.mean(-1)) for name, which in hits.items()]
  if levels.any(-1).any(0).all():
    lines += ['', *rows('ratio to the best level', hits, levels, radii)]
  return '\n'.join(lines)


def _starts(
  found: Recording, radii: Sequence[float], alpha: float, labels
) -> Bool[np.ndarray, 'levels radii images']:
  """What the cascades from each level down certify."""
  ordered = sorted(found.sigmas)
  return np.stack(
    [
      reached(
        [
          compared_rules.cascade(
            found,
            recorded,
            alpha,
            tuple(radii),
            sigmas=tuple(ordered[: 1 + ordered.index(sigma)]),
          )
          for recorded in found.images
        ],
        labels,
        radii,
      )
      for sigma in found.sigmas
    ]
  )


def _cell(estimate: Estimate, *, digits: int = 2, sign: str = '') -> str:

  def text(value):
    return f'{value:{sign}.{digits}f}'

  low, high = text(estimate.low), text(estimate.high)
  return f'{text(estimate.value)} [{low}, {high}]'
