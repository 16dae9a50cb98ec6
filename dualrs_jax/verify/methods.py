"""The methods that are known, each with what is special about its rows."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dualrs_jax.verify import (
  cascades,
  distances,
  dual,
  predictions,
  protocols,
)
from dualrs_jax.verify.claims import Claim
from dualrs_jax.verify.rows import Row

#: The settings of a run.
Settings = Mapping[str, Any]


def _of_run(row: Row, settings: Settings) -> tuple[float, ...]:
  """The level that the run has at the index of the row; 0 for none."""
  index = row.sigma_index
  return (float(settings['sigmas'][index]) if index >= 0 else 0.0,)


class Method(NamedTuple):
  """How rows are computed again.

  Attributes:
    columns: The name of their columns, of `rows.COLUMNS`.
    claims: The least that a careful computation claims of the votes of a row,
      and the most that is true.
    sigmas: What the noise level of a row may be, by its `sigma_index`; where
      there are several numbers, rounding decides.
  """

  columns: str
  claims: Callable[[Row, Settings], tuple[Claim, Claim]]
  sigmas: Callable[[Row, Settings], tuple[float, ...]] = _of_run


_CERTIFIED = Method('certify', dual.certified)
_TESTED = Method('predict', predictions.tested)
_CASCADE = Method('cascade', cascades.certified)
_STOPPED = Method('predict adaptively', predictions.stopped)

#: By what is smoothed, what is asked, and the protocol of the votes.
METHODS: Mapping[tuple[str, str, str], Method] = {
  **{
    (smoothing, task, protocol): method
    for smoothing in ('dual', 'single')
    for task, protocol, method in (
      ('certify', 'fixed', _CERTIFIED),
      ('certify', 'planned', _CERTIFIED),
      ('certify', 'open', _CERTIFIED),
      ('predict', 'fixed', _TESTED),
      ('predict', 'planned', _STOPPED),
      ('predict', 'open', _STOPPED),
    )
  },
  ('cascade', 'certify', 'fixed'): _CASCADE,
  ('cascade', 'certify', 'planned'): _CASCADE,
  ('cascade', 'predict', 'fixed'): Method('predict', cascades.predicted),
  ('distance', 'certify', 'fixed'): Method(
    'distance', distances.certified, distances.sigmas
  ),
  ('distance', 'predict', 'fixed'): Method(
    'predict at a distance', predictions.tested, distances.sigmas
  ),
}


def key(settings: Settings) -> tuple[str, str, str]:
  """That of a method in `METHODS`, if it is one."""
  return settings['smoothing'], settings['task'], protocols.name(settings)


def of(settings: Settings) -> Method:
  """The method of a run, whose settings were checked."""
  return METHODS[key(settings)]
