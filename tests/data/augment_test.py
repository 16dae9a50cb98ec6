"""Random views on the device: all shifts, both sides, by index alone."""

import jax
import jax.numpy as jnp
import numpy as np

from dualrs_jax.data import augment

# Every pixel has its own value, so that a view tells its shift.
IMAGE = np.arange(1, 31, dtype=np.uint8).reshape(5, 6, 1)


def views(count, padding):
  keys = augment.image_keys(
    jax.random.key(0), jnp.uint32(3), jnp.arange(count, dtype=jnp.uint32)
  )
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


def test_a_view_is_of_key_epoch_and_index_alone():
  def keys(seed, epoch, indices):
    indices = jnp.asarray(indices, jnp.uint32)
    made = augment.image_keys(jax.random.key(seed), jnp.uint32(epoch), indices)
    return jax.random.key_data(made).tolist()

  first, second, third = keys(0, 1, [7, 8, 9])
  assert keys(0, 1, [9, 7]) == [third, first]
  several = [first, second, third, *keys(0, 2, [7]), *keys(1, 1, [7])]
  assert len(set(map(tuple, several))) == 5


def test_without_padding_images_are_only_mirrored():
  drawn = {view.tobytes() for view in views(64, padding=0)}
  assert drawn == {view.tobytes() for view in possible(0)}
