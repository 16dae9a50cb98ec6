"""Kills a run again and again: what it ends in is what it would have been.

  python benchmarks/kills.py --output benchmarks/results/kills-NAME.md

Trains and certifies a small configuration once undisturbed, then in other
folders while killing it (SIGKILL, without warning) at random moments of four
phases: training, checkpointing, the building of targets, and certification.
After each kill the same command is given again. Each disturbed folder must end
in the same weights, targets and rows, bit for bit. With --processes 2 the run
has two processes over loopback, of which one, chosen at random, is killed; the
other must leave by itself within a minute.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time

from dualrs_jax.runtime import environment

ROOT = pathlib.Path(__file__).resolve().parents[1]
PHASES = ('training', 'checkpointing', 'targets', 'certification')
#: A phase is killed at a moment in so many seconds after it is seen.
WITHIN = {
  'training': 2.0,
  'checkpointing': 0.0,
  'targets': 2.0,
  'certification': 2.0,
}
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


def start(config, workdir, processes):
  """Starts all processes of a run."""
  flags = [[]]
  if processes > 1:
    with socket.socket() as probe:
      probe.bind(('127.0.0.1', 0))
      address = f'127.0.0.1:{probe.getsockname()[1]}'
    flags = [
      [
        f'--coordinator_address={address}',
        f'--num_processes={processes}',
        f'--process_id={index}',
      ]
      for index in range(processes)
    ]
  started = []
  for index, extra in enumerate(flags):
    log = workdir.with_name(f'{workdir.name}-{index}.log').open('a')
    started.append(
      subprocess.Popen(
        [sys.executable, 'train.py', f'--config={config}']
        + [f'--workdir={workdir}', *extra],
        cwd=ROOT,
        env=os.environ
        | {
          'JAX_COMPILATION_CACHE_DIR': str(config.with_name('compiled')),
          'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.1',
        },
        stdout=log,
        stderr=log,
      )
    )
  return started


def phase(workdir):
  """What a run is doing, by the files that it has made."""
  if list(workdir.glob('checkpoints/*/*tmp*')):
    return 'checkpointing'
  if list(workdir.glob('certify/*/rows*.tsv')):
    return 'certification'
  if list(workdir.glob('targets/*')) and not list(
    workdir.glob('checkpoints/estimator-1/*')
  ):
    return 'targets'
  if list(workdir.glob('checkpoints/*/*')):
    return 'training'
  return 'starting'


def kill_in(wanted, workdir, running, chance):
  """Kills one process in a phase; says in which one it was, or None.

  None: the run ended first.
  """
  before = progress(workdir)
  while phase(workdir) != wanted or progress(workdir) == before:
    if any(process.poll() is not None for process in running):
      return None
    time.sleep(0.002)
  time.sleep(chance.uniform(0, WITHIN[wanted]))
  if any(process.poll() is not None for process in running):
    return None
  found = phase(workdir)
  chance.choice(running).send_signal(signal.SIGKILL)
  begin = time.monotonic()
  for process in running:
    process.wait(60)
  return found, time.monotonic() - begin


def progress(workdir):
  """What a run has made so far: a start that made nothing is no progress."""
  made = {
    path
    for pattern in ('checkpoints/*/*', 'targets/*/*')
    for path in workdir.glob(pattern)
  }
  rows = workdir.glob('certify/*/rows*.tsv')
  return made, sum(path.stat().st_size for path in rows)


def outcome(workdir):
  """Weights, targets and rows; without times, which differ."""
  weights = {}
  for stage in sorted((workdir / 'checkpoints').iterdir()):
    last = max(int(p.name) for p in stage.iterdir() if p.name.isdecimal())
    text = (stage / str(last) / 'description' / 'metadata').read_text()
    weights[stage.name] = last, json.loads(text)['arrays']
  targets = {
    path.name: path.read_bytes() for path in workdir.glob('targets/*/*.npz')
  }
  rows = {}
  for path in sorted(workdir.glob('certify/*/rows.tsv')):
    header, *lines = [line.split('\t') for line in path.read_text().split('\n')]
    timed = header.index('time')
    kept = [line[:timed] + line[timed + 1 :] for line in lines if len(line) > 1]
    rows[path.parent.name] = sorted(kept)
  return {'weights': weights, 'targets': targets, 'rows': rows}


def run(config, workdir, processes):
  """Runs to the end, undisturbed."""
  statuses = [process.wait() for process in start(config, workdir, processes)]
  if any(statuses):
    raise SystemExit(f'{workdir}: the run ended with {statuses}')


def disturb(config, folder, options, expected):
  """Kills runs until every phase had its share; returns what was seen."""
  chance = random.Random(options.seed)
  share = -(-options.kills // len(PHASES))
  kills, leaving, runs, differing = collections.Counter(), [], 0, []
  while any(kills[name] < share for name in PHASES):
    workdir = folder / f'disturbed-{runs}'
    runs += 1
    for wanted in PHASES:
      for _ in range(2 * share):
        if kills[wanted] >= share:
          break
        running = start(config, workdir, options.processes)
        found = kill_in(wanted, workdir, running, chance)
        if found is None:
          [process.wait() for process in running]
          break
        kills[found[0]] += 1
        leaving.append(found[1])
        print(f'{workdir.name}: killed in {found[0]}', flush=True)
    run(config, workdir, options.processes)
    own = outcome(workdir)
    differing += [
      f'{workdir.name}: {name}' for name in own if own[name] != expected[name]
    ]
    print(f'{workdir.name}: ended; different: {differing or "nothing"}')
  return kills, leaving, runs, differing


def report(options, kills, leaving, runs, differing):
  """The result as Markdown."""
  machine = environment.describe()
  lines = [
    '# Runs that were killed',
    '',
    f'`python benchmarks/kills.py --kills {options.kills} --processes'
    f' {options.processes} --seed {options.seed}`',
    '',
    f'{os.cpu_count()} cores, {machine["device_kind"]}, jax'
    f' {machine["versions"]["jax"]}, revision {machine["git_revision"]}.',
    '',
    '| killed in | times |',
    '|---|---|',
    *(f'| {name} | {kills[name]} |' for name in (*PHASES, 'starting')),
    f'| **all** | **{sum(kills.values())}** |',
    '',
    f'{runs} disturbed runs ended, each after its kills. Weights of all stages,'
    ' radius targets and rows of all certifications, compared with the'
    f' undisturbed run bit for bit: {", ".join(differing) or "equal"}.',
  ]
  if options.processes > 1:
    lines += [
      '',
      f'After the kill of one process the others had left within'
      f' {max(leaving):.0f} s, in the mean'
      f' {sum(leaving) / len(leaving):.0f} s.',
    ]
  return '\n'.join(lines) + '\n'


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--kills', type=int, default=36)
  parser.add_argument('--processes', type=int, default=1)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--output', type=pathlib.Path)
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    config = folder / 'small.py'
    config.write_text(CONFIG)
    begin = time.monotonic()
    run(config, folder / 'undisturbed', options.processes)
    print(f'undisturbed: {time.monotonic() - begin:.0f} s', flush=True)
    expected = outcome(folder / 'undisturbed')
    text = report(options, *disturb(config, folder, options, expected))
  print(text)
  if options.output:
    options.output.write_text(text)


if __name__ == '__main__':
  main()
