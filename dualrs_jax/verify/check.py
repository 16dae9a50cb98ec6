"""Whether a row with vote counts says what they amount to."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from dualrs_jax.verify import methods, votes
from dualrs_jax.verify.claims import ABSTAIN, Claim
from dualrs_jax.verify.rows import Row

#: Of products and sums that are rounded down.
_ROUNDING = 1e-12


def problems(row: Row, settings: Mapping[str, Any]) -> Iterator[str]:
  """Says what about a row does not follow from its votes."""
  own = [*_impossible(row, settings), *votes.problems(row, settings)]
  yield from own
  if own:
    return
  least, most = methods.of(settings).claims(row, settings)
  for name in Claim._fields:
    said, low, high = (getattr(claim, name) for claim in (row, least, most))
    if name.endswith(('radius', 'radius_full')):
      if said > high:
        yield f'{name} is {said}, and the votes prove {high} at most'
      elif said < low * (1 - _ROUNDING):
        yield f'{name} is {said}, and the votes prove {low}'
    elif said not in (low, high):
      yield f'{name} is {said}, and the votes make it {high}'
  if (row.predict == ABSTAIN) != (row.status not in ('certified', 'predicted')):
    yield f'predict is {row.predict}, and status is {row.status}'
  yield from _copies(row, settings)


def _impossible(row: Row, settings) -> Iterator[str]:
  """What no votes could make."""
  classes, levels = settings['num_classes'], len(settings['sigmas'])
  if row.idx < 0:
    yield f'idx is {row.idx}, and images are numbered from 0'
  if not 0 <= row.label < classes:
    yield f'label is {row.label}, and classes are 0 to {classes - 1}'
  if not ABSTAIN <= row.predict < classes:
    yield (
      f'predict is {row.predict}, and classes are 0 to {classes - 1}, or -1 for'
      ' none'
    )
  if not ABSTAIN <= row.sigma_index < levels:
    yield (
      f'sigma_index is {row.sigma_index}, and levels are 0 to {levels - 1}, or'
      ' -1 for none'
    )
  if not 0 <= row.distance < math.inf:
    yield f'distance is {row.distance}, which is no distance'
  if not 0 <= row.radius_full < math.inf:
    yield f'radius_full is {row.radius_full}, which is no radius'


def _copies(row: Row, settings) -> Iterator[str]:
  """What is said twice."""
  right = int(row.predict == row.label)
  if row.correct != right:
    yield f'correct is {row.correct}, and predict and label make it {right}'
  sigmas = methods.of(settings).sigmas(row, settings)
  if row.sigma not in sigmas:
    of_what = ' or '.join(map(str, sigmas)) or 'none'
    yield f'sigma is {row.sigma}, and the row makes it {of_what}'
  digit = 0.0
  if row.radius_full > 0:
    digit = 10.0 ** (math.floor(math.log10(row.radius_full)) - 2)
  if not row.radius_full - digit <= row.radius <= row.radius_full:
    yield (
      f'radius is {row.radius}, and radius_full rounded down is not:'
      f' {row.radius_full}'
    )
