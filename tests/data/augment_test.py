"""Random views on the device: all shifts, both sides."""

import jax
import jax.numpy as jnp
import numpy as np

from dualrs_jax.data import augment

# Every pixel has its own value, so that a view tells its shift.
IMAGE = np.arange(1, 31, dtype=np.uint8).reshape(5, 6, 1)


def views(count, padding):
  keys = jax.random.split(jax.random.key(0), count)
  images = jnp.broadcast_to(jnp.asarray(IMAGE), (count, *IMAGE.shape))
  return np.asarray(
    jax.jit(augment.shift_and_mirror, static_argnames='padding')(
      images, keys, padding=padding
    )
  )


def possible(padding):
  frame = np.pad(IMAGE, ((padding, padding), (padding, padding), (0, 0)))
  shifts = range(2 * padding + 1)
  for top in shifts:
    for left in shifts:
      view = frame[top : top + 5, left : left + 6]
      yield from (view, view[:, ::-1])


def test_every_shift_is_as_likely_on_both_sides():
  drawn = views(3_600, padding=1)
  counts = np.array(
    [(drawn == view).all((1, 2, 3)).sum() for view in possible(1)]
  )
  assert counts.sum() == 3_600
  # 18 views of 200 each: chi-square with 17 degrees of freedom, 1 in 10,000.
  assert ((counts - 200) ** 2 / 200).sum() < 49.6


def test_without_padding_images_are_only_mirrored():
  drawn = {view.tobytes() for view in views(64, padding=0)}
  assert drawn == {view.tobytes() for view in possible(0)}
