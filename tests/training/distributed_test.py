"""A training of several processes: the weights of one, and its ways to end."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from dualrs_jax.runtime import preemption
from dualrs_jax.training import recorder
from tests.runtime.launch import free_port
from tests.training import tiny

ROOT = pathlib.Path(__file__).resolve().parents[2]
MEMBER = pathlib.Path(__file__).with_name('member.py')
STAGES = ('classifier-0', 'estimator-1', 'classifier-1')


class Run:
  """Processes that train together."""

  def __init__(self, workdir, *, count, devices=1, source='memory'):
    workdir.mkdir(exist_ok=True)
    environment = os.environ | {
      'JAX_PLATFORMS': 'cpu',
      'JAX_NUM_CPU_DEVICES': f'{devices}',
      'PYTHONPATH': str(ROOT),
    }
    address = f'127.0.0.1:{free_port()}'
    self.logs = [workdir / f'{index}.log' for index in range(count)]
    self.processes = []
    for index, log in enumerate(self.logs):
      with log.open('w') as file:
        self.processes.append(
          subprocess.Popen(
            [sys.executable, MEMBER, workdir, source, address]
            + [f'{count}', f'{index}'],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
          )
        )

  def wait(self, timeout=400):
    """The exit statuses, once all have ended."""
    try:
      return [process.wait(timeout) for process in self.processes]
    finally:
      for process in self.processes:
        process.kill()
        process.wait()

  def text(self):
    return '\n'.join(log.read_text()[-3000:] for log in self.logs)


def await_file(run, folder, pattern):
  deadline = time.monotonic() + 300
  while not list(folder.glob(pattern)):
    for process in run.processes:
      assert process.poll() is None, run.text()
    assert time.monotonic() < deadline
    time.sleep(0.01)


def assert_same_weights(workdir, session):
  """Those of one process up to the order of float32 sums, over 140 steps."""
  own = [json.loads(path.read_text()) for path in workdir.glob('?.json')]
  assert set(own[0]) <= set(STAGES)
  assert own == [own[0]] * len(own), 'the processes have different weights'
  undisturbed = tiny.trained(session)
  for stage in STAGES:
    width = tiny.STAGES[stage]
    jax.tree.map(
      lambda own, one: np.testing.assert_allclose(own, one, atol=2e-4),
      tiny.weights(workdir, stage, width),
      tiny.weights(undisturbed, stage, width),
    )
  tables = [
    [np.load(path)['counts'] for path in sorted(run.glob('targets/*/*.npz'))]
    for run in (workdir, undisturbed)
  ]
  differing = np.abs(np.concatenate(tables[0]) - np.concatenate(tables[1]))
  assert differing.sum() <= 2  # votes at a tie of float32


def test_two_processes_train_as_one_and_are_preempted_together(
  tmp_path, tmp_path_factory
):
  run = Run(tmp_path, count=2)
  await_file(run, tmp_path, 'checkpoints/classifier-0/20')
  run.processes[1].send_signal(signal.SIGTERM)
  assert run.wait() == [preemption.EXIT_STATUS] * 2, run.text()
  assert 'is saved' in run.logs[0].read_text()

  run = Run(tmp_path, count=2)
  assert run.wait() == [0, 0], run.text()
  assert_same_weights(tmp_path, tmp_path_factory.getbasetemp())
  rows = recorder.read(tmp_path / 'metrics' / recorder.LINES)
  named = [(row['stage'], row['step']) for row in rows]
  assert len(set(named)) == len(named), 'one process writes the metrics'
  assert 'step' not in run.logs[1].read_text(), 'one process draws progress'


@pytest.mark.slow
@pytest.mark.parametrize(
  ('count', 'devices', 'source'), [(4, 1, 'memory'), (2, 4, 'disk')]
)
def test_more_processes_train_as_one(
  tmp_path, tmp_path_factory, count, devices, source
):
  run = Run(tmp_path, count=count, devices=devices, source=source)
  assert run.wait() == [0] * count, run.text()
  assert_same_weights(tmp_path, tmp_path_factory.getbasetemp())


@pytest.mark.slow
@pytest.mark.parametrize('victim', [0, 1])
def test_one_is_killed_the_other_leaves_and_a_restart_ends_in_the_same_weights(
  tmp_path, tmp_path_factory, victim
):
  run = Run(tmp_path, count=2)
  await_file(run, tmp_path, 'checkpoints/classifier-0/20')
  run.processes[victim].send_signal(signal.SIGKILL)
  killed = time.monotonic()
  statuses = run.wait(60)
  assert time.monotonic() - killed < 60
  assert statuses[victim] == -signal.SIGKILL
  assert statuses[1 - victim] not in (0, preemption.EXIT_STATUS)

  # What two began, one may end.
  run = Run(tmp_path, count=1)
  assert run.wait() == [0], run.text()
  assert_same_weights(tmp_path, tmp_path_factory.getbasetemp())
