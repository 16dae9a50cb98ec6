"""One certificate under jit, vmap, pmap and shard_map.

`certify` is a pure function of its arguments: the transformations of JAX apply
to it. The noise of a vote depends on the key of the image and the number of the
vote alone, so that each way gives the same counts. Devices share the images
under `pmap` and `shard_map`, and the votes of one image with `mesh=`.

  python examples/transformations.py
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

import dualrs_jax as drs

SIGMA = 0.25


def classifier(images, sigma):
  """The class is the brightest pixel: the logits are the pixels."""
  del sigma
  return images


certify = functools.partial(
  drs.certify, n0=100, n=1_000, alpha=0.001, chunk_size=275
)
certify_batch = jax.vmap(certify, in_axes=(None, 0, None, 0))


def one_by_one(model, images, keys):
  """A loop over images, one compiled program."""
  compiled = jax.jit(certify)
  found = [
    compiled(model, image, SIGMA, key)
    for image, key in zip(images, keys, strict=True)
  ]
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)


def with_jit_and_vmap(model, images, keys):
  """All images in one program, on one device."""
  return jax.jit(certify_batch)(model, images, SIGMA, keys)


def with_pmap(model, images, keys):
  """A share of the images on each device; the first axis is that of devices."""
  devices = jax.local_devices()
  share = lambda array: array.reshape(len(devices), -1, *array.shape[1:])
  found = jax.pmap(certify_batch, in_axes=(None, 0, None, 0), devices=devices)(
    model, share(images), SIGMA, share(keys)
  )
  return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found)


def with_shard_map(model, images, keys):
  """The same on a mesh, within whatever else a program does there."""
  mesh = Mesh(np.array(jax.local_devices()), ('images',))
  here, everywhere = PartitionSpec('images'), PartitionSpec()
  spread = jax.shard_map(
    lambda model, images, keys: certify_batch(model, images, SIGMA, keys),
    mesh=mesh,
    in_specs=(everywhere, here, here),
    out_specs=here,
    check_vma=False,  # what the loops over votes start from varies nowhere
  )
  return jax.jit(spread)(model, images, keys)


def with_a_mesh(model, images, keys):
  """One image after the other, its votes on all devices."""
  spread = jax.jit(functools.partial(certify, mesh=drs.votes_mesh()))
  found = [
    jax.block_until_ready(spread(model, image, SIGMA, key))
    for image, key in zip(images, keys, strict=True)
  ]
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)


WAYS = (one_by_one, with_jit_and_vmap, with_pmap, with_shard_map, with_a_mesh)


def main() -> dict[str, drs.Certificate]:
  """Prints and returns the certificates of each way."""
  count = jax.local_device_count()
  images = np.random.default_rng(1).random((2 * count, 3), np.float32)
  keys = jax.vmap(drs.image_key, in_axes=(None, 0))(
    jax.random.key(0), jnp.arange(len(images))
  )
  model = jax.tree_util.Partial(classifier)  # a callable pytree, as jit needs
  found = {}
  for way in WAYS:
    answer = found[way.__name__] = way(model, images, keys)
    certified = int((np.asarray(answer.prediction) >= 0).sum())
    print(
      f'{way.__name__:<18} {certified} of {len(images)} images certified,'
      f' mean radius {float(answer.radius.mean()):.4f}, {count} device(s)'
    )
  return found


if __name__ == '__main__':
  main()
