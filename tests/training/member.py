"""One process of a training of several; distributed_test.py starts it.

    python member.py WORKDIR SOURCE ADDRESS COUNT INDEX

`SOURCE` is memory, or disk: where the training images are. The weights that
each stage ended in here, in memory, are in WORKDIR/<index>.json as checksums.
"""

import dataclasses
import json
import logging
import pathlib
import sys
import zlib

import jax
import numpy as np
from flax import nnx

from dualrs_jax import data
from dualrs_jax.runtime import cluster, preemption, processes
from dualrs_jax.training import fit, loop
from tests.training import tiny
from tests.training.stored import Stored


def on_disk(load):
  """A loader of data sets whose training images are not in memory."""

  def loaded(**options):
    source = load(**options)
    if options['split'] != 'train':
      return source
    return dataclasses.replace(source, images=Stored(source.images))

  return loaded


def recorded(fit, found):
  """`fit`, with a checksum of each model that it returns."""

  def fitted(*arguments, **options):
    model = fit(*arguments, **options)
    leaves = [
      leaf.addressable_data(0) for leaf in jax.tree.leaves(nnx.state(model))
    ]
    texts = [np.asarray(leaf).tobytes() for leaf in leaves]
    found[options['stage']] = zlib.crc32(b''.join(texts))
    return model

  return fitted


def main(workdir, source, address, count, index):
  handler = logging.StreamHandler()
  logging.basicConfig(handlers=[handler], format='log: %(message)s')
  place = cluster.start(
    '',
    coordinator_address=address,
    num_processes=int(count),
    process_id=int(index),
    timeout=60,
  )
  processes.label_log(place, [handler])
  if source == 'disk':
    data.load = on_disk(data.load)
  config = tiny.get_config()
  with config.unlocked():
    config.baselines = ()
  workdir, found = pathlib.Path(workdir), {}
  fit.fit = recorded(fit.fit, found)
  with processes.in_step(place):
    try:
      loop.train(config, workdir)
      (workdir / f'{index}.json').write_text(json.dumps(found))
    except preemption.Preempted as error:
      print(error)
      sys.exit(preemption.EXIT_STATUS)


if __name__ == '__main__':
  main(*sys.argv[1:])
