"""What the settings of a run fix before its votes: statistics and plans."""

import functools
from collections.abc import Mapping
from typing import Any

from dualrs_jax import (
  cascade_plans,
  composition,
  fallbacks,
  lookups,
  mixture,
  plans,
)
from dualrs_jax.cascade_plans import CascadePlan
from dualrs_jax.plans import Plan

#: The composition rules by their names in configurations and settings.
RULES = {
  rule.name: rule
  for rule in (
    composition.agreement,
    composition.minimum,
    composition.paper,
    fallbacks.fallback,
  )
}


def any_plan(settings: Mapping[str, Any]) -> Plan | CascadePlan:
  """That of a run of either kind, see `plan`."""
  return (cascade_plan if settings['smoothing'] == 'cascade' else plan)(
    settings
  )


def cascade_plan(settings: Mapping[str, Any]) -> CascadePlan:
  """What an adaptive run of a cascade fixes before its first vote.

  Args:
    settings: Those of the run, see `methods.result`.
  """
  return _cascade_plan(
    tuple(settings['sigmas']),
    settings['goal'],
    tuple(settings['radii']),
    settings['n0'],
    settings['n'],
    statistical_alpha(settings),
  )


def plan(settings: Mapping[str, Any]) -> Plan:
  """What an adaptive run fixes before its first vote.

  Args:
    settings: Those of the run, see `methods.result`.
  """
  return _plan(
    tuple(settings['sigmas']),
    settings['estimator_sigma'] or settings['sigmas'][0],
    settings['goal'],
    tuple(settings['radii']),
    settings['n0'],
    settings['n'],
    statistical_alpha(settings),
    RULES[settings['certificate'] or 'minimum'],
    bounds(settings),
    settings.get('tolerance', 0.0),
  )


def is_open(settings: Mapping[str, Any]) -> bool:
  """Whether votes may be added to the rows of a run, which it then records.

  Then n is what was asked for last; no row depends on it.
  """
  return settings.get('protocol') == 'open'


def identity(settings: Mapping[str, Any]) -> dict[str, Any]:
  """The settings on which a row may depend."""
  free = {'n'} if is_open(settings) else set()
  return {name: value for name, value in settings.items() if name not in free}


def most_votes(settings: Mapping[str, Any]) -> int:
  """How many estimation votes of a stage a row may ever have."""
  return mixture.MOST_VOTES if is_open(settings) else settings['n']


def bounds(settings: Mapping[str, Any]) -> Any:
  """The bounds of an adaptive run, see `plans.plan`."""
  if is_open(settings):
    return lookups.open_ended
  predicts = settings['task'] == 'predict'
  return lookups.deciding if predicts else lookups.planned


def statistical_alpha(settings: Mapping[str, Any]) -> float:
  """The failure probability that is left for the bounds.

  The sampler of the noise may have some of alpha, as it is not quite normal.
  """
  return settings['alpha'] - settings['noise_alpha']


@functools.lru_cache(maxsize=8)
def _plan(
  sigmas, estimator_sigma, goal, radii, n0, n, alpha, rule, bounds, tolerance
) -> Plan:
  return plans.plan(
    sigmas,
    estimator_sigma,
    goal=goal,
    radii=radii,
    n0=n0,
    n=n,
    alpha=alpha,
    certificate=rule,
    bounds=bounds,
    tolerance=tolerance,
  )


@functools.lru_cache(maxsize=8)
def _cascade_plan(sigmas, goal, radii, n0, n, alpha) -> CascadePlan:
  return cascade_plans.plan(
    sigmas, goal=goal, radii=radii, n0=n0, n=n, alpha=alpha
  )
