"""Checks of a configuration before anything is trained."""

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any


def levels(
  sigmas: Sequence[float],
  estimator_sigma: float,
  baselines: Sequence[float],
) -> None:
  """Raises ValueError unless these can be noise levels of a training."""
  sigmas = tuple(sigmas)
  if (
    not sigmas
    or not all(map(_is_level, sigmas))
    or list(sigmas) != sorted(set(sigmas))
  ):
    raise ValueError(f'sigmas must be positive and increasing, not {sigmas}')
  for name, named in (('sigmas', sigmas), ('baselines', tuple(baselines))):
    if len({f'{sigma:g}' for sigma in named}) < len(named):
      raise ValueError(
        f'{name} name folders by six digits, within which they must differ,'
        f' unlike {named}'
      )
  if not _is_level(estimator_sigma):
    raise ValueError(f'estimator_sigma must be positive, not {estimator_sigma}')
  if not all(map(_is_level, baselines)):
    raise ValueError(f'baselines must be positive, not {tuple(baselines)}')


def _is_level(sigma: float) -> bool:
  return math.isfinite(sigma) and sigma > 0


#: Of numbers in a configuration: what is allowed, and how that is said.
_AT_LEAST_0 = (lambda x: 0 <= x < math.inf, 'a finite number from 0 on')
_AT_LEAST_1 = (lambda x: 1 <= x < math.inf, 'at least 1')
_POSITIVE = (lambda x: 0 < x < math.inf, 'positive and finite')
_SHARE = (lambda x: 0 <= x <= 1, 'in [0, 1]')
_BELOW_1 = (lambda x: 0 <= x < 1, 'in [0, 1)')
_INSIDE = (lambda x: 0 < x < 1, 'in (0, 1)')

_STAGE = {
  'batch_size': _AT_LEAST_1,
  'copies': _AT_LEAST_1,
  'steps': _AT_LEAST_0,
  'learning_rate': _POSITIVE,
  'weight_decay': _AT_LEAST_0,
  'gradient_clip': _AT_LEAST_0,
  'average': _BELOW_1,
}
_CLASSIFIER = _STAGE | {
  'count': _AT_LEAST_0,
  'divergence_per_sigma': _AT_LEAST_0,
  'divergence_of_neighbours': _AT_LEAST_0,
  'entropy': _AT_LEAST_0,
}
_RANGES = {
  '': {'workers': _AT_LEAST_0, 'rounds': _AT_LEAST_1},
  'classifier': _CLASSIFIER,
  'finetune': _CLASSIFIER | {'explored': _SHARE},
  'estimator': _STAGE,
  'estimator.utility': {'width': _POSITIVE},
  'estimator.certificate': {
    'gain': _AT_LEAST_0,
    'temperature': _POSITIVE,
    'imitation': _AT_LEAST_0,
    'rescue': _AT_LEAST_0,
    'divergence': _AT_LEAST_0,
    'entropy': _AT_LEAST_0,
  },
  'estimator.paper': {
    'temperature': _POSITIVE,
    'divergence': _AT_LEAST_0,
    'entropy': _AT_LEAST_0,
  },
  'targets': {
    'count': _AT_LEAST_0,
    'votes': _AT_LEAST_1,
    'chunk_size': _AT_LEAST_1,
    'shard_size': _AT_LEAST_1,
    'n': _AT_LEAST_0,
    'alpha': _INSIDE,
  },
  'checkpoint': dict.fromkeys(
    ('every_steps', 'evaluate_steps', 'keep', 'metrics_steps'), _AT_LEAST_1
  ),
}


def numbers(fields: Mapping[str, Any]) -> None:
  """Raises ValueError for a number of a configuration that cannot be meant."""
  for group, ranges in _RANGES.items():
    options = fields
    for part in filter(None, group.split('.')):
      options = options[part]
    for name, (allowed, told) in ranges.items():
      if not allowed(options[name]):
        field = f'{group}.{name}'.lstrip('.')
        raise ValueError(f'{field} must be {told}, not {options[name]}')


def parts(stage: str, batch_size: int, accumulate: int) -> None:
  """Raises ValueError unless a batch divides into so many parts."""
  if accumulate < 1 or batch_size % accumulate:
    raise ValueError(
      f'{stage}.accumulate must divide {stage}.batch_size = {batch_size}, which'
      f' {accumulate} does not'
    )


def choice(field: str, value: str, choices: Collection[str]) -> None:
  """Raises ValueError, with the nearest valid value, unless it is one."""
  if value not in choices:
    nearest = difflib.get_close_matches(value, choices, n=1, cutoff=0)[0]
    raise ValueError(
      f'{field} must be one of {", ".join(choices)}, not {value!r}; did you'
      f' mean {nearest!r}?'
    )
