"""What a certification warns of before it begins."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from dualrs_jax import confidence
from dualrs_jax.data import Source
from dualrs_jax.evaluation import run_plans

logger = logging.getLogger(__name__)


def radius_cap(config: Any, run: Mapping[str, Any]) -> float | None:
  """The largest radius that the estimator's noise allows, where that is felt.

  Args:
    config: The configuration.
    run: The settings of its dual certification, as `preparation` left them.

  Returns:
    In pixel units: what n unanimous votes of the estimator give. None if the
    classifier's own radius is limited to that or less, or if no radius beyond
    it is asked for.
  """
  if len(config.sigmas) == 1 or config.estimator_sigma >= max(config.sigmas):
    return None
  if run['goal'] is None:
    keeps = run_plans.RULES[run['certificate']].keeps
    part = keeps * run_plans.statistical_alpha(run)
    best = confidence.lower_z(run['n'], part)[run['n']]
  else:
    best = run_plans.plan(run).keeps.best
  cap = float(config.estimator_sigma * best)
  radii = config.certify.radii
  decided = radii if run['goal'] in ('radius', 'grid') else [math.inf]
  return cap if cap < max(decided) else None


def warn_of_radius_cap(config: Any, run: Mapping[str, Any]) -> None:
  """Warns where the estimator's noise limits the radius, with the number."""
  dual = run['smoothing'] == 'dual' and run['task'] == 'certify'
  cap = radius_cap(config, run) if dual else None
  if cap is not None:
    logger.warning(
      'estimator_sigma %g is below the largest of sigmas, %g: the radius within'
      ' which the estimator keeps its choice is at most %.3f (n = %d)',
      config.estimator_sigma,
      max(config.sigmas),
      cap,
      run['n'],
    )


def warn_of_classes(
  source: Source, positions: Int[np.ndarray, ' chosen']
) -> None:
  """Warns where few of the classes are among images that could be of all.

  Args:
    source: The images.
    positions: Which of them were asked for.
  """
  there = len(np.unique(source.labels))
  chosen = len(np.unique(source.labels[positions]))
  if chosen < there / 2 and len(positions) >= 2 * there:
    logger.warning(
      'the %d images asked for are of %d of the %d classes: what is found on'
      ' them is not the accuracy on the data set; certify.stride takes images'
      ' at equal distances',
      len(positions),
      chosen,
      there,
    )
