"""Experts: one classifier per level, and an estimator that routes to them.

The expert is chosen by index, so the levels may be equal. Here each expert is
right on its own half of the picture and answers at random on the other, and
the router knows which half an image belongs to. The certificate holds for the
composed system, no matter how good the router is.

  python examples/experts.py
"""

import math

import jax
import jax.numpy as jnp

import dualrs_jax as drs

#: The first pixel says which half; the second one which class.
IMAGES = jnp.array([[0.0, 0.9], [0.1, 0.2], [1.0, 0.8], [0.9, 0.1]])
LABELS = (1, 0, 1, 0)
SIGMAS = [0.25, 0.25]


def router(images, sigma):
  """Level 0 for the left half, level 1 for the right half."""
  del sigma
  left = 0.5 - images[:, 0]
  return jnp.stack([left, -left], axis=-1)


def expert(images, sigma, *, right: bool):
  """Knows one half; on the other its answer is a hash of the noisy pixels."""
  del sigma
  knows = (images[:, 0] > 0.5) == right
  chance = jnp.sin(1e4 * images[:, 1])
  side = jnp.where(knows, images[:, 1] - 0.5, chance)
  return jnp.stack([-side, side], axis=-1)


def left_expert(images, sigma):
  """The expert of level 0."""
  return expert(images, sigma, right=False)


def right_expert(images, sigma):
  """The expert of level 1."""
  return expert(images, sigma, right=True)


def main() -> list[drs.DualCertificate]:
  """Prints and returns the certificates of the routed experts."""
  answers = []
  for index, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
    answer = drs.certify_dual(
      router,
      (left_expert, right_expert),
      image,
      SIGMAS,
      0.25,
      drs.image_key(jax.random.key(0), index),
      n0=100,
      n=10_000,
      alpha=0.001,
      certificate=drs.agreement,
      chunk_size=1_000,
    )
    radius = math.floor(1e3 * float(answer.radius)) / 1e3  # never up
    print(
      f'label {label}  predicted {int(answer.prediction):2d}'
      f'  expert {int(answer.sigma_index)}  radius {radius:.3f}'
    )
    answers.append(answer)
  return answers


if __name__ == '__main__':
  main()
