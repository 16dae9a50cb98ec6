"""The settings of a run, as far as its rows follow from them."""

import hashlib
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

from dualrs_jax.verify import cascades, methods, protocols
from dualrs_jax.verify.errors import Unverifiable
from dualrs_jax.verify.rules import OF_CASCADES, RULES

#: Beside the rows of a run.
NAME = 'settings.json'

#: The name of the settings, which is in each row of files that have one.
FINGERPRINT = 'fingerprint'
#: Recorded, but not of what the rows depend on.
_APART = {
  *('versions', 'compiler', 'git_revision', 'device_count'),
  *('images', 'asked'),
  FINGERPRINT,
}

#: What is known here, by name; other methods need another verification.
_KNOWN = {
  'task': ('certify', 'predict'),
  'smoothing': tuple(dict.fromkeys(name for name, *_ in methods.METHODS)),
  'certificate': (None, *RULES),
  'goal': (None, 'radius', 'grid', 'full'),
  'noise': ('gaussian', 'lattice', 'published'),
  'protocol': ('adaptive', 'fixed', 'paper', 'open'),
  cascades.SMALLEST_LEVEL: (cascades.RUNNER_UP,),
}
#: What is smoothed at several levels.
_SEVERAL = ('dual', 'cascade')
_NEEDED = (
  *('task', 'smoothing', 'certificate', 'goal', 'noise', 'radii'),
  *('sigmas', 'estimator_sigma', 'n0', 'n', 'alpha', 'noise_alpha'),
  'num_classes',
)
#: And besides, by what is smoothed.
_MORE = {'distance': ('distance', 'pixels')}


def read(path: pathlib.Path) -> dict[str, Any]:
  """Reads and checks a settings file.

  Raises:
    Unverifiable: If there is none, it lacks something or holds something
      impossible, it was changed, or the method is none that is known here.
  """
  try:
    found = json.loads(path.read_bytes())
  except FileNotFoundError:
    raise Unverifiable(
      f'the rows have vote counts, and there is no {path} that says how they'
      ' were cast: put it there, or name it with --settings'
    ) from None
  except (OSError, ValueError) as error:
    raise Unverifiable(f'{path} is no settings file: {error}') from None
  if not isinstance(found, dict):
    raise Unverifiable(f'{path} is no settings file: it holds no JSON object')
  _check_names(found, _NEEDED, path)
  refuse_unknown(found, path)
  _check_names(found, _MORE.get(found['smoothing'], ()), path)
  for name, wanted, right in _values(found):
    if not right:
      raise Unverifiable(
        f'{path} has {name} = {found[name]!r}, which should be {wanted}'
      )
  if FINGERPRINT in found and found[FINGERPRINT] != fingerprint(found):
    raise Unverifiable(
      f'{path} was changed since its rows were computed: its fingerprint is'
      f' {found[FINGERPRINT]}, and what it records makes it'
      f' {fingerprint(found)}'
    )
  return found


def _check_names(found: Mapping[str, Any], needed, path: pathlib.Path) -> None:
  lost = [name for name in needed if name not in found]
  if lost:
    raise Unverifiable(
      f'{path} does not record {", ".join(lost)}, without which no row can be'
      ' computed again: put a copy of the whole file back'
    )


def refuse_unknown(found: Mapping[str, Any], path: str | pathlib.Path) -> None:
  """Refuses methods that are not known here.

  Args:
    found: Settings with all that rows follow from.
    path: Where they are, for the message.

  Raises:
    Unverifiable: If their method is none that is known here.
  """
  for name, choices in _KNOWN.items():
    if name in found and found[name] not in choices:
      raise Unverifiable(
        f'{path} has {name} = {found[name]!r}, which this verification does not'
        f' know: it knows {", ".join(str(c) for c in choices if c)}'
      )
  key = methods.key(found)
  if key not in methods.METHODS:
    smoothing, task, protocol = key
    raise Unverifiable(
      f'{path} has smoothing = {smoothing!r} with task = {task!r} and votes'
      f' that are {protocol}, which this verification does not know'
    )
  goal = found['goal']
  if key[-1] == 'open' and goal is None:
    raise Unverifiable(
      f"{path} has protocol = 'open' with goal = None, which this verification"
      ' does not know: it knows radius, grid, full'
    )
  if found['task'] == 'predict' and goal not in (None, 'radius'):
    raise Unverifiable(
      f"{path} has task = 'predict' with goal = {goal!r}, which this"
      ' verification does not know: it knows radius'
    )


def fingerprint(settings: Mapping[str, Any]) -> str:
  """The name of settings: the beginning of a hash of what rows depend on."""
  apart = _APART
  if protocols.name(settings) == 'open':
    apart = apart | {'n'}  # what was asked for last, and no row depends on
  counted = {n: value for n, value in settings.items() if n not in apart}
  text = json.dumps(counted, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _values(found: Mapping[str, Any]):
  """Names, what they should be, and whether they are."""
  selects = found['task'] == 'certify' or found['goal'] is not None
  dual, sigmas = found['smoothing'] == 'dual', found['sigmas']
  several = found['smoothing'] in _SEVERAL
  levels = 'a list of positive noise levels'
  yield (
    'sigmas',
    levels if several else 'a list of one noise level',
    isinstance(sigmas, list)
    and len(sigmas) >= 1
    and (several or len(sigmas) == 1)
    and all(map(_positive, sigmas)),
  )
  yield (
    'estimator_sigma',
    'a positive noise level',
    not dual or _positive(found['estimator_sigma']),
  )
  yield (
    'certificate',
    'the name of a rule',
    found['certificate'] is not None or not (dual and selects),
  )
  if found['smoothing'] == 'distance':
    yield from _of_levels(found)
  yield 'n', 'a number of votes', _whole(found['n'])
  yield 'n0', 'a number of votes', not selects or _whole(found['n0'])
  yield 'num_classes', 'a number of classes', _whole(found['num_classes'])
  alpha, taken = found['alpha'], found['noise_alpha']
  yield 'alpha', 'between 0 and 1', _positive(alpha) and alpha < 1
  yield (
    'noise_alpha',
    '0, or less than alpha where the noise is lattice noise',
    taken == 0
    or (found['noise'] == 'lattice' and _positive(taken) and taken < alpha),
  )
  if cascades.SMALLEST_LEVEL in found:
    of_cascades = found['smoothing'] == 'cascade' or (
      dual and found['certificate'] in OF_CASCADES
    )
    yield (
      cascades.SMALLEST_LEVEL,
      'there where levels fall back and votes are looked at in between alone',
      of_cascades and found['goal'] is not None,
    )
  if 'tolerance' in found:
    share = found['tolerance']
    yield (
      'tolerance',
      "between 0 and 1, and of a certification with goal = 'full'",
      _positive(share)
      and share < 1
      and found['goal'] == 'full'
      and found['smoothing'] != 'cascade',
    )
  radii = found['radii']
  if found['task'] == 'predict' and found['goal'] is not None:
    yield 'radii', '[0.0], as no radius is predicted', radii == [0]
  yield (
    'radii',
    'increasing radii, one for the goal radius and none for full',
    isinstance(radii, list)
    and all(r == 0 or _positive(r) for r in radii)
    and radii == sorted(set(radii))
    and {
      None: True,
      'full': not radii,
      'radius': len(radii) == 1,
      'grid': bool(radii),
    }[found['goal']],
  )


def _of_levels(found: Mapping[str, Any]):
  """The same, of levels that follow a distance."""
  level = found['distance']
  known = isinstance(level, dict) and all(
    _finite(level.get(name)) for name in ('base', 'rate', 'centre')
  )
  yield (
    'distance',
    'a positive base, a rate from 0 on, a centre and a number of neighbours',
    known
    and level['base'] > 0
    and level['rate'] >= 0
    and _whole(level.get('neighbours')),
  )
  yield 'pixels', 'a number of pixels', _whole(found['pixels'])
  yield (
    'noise',
    'gaussian, of which there is any level',
    found['noise'] == 'gaussian',
  )


def _finite(value: Any) -> bool:
  number = isinstance(value, int | float) and not isinstance(value, bool)
  return number and -math.inf < value < math.inf


def _positive(value: Any) -> bool:
  return _finite(value) and value > 0


def _whole(value: Any) -> bool:
  return type(value) is int and value >= 1
