"""The program: killed at any moment, it ends in the same weights."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from dualrs_jax.runtime import preemption
from dualrs_jax.training import recipe
from tests.runtime import launch
from tests.training import tiny

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture
def command(tmp_path_factory):
  """Starts train.py, compiled as in this process."""
  # The configuration of `tiny`, in a file as users write them.
  path = tmp_path_factory.mktemp('configs') / 'tiny_config.py'
  path.write_text('from tests.training.tiny import get_config\n')
  environment = {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'JAX_NUM_CPU_DEVICES': '1',
    'JAX_COMPILATION_CACHE_DIR': str(
      tiny.compilation_cache_of(tmp_path_factory.getbasetemp())
    ),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.1',
  }

  def start(*arguments):
    return subprocess.Popen(
      [sys.executable, ROOT / 'train.py', '--config', path, *arguments],
      cwd=ROOT,
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  return start


def await_file(process, workdir, pattern):
  """Waits until the process has made such a file."""
  deadline = time.monotonic() + 300
  while not list(workdir.glob(pattern)):
    assert process.poll() is None, process.communicate()[1]
    assert time.monotonic() < deadline
    time.sleep(0.002)


def kill_once_there(process, workdir, pattern):
  """Kills the process, without a warning, once it has made such a file."""
  await_file(process, workdir, pattern)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert process.returncode == -signal.SIGKILL


def test_killed_at_any_moment_it_ends_in_the_same_weights(
  command, tmp_path, tmp_path_factory
):
  undisturbed = tiny.trained(tmp_path_factory.getbasetemp())
  # The baseline is left out: it does not belong to the run's identity.
  arguments = ('--workdir', tmp_path, '--config.baselines=()')
  for pattern in (
    'checkpoints/classifier-0/20',
    'targets/targets-1/000000040.npz',
    'checkpoints/classifier-1/*tmp*',
  ):
    kill_once_there(command(*arguments), tmp_path, pattern)
  last = command(*arguments)
  printed, log = last.communicate(timeout=300)
  assert last.returncode == 0, log
  tiny.assert_same_run(tmp_path, undisturbed, list(tiny.STAGES)[:3])
  shards = [
    {path.name: path.read_bytes() for path in run.glob('targets/*/*.npz')}
    for run in (tmp_path, undisturbed)
  ]
  assert len(shards[0]) == 10
  assert shards[0] == shards[1]

  assert 'dual-agreement' in printed
  assert 'clean accuracy' in printed
  assert 'single-0.25' in printed
  assert 'figures in' in printed
  assert len(list(tmp_path.glob('certify/*/rows.tsv'))) == 3
  figures = tmp_path / 'certify' / 'dual-agreement' / 'figures'
  assert (figures / 'certified_accuracy.png').stat().st_size > 1000


@pytest.mark.slow
def test_preempted_in_every_phase_it_ends_in_the_same_weights(
  command, tmp_path, tmp_path_factory
):
  undisturbed = tiny.trained(tmp_path_factory.getbasetemp())
  arguments = (
    *('--workdir', tmp_path, '--config.baselines=()'),
    '--config.certify.count=40',
  )
  for pattern, said in (
    ('checkpoints/classifier-0/20', 'classifier-0 is saved at step '),
    ('targets/targets-1/000000020.npz', 'shards of targets-1 are saved'),
    ('checkpoints/estimator-1/*tmp*', 'estimator-1 is saved at step '),
    ('certify/dual-agreement/rows.tsv', 'preempted with '),
  ):
    process = command(*arguments)
    await_file(process, tmp_path, pattern)
    process.send_signal(signal.SIGTERM)
    printed, log = process.communicate(timeout=100)
    assert process.returncode == preemption.EXIT_STATUS, log
    assert said in log
    assert log.endswith('; the same command goes on from here\n')
    assert not printed
  last = command(*arguments)
  printed, log = last.communicate(timeout=300)
  assert last.returncode == 0, log
  assert 'dual-agreement' in printed
  tiny.assert_same_weights(tmp_path, undisturbed, list(tiny.STAGES)[:3])


def rows(workdir):
  """The rows of all certifications, without the times."""
  found = {}
  for path in workdir.glob('certify/*/rows.tsv'):
    header, *lines = [row.split('\t') for row in path.read_text().splitlines()]
    timed = header.index('time')
    found[path.parent.name] = sorted(
      line[:timed] + line[timed + 1 :] for line in lines
    )
  return found


@pytest.mark.slow
def test_two_processes_preempted_while_they_certify(
  command, tmp_path, tmp_path_factory
):
  workdir = tmp_path / 'run'
  # They certify what one process trained, so that rows can be compared.
  shutil.copytree(tiny.trained(tmp_path_factory.getbasetemp()), workdir)
  alone = tmp_path / 'alone'
  shutil.copytree(workdir, alone)
  arguments = (
    *('--config.baselines=()', '--config.certify.seed=5'),
    '--config.certify.count=120',
  )

  def begin():
    address = f'--coordinator_address=127.0.0.1:{launch.free_port()}'
    return [
      command(
        *('--workdir', workdir, address, *arguments),
        *('--num_processes=2', f'--process_id={index}'),
      )
      for index in range(2)
    ]

  started = begin()
  deadline = time.monotonic() + 200
  while not list(workdir.glob('certify/*/rows-*')):
    assert time.monotonic() < deadline
    time.sleep(0.01)
  for process in started:
    process.send_signal(signal.SIGTERM)
  logs = [process.communicate(timeout=100)[1] for process in started]
  assert [process.returncode for process in started] == [75, 75], logs
  assert all('; the same command goes on from here' in log for log in logs)

  # One that begins again does not wait for the other.
  first = command(
    *('--workdir', workdir, *arguments, '--coordinator_address=nowhere:1'),
    *('--num_processes=2', '--process_id=0'),
  )
  printed, log = first.communicate(timeout=200)
  assert first.returncode == 0, log
  assert 'images are missing' in printed

  started = begin()
  ended = [process.communicate(timeout=300) for process in started]
  printed = [output for output, _ in ended]
  assert [process.returncode for process in started] == [0, 0], ended
  assert any('certified, %' in text for text in printed)
  process = command('--workdir', alone, *arguments)
  process.communicate(timeout=300)
  assert rows(workdir) == rows(alone)
  assert len(rows(workdir)['dual-agreement']) == 120
  assert not list(workdir.glob('certify/*/rows-*'))


@pytest.mark.parametrize(
  ('arguments', 'sentence'),
  [
    (
      ['--config.classifier.stepz=1'],
      "error: unknown field of the configuration: 'stepz' Did you mean"
      ' "steps" instead of "stepz"?\n',
    ),
    (
      ['--config.rounds=0'],
      'error: rounds must be at least 1, not 0\n',
    ),
    (
      ['--workdir', 'taken'],
      'error: taken belongs to another configuration: seed is 7 there and 0'
      ' here',
    ),
  ],
)
def test_a_mistake_is_one_sentence(command, tmp_path, arguments, sentence):
  taken = tmp_path / 'taken'
  taken.mkdir()
  other = {**recipe.identity(tiny.get_config()), 'seed': 7}
  (taken / 'settings.json').write_text(json.dumps(other))
  arguments = [tmp_path / a if a == 'taken' else a for a in arguments]
  process = command(*arguments)
  printed, log = process.communicate(timeout=120)
  assert process.returncode == 2
  assert not printed
  errors = [line for line in log.splitlines() if line.startswith('error: ')]
  assert len(errors) == 1
  assert log.count('Traceback') == 0
  expected = sentence.replace('taken', str(taken)).rstrip('\n')
  assert errors[0].startswith(expected)
  assert list(taken.iterdir()) == [taken / 'settings.json']
