"""jit, vmap, pmap, shard_map and meshes leave every certificate as it is.

The network has integer weights and exact logits, so integers are compared for
equality, and radii with them.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from dualrs_jax import (
  agreement,
  certify,
  certify_dual,
  image_key,
  predict_dual,
  votes_mesh,
)
from tests import oracles

NETWORK = oracles.integer_network(16, 4, seed=1)
ROUTER = oracles.integer_network(16, 3, seed=5)
IMAGES = jnp.stack([oracles.image(4, 4, 1, seed=seed) for seed in range(8)])
KEYS = jnp.stack([image_key(jax.random.key(9), index) for index in range(8)])
SIGMAS = (0.02, 0.04, 0.08)


def single(classifier, image, sigma, key, chunk_size=100, mesh=None):
  return certify(
    classifier,
    image,
    sigma,
    key,
    n0=17,
    n=183,
    alpha=0.05,
    chunk_size=chunk_size,
    mesh=mesh,
  )


def dual(router, classifier, image, sigmas, key, chunk_size=100, mesh=None):
  return certify_dual(
    router,
    classifier,
    image,
    sigmas,
    sigmas[0],
    key,
    n0=17,
    n=183,
    alpha=0.3,
    certificate=agreement,
    chunk_size=chunk_size,
    mesh=mesh,
  )


@functools.cache
def loop():
  """The eager calls, one image after the other: what all others must equal."""
  return _stack([single(NETWORK, x, 0.05, k) for x, k in _pairs()])


@functools.cache
def dual_loop():
  return _stack([dual(ROUTER, NETWORK, x, SIGMAS, k) for x, k in _pairs()])


def _pairs():
  return list(zip(IMAGES, KEYS, strict=True))


def _stack(rows):
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)


def test_the_loop_is_a_fair_witness():
  assert 0 < np.mean(np.asarray(loop().prediction) >= 0) < 1
  assert len(set(np.asarray(dual_loop().sigma_index).tolist())) > 1
  assert 0 < np.mean(np.asarray(dual_loop().prediction) >= 0) < 1


def test_jit():
  jitted = jax.jit(single)
  chex.assert_trees_all_equal(
    _stack([jitted(NETWORK, x, jnp.float32(0.05), k) for x, k in _pairs()]),
    loop(),
  )
  jitted = jax.jit(chex.assert_max_traces(dual, n=1))
  sigmas = jnp.float32(SIGMAS)
  chex.assert_trees_all_equal(
    _stack([jitted(ROUTER, NETWORK, x, sigmas, k) for x, k in _pairs()]),
    dual_loop(),
  )
  # Other levels, images and weights do not recompile.
  other = oracles.integer_network(16, 4, seed=2)
  jitted(ROUTER, other, IMAGES[0] / 2, 3 * sigmas, KEYS[1])


def test_vmap():
  chex.assert_trees_all_equal(
    jax.vmap(lambda x, k: single(NETWORK, x, 0.05, k))(IMAGES, KEYS), loop()
  )
  batch = jax.vmap(lambda x, k: dual(ROUTER, NETWORK, x, SIGMAS, k))(
    IMAGES, KEYS
  )
  chex.assert_trees_all_equal(batch, dual_loop())


def test_order_does_not_matter():
  order = np.random.default_rng(0).permutation(8)
  batch = jax.vmap(lambda x, k: single(NETWORK, x, 0.05, k))(
    IMAGES[order], KEYS[order]
  )
  chex.assert_trees_all_equal(
    batch, jax.tree.map(lambda leaf: leaf[order], loop())
  )


def test_several_levels_under_vmap():
  levels = jnp.float32([0.02, 0.05])
  batch = jax.vmap(lambda s: single(NETWORK, IMAGES[0], s, KEYS[0]))(levels)
  rows = [single(NETWORK, IMAGES[0], s, KEYS[0]) for s in (0.02, 0.05)]
  chex.assert_trees_all_equal(batch, _stack(rows))


@pytest.mark.parametrize('chunk_size', [7, 1_000])
def test_chunks(chunk_size):
  rows = [
    single(NETWORK, x, 0.05, k, chunk_size=chunk_size) for x, k in _pairs()
  ]
  chex.assert_trees_all_equal(_stack(rows), loop())


needs_eight = pytest.mark.skipif(
  jax.local_device_count() < 8, reason='needs 8 devices'
)


@needs_eight
def test_mesh():
  mesh = votes_mesh(jax.devices()[:8])
  rows = [
    dual(ROUTER, NETWORK, x, SIGMAS, k, chunk_size=30, mesh=mesh)
    for x, k in _pairs()[:3]
  ]
  expected = jax.tree.map(lambda leaf: leaf[:3], dual_loop())
  chex.assert_trees_all_equal(_stack(rows), expected)


@needs_eight
def test_mesh_under_jit_and_vmap():
  mesh = votes_mesh()
  batch = jax.jit(
    jax.vmap(lambda x, k: dual(ROUTER, NETWORK, x, SIGMAS, k, 30, mesh=mesh))
  )(IMAGES, KEYS)
  chex.assert_trees_all_equal(batch, dual_loop())


@needs_eight
def test_pmap():
  spread = jax.pmap(lambda x, k: dual(ROUTER, NETWORK, x, SIGMAS, k))(
    IMAGES, KEYS
  )
  chex.assert_trees_all_equal(jax.device_get(spread), dual_loop())


@needs_eight
def test_shard_map():
  """Images over the mesh, four on each of two devices; votes are not."""
  mesh = votes_mesh(jax.devices()[:2])
  spec = PartitionSpec(mesh.axis_names[0])
  spread = jax.jit(
    jax.shard_map(
      jax.vmap(lambda x, k: single(NETWORK, x, 0.05, k)),
      mesh=mesh,
      in_specs=(spec, spec),
      out_specs=spec,
      check_vma=False,
    )
  )(IMAGES, KEYS)
  chex.assert_trees_all_equal(jax.device_get(spread), loop())


def test_lax_map():
  mapped = jax.lax.map(
    lambda pair: single(NETWORK, pair[0], 0.05, pair[1]), (IMAGES, KEYS)
  )
  chex.assert_trees_all_equal(mapped, loop())


def test_predict_dual_under_jit_and_vmap():
  def predict(image, key):
    return predict_dual(
      ROUTER,
      NETWORK,
      image,
      SIGMAS,
      0.02,
      key,
      n=183,
      alpha=0.3,
      chunk_size=100,
    )

  rows = _stack([predict(x, k) for x, k in _pairs()])
  batch = jax.jit(jax.vmap(predict))(IMAGES, KEYS)
  chex.assert_trees_all_equal(batch, rows)
  # The votes are those of the certificates.
  np.testing.assert_array_equal(
    rows.estimator_counts, dual_loop().estimator_counts.estimation
  )
