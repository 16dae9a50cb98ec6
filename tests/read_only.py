"""A folder that cannot be written to."""

import contextlib
import os
import pathlib

import jax


@contextlib.contextmanager
def read_only(folder):
  """Takes the right to write; root, whom no right stops, acts as nobody.

  Nobody may still read what is in the folder, and import JAX's modules.
  """
  user = os.geteuid()
  mode = folder.stat().st_mode
  above = {*folder.parents, *pathlib.Path(jax.__file__).parents}
  parents = [p for p in above if user == 0 and not p.stat().st_mode & 1]
  before = {path: path.stat().st_mode for path in parents}
  for path in parents:
    path.chmod(before[path] | 0o011)
  folder.chmod(0o555)
  os.seteuid(user or 65534)
  try:
    yield
  finally:
    os.seteuid(user)
    folder.chmod(mode)
    for path in parents:
      path.chmod(before[path])
