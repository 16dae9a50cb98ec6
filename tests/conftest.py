"""Strict JAX on eight virtual CPU devices, for every test.

The options must be set before JAX starts its backend, so they are set here, at
import. `JAX_PLATFORMS` in the environment wins, for a run of the tests on
another kind of device. With `JAX_COMPILATION_CACHE_DIR` set (JAX reads it
itself) a second run of the tests compiles less.

Tests compile much and compute little, so XLA optimizes less, unless `XLA_FLAGS`
say otherwise. Tables of bounds are kept in a folder that goes with the run, and
that the processes of the run share.
"""

import importlib.metadata
import os
import tempfile

os.environ.setdefault('XLA_FLAGS', '--xla_backend_optimization_level=0')
if (
  importlib.metadata.version('jaxlib') == '0.10.2'
  and 'xla_cpu_experimental_ynn_fusion_type' not in os.environ['XLA_FLAGS']
):
  # Tests compile certificates as parts of programs of theirs, see `compilers`.
  # Another release may not know the flag, and would end the process.
  os.environ['XLA_FLAGS'] += ' --xla_cpu_experimental_ynn_fusion_type='

import jax

if 'DUALRS_JAX_CACHE' not in os.environ:
  _TABLES = tempfile.TemporaryDirectory(prefix='dualrs_jax-tests-')
  os.environ['DUALRS_JAX_CACHE'] = _TABLES.name

if 'JAX_PLATFORMS' not in os.environ:
  jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')

#: Files whose tests take longest. They start first, so that no process is left
#: with one of them at the end.
LONGEST = (
  'published_test.py',
  'training/loop_test.py',
  'train_test.py',
  'training/distributed_test.py',
  'certify_test.py',
  'evaluation/certify_source_test.py',
  'readme_test.py',
)


def pytest_collection_modifyitems(items):
  """Sorts whole files; the order within a file stays."""

  def place(item):
    path = item.path.as_posix()
    return next(
      (n for n, name in enumerate(LONGEST) if path.endswith(f'tests/{name}')),
      len(LONGEST),
    )

  items.sort(key=place)
