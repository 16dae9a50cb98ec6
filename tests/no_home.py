"""A process whose user has no home directory, as in many containers."""

import pwd


def leave(monkeypatch, folder):
  """Takes the home of this process away, and works in a folder instead."""

  def unknown(_):
    raise KeyError

  for name in ('HOME', 'XDG_CACHE_HOME', 'TFDS_DATA_DIR', 'DUALRS_JAX_CACHE'):
    monkeypatch.delenv(name, raising=False)
  for name in ('getpwuid', 'getpwnam'):
    monkeypatch.setattr(pwd, name, unknown)
  monkeypatch.chdir(folder)
