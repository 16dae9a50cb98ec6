"""Whether the votes of a row can have been cast under the settings."""

from collections.abc import Iterator, Mapping
from typing import Any

from dualrs_jax.verify import protocols
from dualrs_jax.verify.rows import Row


def problems(row: Row, settings: Mapping[str, Any]) -> Iterator[str]:
  """Says what about the votes of a row is impossible."""
  levels, classes = len(settings['sigmas']), settings['num_classes']
  selection = row.estimator_selection, row.classifier_selection
  estimation = row.estimator_estimation, row.classifier_estimation
  for split, (estimator, classifier), at in (
    ('selection', selection, 0),
    ('estimation', estimation, 1),
  ):
    if estimator or _cast(row.estimator_cast, at):
      name = f'estimator_{split}'
      yield from _fits(name, estimator, levels, 'noise levels')
      yield from _sums(name, estimator, _cast(row.estimator_cast, at))
    for level, votes in classifier.items():
      name = f'classifier_{split} at level {level}'
      yield from _fits(name, votes, classes, 'classes')
      cast = _cast(row.classifier_cast.get(level, ()), at)
      yield from _sums(name, votes, cast)
  named = {*selection[1], *estimation[1], *row.classifier_cast}
  for level in sorted(named - {*range(levels)}):
    yield f'there are votes at level {level}, and there are {levels} levels'
  casts = {'estimator_cast': row.estimator_cast}
  for level, cast in row.classifier_cast.items():
    casts[f'classifier_cast at level {level}'] = cast
  for name, cast in casts.items():
    yield from _can_be_cast(name, cast, settings)
  if settings['smoothing'] != 'dual' and any(row.estimator_cast):
    yield f'an estimator voted, and {settings["smoothing"]} smoothing has none'


def _cast(votes, at: int) -> int:
  return votes[at] if len(votes) == 2 else 0


def _fits(name: str, votes, wanted: int, of_what: str) -> Iterator[str]:
  if len(votes) != wanted:
    yield (f'{name} has {len(votes)} counts, and there are {wanted} {of_what}')


def _sums(name: str, votes, cast: int) -> Iterator[str]:
  if min(votes, default=0) < 0:
    yield f'{name} has a negative count'
  if sum(votes) > cast:
    yield f'{name} has {sum(votes)} votes, and {cast} were cast'


def _can_be_cast(name: str, cast, settings) -> Iterator[str]:
  """A number of votes is one that the protocol can have ended with."""
  if len(cast) != 2:
    yield f'{name} is {len(cast)} numbers, and there are two samples'
    return
  n0 = settings['n0'] or 0
  yield from protocols.of(settings).misses(name, cast, n0)
