"""Trains a dual smoothed classifier, then certifies test images with it.

    python train.py --config configs/digits.py

It is `python -m dualrs_jax.train`; what it does is in
`dualrs_jax/programs/train.py`.
"""

from dualrs_jax.programs import train

if __name__ == '__main__':
  train.run()
