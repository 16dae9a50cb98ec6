"""Checks of a configuration before anything is trained."""

import difflib
import logging
import math
from collections.abc import Collection, Sequence

from dualrs_jax import confidence

logger = logging.getLogger(__name__)


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


def radius_cap(
  sigmas: Sequence[float], estimator_sigma: float, *, n: int, alpha: float
) -> float | None:
  """The largest radius that the estimator's noise allows, where it limits.

  Returns:
    In pixel units: what n unanimous votes of the estimator give. None if the
    classifier's own radius is limited to that or less.
  """
  if estimator_sigma >= max(sigmas):
    return None
  return float(estimator_sigma * confidence.lower_z(n, alpha)[n])


def warn_of_radius_cap(
  sigmas: Sequence[float], estimator_sigma: float, *, n: int, alpha: float
) -> None:
  """Warns where the estimator's noise limits the radius, with the number."""
  cap = radius_cap(sigmas, estimator_sigma, n=n, alpha=alpha)
  if cap is not None:
    logger.warning(
      'estimator_sigma %g is below the largest of sigmas, %g: the radius within'
      ' which the estimator keeps its choice is at most %.3f (n = %d)',
      estimator_sigma,
      max(sigmas),
      cap,
      n,
    )
