"""Small runs of the programs, and what they end in."""

import json
import os
import pathlib
import runpy
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIG = """
from configs import digits

def get_config():
  config = digits.get_config().unlock()
  config.data.renderings = 4
  for role in ('classifier', 'estimator'):
    config.model[role].update(
      channels=(8,), kernels=(8,), strides=(8,), hidden=32, embedding=8
    )
  for stage in ('classifier', 'estimator', 'finetune'):
    config[stage].update(steps=300, batch_size=64, warmup_steps=20)
  config.targets.update(count=1000, shard_size=25)
  config.checkpoint.update(
    every_steps=25, evaluate_steps=25, keep=2, metrics_steps=25
  )
  config.certify.update(count=60, n=1000, chunk_size=100, seed=7)
  return config.lock()
"""


def write_config(folder):
  """The configuration of these runs, in a file."""
  path = folder / 'small.py'
  path.write_text(CONFIG)
  return path


def load_config(path):
  """The configuration in a file."""
  return runpy.run_path(str(path))['get_config']()


def coordinated(processes):
  """Flags of the processes of one run, for each of them."""
  if processes == 1:
    return [[]]
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{probe.getsockname()[1]}'
  return [
    [f'--coordinator_address={address}', *flags] for flags in apart(processes)
  ]


def apart(processes):
  """Flags of processes that know nothing of each other."""
  if processes == 1:
    return [[]]
  return [
    [f'--num_processes={processes}', f'--process_id={index}']
    for index in range(processes)
  ]


def start(program, config, workdir, flags, *, devices=1, options=()):
  """Starts a process for each list of flags, with so many CPU devices."""
  started = []
  for index, own in enumerate(flags):
    log = workdir.with_name(f'{workdir.name}-{index}.log').open('a')
    started.append(
      subprocess.Popen(
        [sys.executable, program, f'--config={config}']
        + [f'--workdir={workdir}', *own, *options],
        cwd=ROOT,
        env=os.environ
        | {
          'JAX_PLATFORMS': 'cpu',
          'JAX_NUM_CPU_DEVICES': f'{devices}',
          'JAX_COMPILATION_CACHE_DIR': str(config.with_name('compiled')),
          'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.1',
        },
        stdout=log,
        stderr=log,
      )
    )
  return started


def run(*arguments, **options):
  """Starts processes and waits until all of them have ended well."""
  started = start(*arguments, **options)
  statuses = [process.wait() for process in started]
  if any(statuses):
    raise SystemExit(f'{started[0].args}: the run ended with {statuses}')


def weights(workdir):
  """By stage, the last step and a checksum of every array."""
  found = {}
  for stage in sorted((workdir / 'checkpoints').iterdir()):
    last = max(int(p.name) for p in stage.iterdir() if p.name.isdecimal())
    text = (stage / str(last) / 'description' / 'metadata').read_text()
    found[stage.name] = last, json.loads(text)['arrays']
  return found


def rows(workdir):
  """By certification, the rows in order of their images, without times."""
  found = {}
  for path in sorted(workdir.glob('certify/*/rows.tsv')):
    header, *lines = [line.split('\t') for line in path.read_text().split('\n')]
    timed = header.index('time')
    kept = [line[:timed] + line[timed + 1 :] for line in lines if len(line) > 1]
    found[path.parent.name] = sorted(kept)
  return found
