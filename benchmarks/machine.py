"""On what something was measured."""

import json
import os
import pathlib
import platform

import jax

from dualrs_jax.runtime import environment


def processor() -> str:
  """The processor as the system names it."""
  path = pathlib.Path('/proc/cpuinfo')
  if path.exists():
    for line in path.read_text().splitlines():
      if line.startswith('model name'):
        return line.partition(':')[2].strip()
  return platform.processor() or platform.machine()


def cores() -> int | None:
  """How many cores this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count()


def devices() -> str:
  """The devices in words."""
  local = jax.local_devices()
  return f'{len(local)} device(s) of kind {local[0].device_kind}'


def in_short() -> str:
  """Cores, kind of device, version of JAX and revision, in words."""
  found = environment.describe()
  return (
    f'{os.cpu_count()} cores, {found["device_kind"]}, jax'
    f' {found["versions"]["jax"]}, revision {found["git_revision"]}.'
  )


def block() -> list[str]:
  """The environment, as the last lines of a page of Markdown."""
  return ['', '```', json.dumps(environment.describe(), indent=2), '```', '']
