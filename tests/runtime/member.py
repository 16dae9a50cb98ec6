"""One process of a run of several; processes_test.py starts it.

    python member.py WHAT FOLDER DISTRIBUTED-FLAGS...

`WHAT` names a function below. It says what it saw in FOLDER/<index>.json.
"""

import functools
import json
import logging
import os
import pathlib
import resource
import signal
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dualrs_jax.runtime import cluster, preemption, processes


def everywhere(spec=()):
  mesh = Mesh(np.array(jax.devices()), ('data',))
  return NamedSharding(mesh, PartitionSpec(*spec))


def total(value):
  """A sum over the processes: it ends when all of them have called it."""
  local = np.full(jax.local_device_count(), value, np.float32)
  array = jax.make_array_from_process_local_data(everywhere(['data']), local)
  add = jax.jit(jnp.sum, out_shardings=everywhere())
  return float(add(array) / jax.local_device_count())


def joins(place, folder):
  log = logging.getLogger('dualrs_jax.member')
  log.info('quiet')
  log.warning('loud')
  return {'place': list(place), 'total': total(place.index + 1)}


def steps(preempted, together, signal_at):
  """Steps until it is told to end; sends itself SIGTERM at a step, or never."""
  for step in range(3000):
    if preempted():
      return step
    if together:
      total(1)
    if step == signal_at:
      os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.01)
  raise AssertionError('SIGTERM was not noticed')


def ends_together(place, folder):
  with preemption.watch(together=True) as preempted:
    signal_at = None if place.first else 20
    return {'step': steps(preempted, True, signal_at), 'then': 'preempted'}


def ends_alone(place, folder):
  with preemption.watch(together=False) as preempted:
    signal_at = 20 if place.first else 50
    return {'step': steps(preempted, False, signal_at), 'then': 'preempted'}


def ends_at_the_last_call(place, folder):
  """SIGTERM comes when the last watch has ended, and the run is to be left."""
  with preemption.watch(together=True) as preempted:
    for _ in range(5):
      assert not preempted()
  if not place.first:
    os.kill(os.getpid(), signal.SIGTERM)
  try:
    processes.leave(['-c', 'raise SystemExit(9)'])
  except preemption.Preempted as error:
    return {'said': str(error), 'then': 'preempted'}


def ends_late(place, folder):
  """Preempted at one call, the processes are there at different times."""
  with preemption.watch(together=True) as preempted:
    steps(preempted, True, 20)
  if not place.first:
    time.sleep(4 * cluster.SHUTDOWN_SECONDS)
  return {'then': 'preempted'}


def leaves(place, folder):
  """Each goes on as a program of its own, whatever the other does."""
  total(1)
  here = f'{place.index}.pid', str(os.getpid())
  code = """
import os, pathlib, sys, time
folder, name, pid, index = sys.argv[1:]
assert os.getpid() == int(pid)
if index == '1':
  os.kill(os.getpid(), 9)
time.sleep(2)
import jax.numpy as jnp
(pathlib.Path(folder) / name).write_text(str(jnp.arange(3).sum()))
"""
  processes.leave(['-c', code, str(folder), *here, f'{place.index}'])


def fails(place, folder):
  total(1)
  if not place.first:
    raise OSError('disk full')
  while True:
    total(1)


def fails_alike(place, folder):
  """All find the same mistake, the first process long before the last."""
  time.sleep(4 * place.index)
  print(f'error of {place.index}', flush=True)
  sys.exit(2)


def lingers(place, folder):
  """The first process takes longer than an exit would wait for it."""
  if place.first:
    time.sleep(3 * cluster.SHUTDOWN_SECONDS)
  return {}


def dies(place, folder, index):
  """A process is killed; the others do not even talk to it."""
  total(1)
  (folder / f'{place.index}.time').write_text(str(time.time()))
  if place.index == index:
    os.kill(os.getpid(), signal.SIGKILL)
  time.sleep(300)


def state(scale=1.0):
  weights = np.arange(24, dtype=np.float32).reshape(4, 6) * np.float32(scale)
  return {'model': {'weights': weights, 'key': jax.random.key(int(scale))}}


def replicated(leaf):
  if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    return jax.random.wrap_key_data(replicated(jax.random.key_data(leaf)))
  local = np.asarray(leaf)
  return jax.make_array_from_process_local_data(
    everywhere(), local, local.shape
  )


def saves(place, folder):
  """Restores, saves, restores; at last one process reads, the other waits."""
  # The other tests do without these imports.
  from dualrs_jax import checkpoints
  from dualrs_jax.checkpoints import reader

  old = checkpoints.restore(folder / 'old', state(0.0))
  with checkpoints.Saver(folder / 'new', keep=2) as saver:
    for step in (1, 2, 3):
      tree = jax.tree.map(replicated, state(float(step)))
      saver.save(step, tree, {'step': step})
  seen = {'old': summary(old)}
  processes.SHOWN_SECONDS = 1.0  # of 90, so that the test is quick
  try:  # each process in a folder of its own
    own = checkpoints.restore(folder / f'own-{place.index}', state(0.0))
    seen['own'] = summary(own)[0]
  except checkpoints.CheckpointError as error:
    seen['own'] = str(error)
  if not place.first:
    seen['alone'] = summary(reader._newest(folder / 'new', state(0.0), [3]))
  return seen


def fills(place, folder, full):
  """The disk of one process is full; all compute and save in step."""
  from dualrs_jax import checkpoints

  processes.FAILED_SECONDS = 1.0  # of 20, so that the test is quick
  with checkpoints.Saver(folder / 'full', keep=2) as saver:
    for step in range(1, 2000):
      total(1)
      saver.check()
      if place.index == full and checkpoints.steps(folder / 'full') == [10]:
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, most))
      if step % 10 == 0:
        large = np.random.default_rng(step).normal(size=(400, 300))
        tree = {'model': {'weights': np.float32(large)}}
        saver.save(step, jax.tree.map(replicated, tree), {'step': step})
  raise AssertionError('nobody noticed that the disk is full')


def summary(restored):
  tree, meta, step = restored
  return [step, meta, np.asarray(tree['model']['weights']).tolist()]


first_dies = functools.partial(dies, index=0)
last_dies = functools.partial(dies, index=1)
fills_first = functools.partial(fills, full=0)
fills_last = functools.partial(fills, full=1)


def main(what, folder, address, count, index):
  folder = pathlib.Path(folder)
  handler = logging.StreamHandler()
  logging.basicConfig(handlers=[handler], format='log: %(message)s')
  logging.getLogger('dualrs_jax').setLevel(logging.INFO)
  if what in ('lingers', 'ends_late'):
    cluster.SHUTDOWN_SECONDS = 1  # of 30, so that the test is quick
  place = cluster.start(
    '',
    coordinator_address=address,
    num_processes=int(count),
    process_id=int(index),
    timeout=60,
  )
  processes.label_log(place, [handler])
  with processes.in_step(place):
    seen = globals()[what](place, folder)
    (folder / f'{index}.json').write_text(json.dumps(seen))
    if seen.get('then') == 'preempted':
      sys.exit(preemption.EXIT_STATUS)


if __name__ == '__main__':
  main(*sys.argv[1:])
