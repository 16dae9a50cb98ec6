"""`python -m dualrs_jax.train`, see `dualrs_jax.programs.train`."""

from dualrs_jax.programs import train

if __name__ == '__main__':
  train.run()
