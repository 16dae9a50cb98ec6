"""What a result was computed with: versions, devices, the source revision."""

import importlib.metadata
import os
import pathlib
import platform
import subprocess
from typing import Any

import jax

_PACKAGES = ('dualrs_jax', 'jax', 'jaxlib', 'flax', 'numpy', 'scipy')


class NoDevice(RuntimeError):
  """JAX has no device to compute on."""


def check_devices() -> None:
  """Raises NoDevice, in one sentence, where JAX cannot start.

  JAX itself fails an assertion where JAX_PLATFORMS names what is not there.
  """
  try:
    jax.local_devices()
  except (AssertionError, RuntimeError) as error:
    named = os.environ.get('JAX_PLATFORMS', '')
    reason = f' ({str(error).splitlines()[0]})' if str(error) else ''
    raise NoDevice(
      f'JAX finds no device of JAX_PLATFORMS = {named!r}{reason}: name one that'
      ' this machine has, such as cpu, or unset it'
    ) from error


def describe() -> dict[str, Any]:
  """Describes the software and the devices of this process.

  Returns:
    A JSON-compatible dict: `versions` (of Python and of the packages whose
    arithmetic matters; None if not installed), `platform` and `device_kind`
    (of the local devices), `device_count` (local) and `git_revision` (see
    below). Kind and platform belong to the identity of a run, since the
    rounding of a network's kernels depends on them; the others are for the
    record.
  """
  device = jax.local_devices()[0]
  return {
    'versions': {
      'python': platform.python_version(),
      **{name: _version(name) for name in _PACKAGES},
    },
    'platform': device.platform,
    'device_kind': device.device_kind,
    'device_count': jax.local_device_count(),
    'git_revision': git_revision(),
  }


def git_revision() -> str | None:
  """Returns the commit of this library's source, or None outside a checkout.

  The text ends in '-dirty' when tracked files differ from that commit. A
  library that is installed inside some other repository has no revision.
  """
  here = pathlib.Path(__file__).resolve()
  if _git(here.parent, 'ls-files', '--error-unmatch', here.name) is None:
    return None
  return _git(
    here.parent, 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*'
  )


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _git(directory: pathlib.Path, *arguments: str) -> str | None:
  """Returns what git prints, or None when git is missing or refuses."""
  try:
    done = subprocess.run(
      ['git', '-C', str(directory), *arguments],
      capture_output=True,
      text=True,
      timeout=10,
      check=True,
    )
  except (OSError, subprocess.SubprocessError):
    return None
  return done.stdout.strip()
