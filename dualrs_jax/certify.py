"""`python -m dualrs_jax.certify`, see `dualrs_jax.programs.certify`.

This file is a program alone. `dualrs_jax.certify` is a function, whose place a
module of that name would take if it were imported.
"""

if __name__ == 'dualrs_jax.certify':
  raise ImportError(
    'dualrs_jax.certify is a program and a function, no module to import:'
    ' `from dualrs_jax import certify` is the function'
  )

from dualrs_jax.programs import certify

if __name__ == '__main__':
  certify.run()
