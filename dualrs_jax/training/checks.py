"""Checks of a configuration before anything is trained."""

import difflib
import math
from collections.abc import Collection, Sequence


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
