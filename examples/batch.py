"""A batch of images in one compiled call.

`certify` takes one image and one key; `jax.vmap` makes a batch of it, and
`jax.jit` around that compiles it once. The noise level is traced, so another
one does not compile anything.

  python examples/batch.py
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import dualrs_jax as drs

IMAGES = np.random.default_rng(1).random((8, 3), np.float32)


def classifier(images, sigma):
  """The class is the brightest pixel: the logits are the pixels."""
  del sigma
  return images


def true_radii(images: np.ndarray) -> np.ndarray:
  """The distance at which another pixel becomes as bright as the brightest."""
  ordered = np.sort(images, axis=-1)
  return (ordered[:, -1] - ordered[:, -2]) / np.sqrt(2)


def main() -> list[tuple[float, drs.Certificate]]:
  """Prints and returns the certificates of one batch at three noise levels."""
  certify_batch = jax.jit(
    jax.vmap(
      functools.partial(
        drs.certify, n0=100, n=10_000, alpha=0.001, chunk_size=1_000
      ),
      in_axes=(None, 0, None, 0),
    )
  )
  keys = jax.vmap(drs.image_key, in_axes=(None, 0))(
    jax.random.key(0), jnp.arange(len(IMAGES))
  )
  model = jax.tree_util.Partial(classifier)  # a callable pytree, as jit needs
  answers = [
    (sigma, certify_batch(model, IMAGES, sigma, keys))
    for sigma in (0.1, 0.25, 0.5)
  ]
  columns = [np.floor(1e3 * answer.radius) / 1e3 for _, answer in answers]
  print('true   ' + '  '.join(f's={sigma:<4}' for sigma, _ in answers))
  for truth, *radii in zip(true_radii(IMAGES), *columns, strict=True):
    print(f'{truth:.3f}  ' + '  '.join(f'{radius:.3f} ' for radius in radii))
  return answers


if __name__ == '__main__':
  main()
