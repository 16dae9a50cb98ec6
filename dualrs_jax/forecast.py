"""`python -m dualrs_jax.forecast`, see `dualrs_jax.programs.forecast`."""

from dualrs_jax.programs import forecast

if __name__ == '__main__':
  forecast.run()
