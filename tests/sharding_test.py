"""A mesh spreads votes and changes none of them."""

import chex
import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from dualrs_jax import noise, sharding, voting
from tests import oracles

IMAGE = oracles.image(4, 4, 1)
NETWORK = oracles.integer_network(16, 5, seed=1)
KEY = noise.image_key(jax.random.key(0), 5)


def count(mesh=None, *, n0=20, n=183, chunk_size=30):
  return voting.count_votes(
    NETWORK, IMAGE, 0.5, KEY, n0=n0, n=n, chunk_size=chunk_size, mesh=mesh
  )


def test_votes_mesh():
  assert dict(sharding.votes_mesh().shape) == {
    sharding.VOTES: jax.local_device_count()
  }
  mesh = sharding.votes_mesh(jax.devices()[:2])
  assert mesh.devices.tolist() == jax.devices()[:2]


@pytest.mark.parametrize('devices', [1, 8])
def test_counts_do_not_depend_on_the_number_of_devices(devices):
  """203 votes in 7 chunks of 29: no number of devices divides them."""
  if devices > jax.local_device_count():
    pytest.skip(f'needs {devices} devices')
  mesh = sharding.votes_mesh(jax.devices()[:devices])
  chex.assert_trees_all_equal(count(mesh), count())


def test_more_devices_than_chunks():
  mesh = sharding.votes_mesh()
  chex.assert_trees_all_equal(
    count(mesh, chunk_size=500), count(chunk_size=500)
  )


@pytest.mark.skipif(jax.local_device_count() < 4, reason='needs 4 devices')
def test_a_mesh_with_another_axis_misses_no_vote():
  mesh = Mesh(
    np.array(jax.devices()[:4]).reshape(2, 2),
    (sharding.VOTES, 'model'),
    axis_types=(AxisType.Auto,) * 2,
  )
  chex.assert_trees_all_equal(count(mesh), count())


def test_a_mesh_without_votes_is_refused():
  mesh = Mesh(np.array(jax.devices()[:1]), ('data',))
  with pytest.raises(ValueError, match="axis 'votes', but this mesh has"):
    count(mesh)


def test_the_batch_of_a_device_has_one_shape():
  """So that a network votes as on one device, rounding included."""
  shapes = set()

  def spy(images, sigma):
    shapes.add(images.shape)
    return NETWORK(images, sigma)

  for mesh in (None, sharding.votes_mesh()):
    voting.count_votes(
      spy, IMAGE, 0.5, KEY, n0=20, n=183, chunk_size=30, mesh=mesh
    )
  assert shapes - {(2, *IMAGE.shape)} == {(29, *IMAGE.shape)}
