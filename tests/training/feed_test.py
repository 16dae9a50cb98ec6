"""Examples reach the steps alike, from memory and from disk."""

import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualrs_jax import data, sharding
from dualrs_jax.training import feed
from tests.training import networks
from tests.training.stored import Stored

MESH = sharding.data_mesh(6, jax.devices()[:2])


def on_disk(source):
  return dataclasses.replace(source, images=Stored(source.images))


def batches(source, pieces, order, **options):
  found = []
  for examples, chosen in feed.Feed(source, source.labels, **options).calls(
    pieces, order, MESH
  ):
    images, targets = map(np.asarray, examples)
    if chosen is None:
      chosen = np.arange(len(images))[None]
    found += [feed.Examples(images[p], targets[p]) for p in chosen]
  return found


def test_memory_and_disk_give_the_same_batches():
  source = networks.source(20)
  order = feed.Order(20, 6, 0, 'stage')
  memory = batches(source, [(0, 3), (3, 7)], order)
  disk = batches(on_disk(source), [(n, n + 1) for n in range(7)], order)
  assert len(memory) == len(disk) == 7
  for step, (left, right) in enumerate(zip(memory, disk, strict=True)):
    np.testing.assert_array_equal(left.images, right.images)
    np.testing.assert_array_equal(left.targets, source.labels[order(step)])
    np.testing.assert_array_equal(right.targets, source.labels[order(step)])


def test_images_on_disk_take_one_step_per_call():
  source = networks.source(20)
  assert feed.Feed(source, source.labels).steps_per_call is None
  assert feed.Feed(on_disk(source), source.labels).steps_per_call == 1


def test_views_from_disk_change_with_the_epoch():
  order = feed.Order(20, 6, 0, 'stage')
  views = batches(
    on_disk(networks.source(20)),
    [(2, 3), (3, 4)],
    order,
    augmented=True,
  )
  for step, view in zip((2, 3), views, strict=True):
    np.testing.assert_array_equal(view.images[:, 0, 0, 0], order(step))
    assert (view.images[:, 0, 1, 0] == step // 3).all()


def test_views_from_memory_change_with_the_key():
  source = networks.source(20)
  examples = feed.Examples(*map(jnp.asarray, (source.images, source.labels)))
  keys = [jax.random.key(n) for n in (0, 0, 1)]
  plain = feed.Feed(source, source.labels)
  assert plain.view(examples, keys[0]) is examples
  augmented = feed.Feed(source, source.labels, augmented=True)
  one, again, other = (augmented.view(examples, key) for key in keys)
  np.testing.assert_array_equal(one.images, again.images)
  assert not np.array_equal(one.images, other.images)
  np.testing.assert_array_equal(one.targets, source.labels)


def test_an_epoch_shows_each_example_once():
  order = feed.Order(10, 3, 0, 'stage')
  epochs = [
    np.concatenate([order(3 * e + i) for i in range(3)]) for e in (0, 1)
  ]
  for epoch in epochs:
    assert len(set(epoch.tolist())) == 9
  assert not np.array_equal(*epochs)
  seen = collections.Counter(order(step)[0].item() for step in range(300))
  assert len(seen) == 10
  again = feed.Order(10, 3, 0, 'stage')
  np.testing.assert_array_equal(order(4), again(4))
  assert order.stream(2) == again.stream(0) != order.stream(3)
  assert order.stream(0) != feed.Order(10, 3, 0, 'other').stream(0)


def test_too_few_examples():
  with pytest.raises(ValueError, match='2 examples, fewer than its batch_size'):
    feed.Order(2, 3, 0, 'stage')


def test_what_is_on_disk_is_stored_images():
  assert isinstance(Stored(networks.source().images), data.StoredImages)
