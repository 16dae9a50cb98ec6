"""Networks on devices, and what stands for their weights."""

import jax
import jax.numpy as jnp

from dualrs_jax import models, sharding
from dualrs_jax.evaluation import smoothed_networks


def test_fingerprints_follow_the_weights(classifier):
  base = smoothed_networks.fingerprint(classifier)
  assert base == smoothed_networks.fingerprint(
    jax.tree.map(jnp.copy, classifier)
  )
  changed = jax.tree.map(lambda weights: weights.at[0, 0].add(1), classifier)
  assert base != smoothed_networks.fingerprint(changed)
  keyed = jax.tree_util.Partial(classifier.func, jax.random.key(0))
  assert smoothed_networks.fingerprint(keyed) != base


def test_fingerprints_follow_the_constants_of_a_network():
  def network(mean, seed=0):
    return models.inference_view(
      models.create(
        'cnn',
        num_classes=3,
        image_shape=(8, 8, 1),
        seed=seed,
        channels=(2,),
        kernels=(4,),
        strides=(4,),
        hidden=4,
        image_mean=mean,
      )
    )

  assert smoothed_networks.fingerprint(
    network(0.1)
  ) == smoothed_networks.fingerprint(network(0.1))
  assert smoothed_networks.fingerprint(
    network(0.1)
  ) != smoothed_networks.fingerprint(network(0.2))


def test_what_networks_share_is_once_on_each_device(classifier, estimator):
  network = jax.tree_util.Partial(lambda *parts: None, classifier)
  mesh = sharding.votes_mesh()
  placed = jax.tree.leaves(
    smoothed_networks.everywhere((classifier, estimator, network), mesh)
  )
  addresses = [
    [shard.data.unsafe_buffer_pointer() for shard in array.addressable_shards]
    for array in placed
  ]
  assert addresses[0] == addresses[2]
  assert addresses[0] != addresses[1]
