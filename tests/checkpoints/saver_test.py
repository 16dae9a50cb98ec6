"""Saving: a save that is interrupted, or fails, costs nothing but itself."""

import re
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualrs_jax import checkpoints
from tests.checkpoints.trees import Net, assert_same, items
from tests.clocks import hours_pass_while_saving
from tests.full_disk import full_disk
from tests.read_only import read_only
from tests.runtime import launch


def test_the_oldest_checkpoints_go(tmp_path):
  with checkpoints.Saver(tmp_path, keep=2) as saver:
    for step in (10, 20, 30):
      saver.save(step, items(Net(0)), {})
  assert checkpoints.steps(tmp_path) == [30, 20]


def test_steps_only_go_up(directory):
  with (
    checkpoints.Saver(directory, keep=3) as saver,
    pytest.raises(checkpoints.CheckpointError, match='newer than 2'),
  ):
    saver.save(2, items(Net(0)), {})


def test_an_interrupted_save_is_no_checkpoint(directory):
  (directory / '4.orbax-checkpoint-tmp').mkdir()
  assert checkpoints.steps(directory) == [3, 2, 1]
  assert checkpoints.restore(directory, items(Net(9)))[2] == 3


def check_until_it_fails(saver):
  deadline = time.monotonic() + 30
  while time.monotonic() < deadline:
    saver.check()
    time.sleep(0.01)


def test_a_full_disk_is_told_at_the_next_step_and_loses_nothing(
  directory, caplog
):
  with full_disk(1000):
    saver = checkpoints.Saver(directory, keep=3)
    saver.save(4, items(Net(4)), {})
    with pytest.raises(checkpoints.CheckpointError) as error:
      check_until_it_fails(saver)
  assert re.fullmatch(
    f'checkpoint {directory}/4 could not be written: '
    r'(\[Errno 27\] )?File too large',
    str(error.value),
  )
  assert 'Traceback' not in caplog.text
  assert checkpoints.steps(directory) == [3, 2, 1]
  state, _, step = checkpoints.restore(directory, items(Net(9)))
  assert step == 3
  assert_same(state, items(Net(3)))
  with checkpoints.Saver(directory, keep=3) as saver:
    assert not list(directory.glob('*tmp*')), 'what was begun is cleared away'
    saver.save(4, items(Net(4)), {})
  assert checkpoints.steps(directory) == [4, 3, 2]


def test_a_full_disk_at_the_last_save_is_told_at_the_end(directory):
  with (
    full_disk(1000),
    pytest.raises(checkpoints.CheckpointError, match='4 could not be written'),
    checkpoints.Saver(directory, keep=3) as saver,
  ):
    saver.save(4, items(Net(4)), {})


def test_a_folder_that_cannot_be_made_is_told_at_once(tmp_path):
  before = set(threading.enumerate())
  saver = checkpoints.Saver(tmp_path / 'stage', keep=1)
  (tmp_path / 'stage').rmdir()
  (tmp_path / 'stage').write_text('in the way')
  begin = time.monotonic()
  with pytest.raises(checkpoints.CheckpointError, match='1 could not be writt'):
    saver.save(1, items(Net(1)), {})
  saver.close()
  while set(threading.enumerate()) - before:
    assert time.monotonic() - begin < 60, 'of the 300 s that Orbax would wait'
    time.sleep(0.01)


def test_nothing_of_a_failed_save_comes_between_the_files_of_the_next(tmp_path):
  large = {'model': {'weight': jnp.arange(4_000_000.0)}}  # is written for long
  with (
    hours_pass_while_saving(),
    pytest.raises(checkpoints.CheckpointError, match='timed out'),
    checkpoints.Saver(tmp_path, keep=1) as saver,
  ):
    saver.save(1, large, {})
  begun = tmp_path / '1.orbax-checkpoint-tmp'
  assert begun.is_dir()
  left = sorted(begun.rglob('*'))
  time.sleep(0.3)
  assert sorted(begun.rglob('*')) == left, 'nothing is written any more'
  doubled = jax.tree.map(lambda array: 2 * array, large)
  with checkpoints.Saver(tmp_path, keep=1) as saver:
    saver.save(1, doubled, {})
  state, _, _ = checkpoints.restore(tmp_path, large)
  assert_same(state, doubled)


@pytest.mark.parametrize(
  'who', ['fills_first', pytest.param('fills_last', marks=pytest.mark.slow)]
)
def test_a_full_disk_of_one_process_ends_both(tmp_path, who):
  begin = time.monotonic()
  members = launch.launch(who, tmp_path, timeout=90)
  assert time.monotonic() - begin < 60
  failed = members[who == 'fills_last']
  assert failed.status == 1
  lost = re.search(r'full/(\d+) could not be written', failed.log)
  assert [process.status != 0 for process in members] == [True, True]
  template = {'model': {'weights': np.zeros((400, 300), np.float32)}}
  _, _, step = checkpoints.restore(tmp_path / 'full', template)
  assert step == int(lost[1]) - 10


def test_a_directory_that_cannot_be_written_to(tmp_path):
  with read_only(tmp_path), pytest.raises(OSError, match=str(tmp_path)):
    checkpoints.Saver(tmp_path / 'stage', keep=1)
