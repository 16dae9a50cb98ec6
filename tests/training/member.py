"""One process of a training of several; distributed_test.py starts it.

    python member.py WORKDIR SOURCE ADDRESS COUNT INDEX

`SOURCE` is memory, or disk: where the training images are.
"""

import dataclasses
import logging
import pathlib
import sys

from dualrs_jax import data
from dualrs_jax.runtime import cluster, preemption, processes
from dualrs_jax.training import loop
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
  with processes.in_step(place):
    try:
      loop.train(config, pathlib.Path(workdir))
    except preemption.Preempted as error:
      print(error)
      sys.exit(preemption.EXIT_STATUS)


if __name__ == '__main__':
  main(*sys.argv[1:])
