"""The user's folders: what `~` means, and where caches are.

`~` at the beginning of a path is the home directory wherever the library or one
of its programs takes a path, as a shell expands it only at the beginning of an
argument. Where no home is known, as in containers for users who are not in
their password file, nothing else is taken for it.
"""

import os
import pathlib

try:
  import pwd
except ImportError:  # not a POSIX system
  pwd = None


class NoHome(FileNotFoundError):
  """A path begins with `~`, and no home directory is known."""


def expand(path: str | os.PathLike) -> pathlib.Path:
  """A path with the home directory in place of a leading `~` or `~user`.

  Args:
    path: any path.

  Raises:
    NoHome: there is no such home directory.

  Example:
    >>> expand('runs/digits').as_posix()
    'runs/digits'
  """
  text = os.fspath(path)
  if not text.startswith('~'):
    found = pathlib.Path(text)
    # './~' loses its dot: it must not be taken for the home later on.
    return found.absolute() if str(found).startswith('~') else found
  first, *rest = pathlib.Path(text).parts
  folder = home() if first == '~' else _home_of(first[1:])
  if folder is None:
    whose = '' if first == '~' else f' of the user {first[1:]!r}'
    raise NoHome(
      f'no home directory{whose} is known for {text}: write the folder in full'
      ' (as ./~ if that is its name), or set HOME'
    )
  return folder.joinpath(*rest)


def home() -> pathlib.Path | None:
  """The home directory: HOME, or that of the user; None if neither is known.

  What is no absolute path is not taken for one.
  """
  if os.path.isabs(os.environ.get('HOME', '')):
    return pathlib.Path(os.environ['HOME'])
  if pwd is None:
    found = os.path.expanduser('~')
  else:
    try:
      found = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
      return None
  return pathlib.Path(found) if os.path.isabs(found) else None


def cache() -> pathlib.Path | None:
  """The folder for what can be computed again; None if there is no place.

  It is `dualrs_jax` in `$XDG_CACHE_HOME`, or in `~/.cache` where that is not
  set to an absolute path. A home directory that is not there is not made.
  """
  named = os.environ.get('XDG_CACHE_HOME', '')
  try:
    root = expand(named) if named else None
  except NoHome:
    root = None
  if root is not None and root.is_absolute():
    return root / 'dualrs_jax'
  folder = home()
  if folder is None or not folder.is_dir():
    return None
  return folder / '.cache' / 'dualrs_jax'


def _home_of(user: str) -> pathlib.Path | None:
  try:
    return None if pwd is None else pathlib.Path(pwd.getpwnam(user).pw_dir)
  except (KeyError, ValueError):
    return None
