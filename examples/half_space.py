"""Certificates beside the true radius, where the truth is known.

A half-space keeps its answer up to its boundary, at every noise level. So does
the dual smoothed classifier here, whatever its estimator selects: both levels
smooth the same half-space. The estimator changes its mind close to the image,
which is where `paper` and `minimum` must stop; `agreement` sees that the other
level gives the same answer and goes on to the boundary.

  python examples/half_space.py
"""

import math

import jax
import jax.numpy as jnp

import dualrs_jax as drs

IMAGE = jnp.array([0.7, 0.8])
NORMAL = jnp.array([0.6, 0.8])
SIGMAS = [0.25, 0.5]
VOTES = {'n0': 100, 'n': 20_000, 'alpha': 0.001, 'chunk_size': 5_000}


def classifier(images, sigma):
  """Class 0 on the side of NORMAL, class 1 on the other."""
  del sigma  # the same half-space at every level
  side = images @ NORMAL - 0.5
  return jnp.stack([side, -side], axis=-1)


def estimator(images, sigma):
  """Level 0 where the first pixel exceeds 0.6, level 1 elsewhere."""
  del sigma
  side = images[:, 0] - 0.6
  return jnp.stack([side, -side], axis=-1)


def main() -> dict[str, float]:
  """Prints and returns the true radius and what each rule certifies of it."""
  key = drs.image_key(jax.random.key(0), 0)
  radii = {'true': float(IMAGE @ NORMAL - 0.5)}
  single = drs.certify(classifier, IMAGE, SIGMAS[0], key, **VOTES)
  radii['sigma = 0.25 alone'] = float(single.radius)
  for rule in (drs.paper, drs.minimum, drs.agreement):
    dual = drs.certify_dual(
      estimator,
      classifier,
      IMAGE,
      SIGMAS,
      0.5,
      key,
      certificate=rule,
      **VOTES,
    )
    radii[rule.name] = float(dual.radius)
  for name, radius in radii.items():
    print(f'{name:<18}  {math.floor(1e3 * radius) / 1e3:.3f}')  # never up
  return radii


if __name__ == '__main__':
  main()
