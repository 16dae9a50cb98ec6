"""What the compiler is told before it starts.

jaxlib 0.10.2 has a fusion that returns the value of another row for some
products on a CPU, see `compilers`. Votes are compiled without it wherever they
can be; programs of the user's that have certificates within, under `jax.jit`,
are so only where the whole process is. `import dualrs_jax` sees to that in the
environment, which the compiler reads when JAX first computes something. Where
that has happened before, nothing changes, and `compilers` finds it out.
"""

import importlib.metadata
import os

#: Without the fusion, as a value of the environment variable XLA_FLAGS.
NO_FUSION = '--xla_cpu_experimental_ynn_fusion_type='

#: Releases of jaxlib that were seen to need it. Another one may not know the
#: flag, and ends the process if it does not.
_RELEASES = ('0.10.2',)


def leave_out_fusion() -> None:
  """Adds `NO_FUSION` to XLA_FLAGS, unless they have a say about it already."""
  try:
    release = importlib.metadata.version('jaxlib')
  except importlib.metadata.PackageNotFoundError:
    return
  flags = os.environ.get('XLA_FLAGS', '')
  if release in _RELEASES and NO_FUSION not in flags:
    os.environ['XLA_FLAGS'] = f'{flags} {NO_FUSION}'.strip()
