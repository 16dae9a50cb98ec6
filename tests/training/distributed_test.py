"""A training of several processes: the weights of one, and its ways to end."""

import json
import pathlib
import signal
import time

import jax
import numpy as np
import pytest

from dualrs_jax.runtime import preemption
from dualrs_jax.training import recorder
from tests import programs
from tests.training import tiny

MEMBER = pathlib.Path(__file__).with_name('member.py')
STAGES = ('classifier-0', 'estimator-1', 'classifier-1')


def start(workdir, *, count, devices=1, source='memory'):
  """Processes that train together."""
  address = programs.free_address()
  return [
    programs.Program(
      *(MEMBER, workdir, source, address, count, index), devices=devices
    )
    for index in range(count)
  ]


def begin(workdir):
  """Two processes that train together and have saved a checkpoint."""
  started = start(workdir, count=2)
  saved = workdir / 'checkpoints' / 'classifier-0' / '20'
  for program in started:
    program.until(saved.exists)
  return started


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
    [np.load(path)['counts'] for path in sorted(run.glob('targets/*/0*.npz'))]
    for run in (workdir, undisturbed)
  ]
  differing = np.abs(np.concatenate(tables[0]) - np.concatenate(tables[1]))
  assert differing.sum() <= 2  # votes at a tie of float32


def test_two_processes_train_as_one_and_are_preempted_together(
  tmp_path, tmp_path_factory
):
  started = begin(tmp_path)
  started[1].send(signal.SIGTERM)
  ended = programs.end_all(started)
  programs.check(ended, [preemption.EXIT_STATUS] * 2)
  assert 'is saved' in ended[0].printed

  ended = programs.end_all(start(tmp_path, count=2))
  programs.check(ended, [0, 0])
  assert_same_weights(tmp_path, tmp_path_factory.getbasetemp())
  rows = recorder.read(tmp_path / 'metrics' / recorder.LINES)
  named = [(row['stage'], row['step']) for row in rows]
  assert len(set(named)) == len(named), 'one process writes the metrics'
  assert 'step' not in ended[1].log, 'one process draws progress'


@pytest.mark.slow
@pytest.mark.parametrize(
  ('count', 'devices', 'source'), [(4, 1, 'memory'), (2, 4, 'disk')]
)
def test_more_processes_train_as_one(
  tmp_path, tmp_path_factory, count, devices, source
):
  started = start(tmp_path, count=count, devices=devices, source=source)
  ended = programs.end_all(started)
  programs.check(ended, [0] * count)
  assert_same_weights(tmp_path, tmp_path_factory.getbasetemp())


@pytest.mark.slow
def test_two_processes_are_bit_for_bit_one_process_with_two_devices(tmp_path):
  for count, devices in ((2, 1), (1, 2)):
    workdir = tmp_path / f'{count}-{devices}'
    workdir.mkdir()
    started = start(workdir, count=count, devices=devices)
    programs.check(programs.end_all(started), [0] * count)
  for stage in STAGES:
    one, two = (
      tiny.weights(tmp_path / name, stage, tiny.STAGES[stage])
      for name in ('1-2', '2-1')
    )
    jax.tree.map(np.testing.assert_array_equal, two, one)


@pytest.mark.slow
@pytest.mark.parametrize('victim', [0, 1])
def test_one_is_killed_the_other_leaves_and_a_restart_ends_in_the_same_weights(
  tmp_path, tmp_path_factory, victim
):
  started = begin(tmp_path)
  started[victim].send(signal.SIGKILL)
  killed = time.monotonic()
  statuses = [one.status for one in programs.end_all(started, timeout=60)]
  assert time.monotonic() - killed < 60
  assert statuses[victim] == -signal.SIGKILL
  assert statuses[1 - victim] not in (0, preemption.EXIT_STATUS)

  # What two began, one may end.
  programs.check(programs.end_all(start(tmp_path, count=1)), [0])
  assert_same_weights(tmp_path, tmp_path_factory.getbasetemp())
