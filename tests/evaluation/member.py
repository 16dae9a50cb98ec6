"""One process of a run that certifies together; distributed_test.py starts it.

    python member.py FOLDER ADDRESS COUNT INDEX HOW

Together, all devices share the votes. Apart, the processes see the devices of
each other, as on a slice of TPUs, and are not connected; they share the images,
and the last process dies after its first method. It says in FOLDER/<index>.json
what rows it saw, method by method.
"""

import json
import os
import pathlib
import signal
import sys

import jax
import numpy as np

from dualrs_jax.evaluation import certify_source
from dualrs_jax.runtime import cluster, processes
from tests.evaluation import conftest


def certify(directory, changes, **options):
  """Rows without their times, as text."""
  single = changes.get('smoothing') == 'single'
  settings = {
    name: value
    for name, value in conftest.SETTINGS.items()
    if name not in ('noise_alpha', 'num_classes')
  }
  rows = certify_source.certify_source(
    None if single else conftest.network(conftest.PATTERNS[3:]),
    conftest.network(conftest.PATTERNS[:3]),
    conftest.make_source(8),
    directory,
    settings=settings | changes,
    seed=5,
    chunk_size=30,
    positions=np.arange(8),
    report_radii=(0.0,),
    **options,
  )
  return [repr(row._replace(time=0.0)) for row in rows]


def main(folder, address, count, index, how):
  folder = pathlib.Path(folder)
  methods = json.loads((folder / 'methods.json').read_text())
  place = cluster.start(
    '',
    coordinator_address=address,
    num_processes=int(count),
    process_id=int(index),
    timeout=60,
  )
  if how == 'together':
    options = {'devices': jax.devices()}
  else:
    jax.distributed.shutdown()
    assert jax.process_count() > processes.here().count
    options = {'place': place}
  seen = {}
  with processes.in_step(processes.here()):
    for name, changes in methods.items():
      seen[name] = certify(folder / name, changes, **options)
      if how == 'apart' and not place.first:
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / f'{index}.json').write_text(json.dumps(seen))


if __name__ == '__main__':
  main(*sys.argv[1:])
