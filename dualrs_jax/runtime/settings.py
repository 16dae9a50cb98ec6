"""The settings of a working directory: written once, compared ever after.

Results that were computed under different settings must not end up in one
file. Every long run therefore claims its directory: the first run writes down
what it does, and every later one either does exactly the same or is refused.
"""

import errno
import hashlib
import json
import logging
import os
import pathlib
import secrets
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from dualrs_jax import folders
from dualrs_jax.runtime import files, locks

logger = logging.getLogger(__name__)

#: The name under which a settings file records the `fingerprint` of the rest.
FINGERPRINT = 'fingerprint'

#: What file systems without hard links say.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}

#: What to do about a file that cannot be used. Whatever was computed under it
#: is compared with what a new one says.
_RESTORE = (
  'put a copy of it back, or remove it, and the same command writes it again if'
  ' nothing else was computed there'
)

_SEED_BITS = 32  # jax.random.key drops higher bits unless 64-bit mode is on


class SettingsMismatch(ValueError):
  """A directory holds results of other settings than those asked for."""


def fresh_seed() -> int:
  """Returns a seed for `jax.random.key` from the system's entropy."""
  return secrets.randbits(_SEED_BITS)


def check_seed(seed: int) -> int:
  """Returns `seed`; ValueError where `jax.random.key` would cut it."""
  if not 0 <= seed < 2**_SEED_BITS:
    raise ValueError(
      f'seed must be in [0, 2**{_SEED_BITS}), got {seed}: jax.random.key would'
      ' silently drop its upper bits'
    )
  return seed


def claim(
  path: str | os.PathLike,
  settings: Mapping[str, Any],
  *,
  once: Mapping[str, Any] | None = None,
  first: Mapping[str, Any] | None = None,
  advisory: Collection[str] = (),
) -> dict[str, Any]:
  """Makes a directory belong to these settings, or refuses.

  The first claim writes the settings durably. Later claims compare: results
  of different settings never mix. Two processes that claim at the same moment
  agree on one of them.

  Args:
    path: the JSON file that records the settings.
    settings: what identifies the run; anything that JSON can express.
    once: further values that are taken from the first claim ever after, such
      as a seed that was drawn for it, until they are replaced; never compared.
    first: values that only the claim which writes the file records, such as
      their `fingerprint`; a file that has others, or none, is left as it is.
    advisory: names in `settings` whose difference is only logged, such as
      library versions. The file keeps what it says.

  Returns:
    The settings in force: those of the file.

  Raises:
    SettingsMismatch: a value differs from the recorded one; every differing
      name is given with both values.
    ValueError: the file is not a JSON object.
  """
  path = folders.expand(path)
  wanted, drawn = _as_json(settings), _as_json(once or {})
  written = {**wanted, **drawn, **_as_json(first or {})}
  if not path.exists() and _create(path, written):
    return written
  recorded = read(path)
  lost = [name for name in drawn if name not in recorded]
  if lost:
    raise SettingsMismatch(
      f'{path} does not record {", ".join(lost)}: {_RESTORE}'
    )
  uncompared = {*drawn, *(first or {})}
  identity = {n: value for n, value in recorded.items() if n not in uncompared}
  compare(identity, wanted, place=path.parent, advisory=advisory)
  return recorded


def replace(path: str | os.PathLike, values: Mapping[str, Any]) -> None:
  """Replaces values that a claim gave as `once`, such as what was asked for.

  Args:
    path: the JSON file that records the settings.
    values: the new ones; all others stay. A file that has them is left alone.
  """
  recorded, wanted = read(path), _as_json(values)
  if any(recorded.get(name) != value for name, value in wanted.items()):
    files.write_atomic(path, _dump({**recorded, **wanted}))


def verify(path: str | os.PathLike, settings: Mapping[str, Any]) -> None:
  """Raises SettingsMismatch where a recorded value differs from these.

  Names that the file does not record are not compared, nor are those that it
  records beyond `settings`. See `claim` for what else can be raised.
  """
  recorded, wanted = read(path), _as_json(settings)
  shared = [name for name in wanted if name in recorded]
  compare(
    {name: recorded[name] for name in shared},
    {name: wanted[name] for name in shared},
    place=folders.expand(path).parent,
  )


def read(path: str | os.PathLike) -> dict[str, Any]:
  """Returns the settings in a file; ValueError if it holds no JSON object."""
  try:
    settings = json.loads(folders.expand(path).read_bytes())
  except (ValueError, RecursionError) as error:
    raise ValueError(
      f'{path} is not a settings file ({error}): {_RESTORE}'
    ) from error
  if not isinstance(settings, dict):
    raise ValueError(
      f'{path} is not a settings file (no JSON object): {_RESTORE}'
    )
  return settings


def fingerprint(settings: Mapping[str, Any]) -> str:
  """A short text that changes with any of the settings, not with their order.

  What was computed under settings carries it, so that it is not taken for that
  of others where their file is lost or exchanged.

  Args:
    settings: anything that JSON can express.

  Example:
    >>> fingerprint({'n': 1, 'sigmas': (0.5,)})
    'a2430d875cda1812'
  """
  text = json.dumps(settings, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(
  recorded: Any, wanted: Any, name: str = ''
) -> Iterator[tuple[str, tuple[str, str]]]:
  """Yields (dotted name, (recorded text, wanted text)) of what differs.

  Args:
    recorded: settings, as JSON has them.
    wanted: others.
    name: of both, where they are part of some.
  """
  if isinstance(recorded, dict) and isinstance(wanted, dict):
    for key in [*wanted, *(k for k in recorded if k not in wanted)]:
      yield from differences(
        recorded.get(key, _MISSING),
        wanted.get(key, _MISSING),
        f'{name}.{key}' if name else key,
      )
  # A NaN is no other than a NaN, though unequal.
  elif recorded != wanted and _show(recorded) != _show(wanted):
    yield name, (_show(recorded), _show(wanted))


def compare(
  recorded: Mapping[str, Any],
  wanted: Mapping[str, Any],
  *,
  place: pathlib.Path,
  advisory: Collection[str] = (),
) -> None:
  """Raises SettingsMismatch where settings differ, naming all differences.

  Args:
    recorded: the settings of something that is there.
    wanted: those asked for, as JSON has them.
    place: where it is.
    advisory: names whose difference is only logged.
  """
  different = []
  for name, (there, here) in differences(recorded, wanted):
    if name.split('.')[0] in advisory:
      logger.warning(
        '%s was written with %s = %s, now it is %s', place, name, there, here
      )
    else:
      different.append(f'{name} is {there} there and {here} here')
  if different:
    raise SettingsMismatch(
      f'{place} belongs to another configuration: {"; ".join(different)}'
    )


def _create(path: pathlib.Path, settings: Mapping[str, Any]) -> bool:
  """Writes the file unless it exists; says whether it did."""
  with files.durable_temporary(path, _dump(settings)) as temporary:
    try:
      os.link(temporary, path)  # fails if somebody was faster
    except FileExistsError:
      return False
    except OSError as error:
      if error.errno not in _NO_LINKS:
        raise
      lock = path.with_name(f'{path.name}.lock')
      refusal = f'another process is writing {path}'
      with locks.exclusively(lock, refusal=refusal):
        if path.exists():
          return False
        os.replace(temporary, path)
  files.sync_directory(path.parent)
  return True


def _dump(settings: Mapping[str, Any]) -> str:
  return json.dumps(settings, indent=2) + '\n'


def _as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
  return json.loads(json.dumps(settings))


_MISSING = object()


def _show(value: Any) -> str:
  return 'not set' if value is _MISSING else json.dumps(value)
