"""Kills a run again and again: what it ends in is what it would have been.

  python -m benchmarks.kills --output benchmarks/results/kills-NAME.md

Trains and certifies a small configuration once undisturbed, then in other
folders while killing it (SIGKILL, without warning) at random moments of four
phases: training, checkpointing, the building of targets, and certification.
After each kill the same command is given again. Each disturbed folder must end
in the same weights, targets and rows, bit for bit. With --processes 2 the run
has two processes over loopback, of which one, chosen at random, is killed; the
other must leave by itself within a minute, or end its images in certification.
"""

import argparse
import collections
import pathlib
import random
import signal
import tempfile
import time

from benchmarks import machine, runs
from dualrs_jax import folders

PHASES = ('training', 'checkpointing', 'targets', 'certification')
#: A phase is killed at a moment in so many seconds after it is seen, of
#: checkpointing in about as many as it takes: what counts is the phase then.
WITHIN = {
  'training': 2.0,
  'checkpointing': 0.3,
  'targets': 2.0,
  'certification': 2.0,
}


def phase(workdir):
  """What a run is doing, by the files that it has made."""
  unfinished = [*workdir.glob('checkpoints/*/*tmp*')]
  if unfinished or [*workdir.glob('checkpoints/*/*.removed')]:
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

  None: the run ended first. Of several processes the others must leave within
  a minute; in certification they end their images.
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
  killed = chance.choice(running)
  killed.send_signal(signal.SIGKILL)
  begin = time.monotonic()
  killed.wait()
  statuses = [process.wait(60) for process in running if process is not killed]
  if found != 'certification' and 0 in statuses:
    raise SystemExit(f'{workdir}: a process went on without the one killed')
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
  targets = {
    path.name: path.read_bytes() for path in workdir.glob('targets/*/*.npz')
  }
  return {
    'weights': runs.weights(workdir),
    'targets': targets,
    'rows': runs.rows(workdir),
  }


def start(config, workdir, processes):
  """Starts all processes of a run."""
  return runs.start('train.py', config, workdir, runs.coordinated(processes))


def run(config, workdir, processes):
  """Runs to the end, undisturbed."""
  runs.run('train.py', config, workdir, runs.coordinated(processes))


def disturb(config, folder, options, expected):
  """Kills runs until every phase had its share; returns what was seen."""
  chance = random.Random(options.seed)
  share = -(-options.kills // len(PHASES))
  kills, leaving, ended, differing = collections.Counter(), [], 0, []
  while any(kills[name] < share for name in PHASES):
    workdir = folder / f'disturbed-{ended}'
    ended += 1
    for wanted in PHASES:
      for _ in range(3 * share):
        if kills[wanted] >= share:
          break
        running = start(config, workdir, options.processes)
        found = kill_in(wanted, workdir, running, chance)
        if found is None:
          [process.wait() for process in running]
          break
        kills[found[0]] += 1
        if found[0] != 'certification':
          leaving.append(found[1])
        print(f'{workdir.name}: killed in {found[0]}', flush=True)
    run(config, workdir, options.processes)
    own = outcome(workdir)
    differing += [
      f'{workdir.name}: {name}' for name in own if own[name] != expected[name]
    ]
    print(f'{workdir.name}: ended; different: {differing or "nothing"}')
  return kills, leaving, ended, differing


def report(options, kills, leaving, ended, differing):
  """The result as Markdown."""
  lines = [
    '# Runs that were killed',
    '',
    f'`python -m benchmarks.kills --kills {options.kills} --processes'
    f' {options.processes} --seed {options.seed}`',
    '',
    machine.in_short(),
    '',
    '| killed in | times |',
    '|---|---|',
    *(f'| {name} | {kills[name]} |' for name in (*PHASES, 'starting')),
    f'| **all** | **{sum(kills.values())}** |',
    '',
    f'{ended} disturbed runs ended, each after its kills. Weights of all'
    ' stages, radius targets and rows of all certifications, compared with the'
    f' undisturbed run bit for bit: {", ".join(differing) or "equal"}.',
  ]
  if options.processes > 1:
    lines += [
      '',
      f'After the kill of one process, chosen at random, the other had left'
      f' within {max(leaving):.0f} s, in the mean'
      f' {sum(leaving) / len(leaving):.0f} s; in certification it ended its'
      ' images first.',
    ]
  return '\n'.join(lines) + '\n'


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--kills', type=int, default=36)
  parser.add_argument('--processes', type=int, default=1)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--output', type=folders.expand)
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    config = runs.write_config(folder)
    begin = time.monotonic()
    run(config, folder / 'undisturbed', options.processes)
    print(f'undisturbed: {time.monotonic() - begin:.0f} s', flush=True)
    expected = outcome(folder / 'undisturbed')
    found = disturb(config, folder, options, expected)
  text = report(options, *found)
  print(text)
  if options.output:
    options.output.write_text(text)
  raise SystemExit(bool(found[-1]))


if __name__ == '__main__':
  main()
