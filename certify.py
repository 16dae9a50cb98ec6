"""Certifies a data set with the networks that train.py left.

    python certify.py --config configs/digits.py

It is `python -m dualrs_jax.certify`; what it does, and its options, are in
`dualrs_jax/programs/certify.py`.
"""

from dualrs_jax.programs import certify

if __name__ == '__main__':
  certify.run()
