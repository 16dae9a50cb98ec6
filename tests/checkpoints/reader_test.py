"""Reading: what was saved comes back, and damage is told from difference."""

import errno

import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dualrs_jax import checkpoints
from tests.checkpoints.trees import Net, assert_same, items
from tests.read_only import read_only
from tests.runtime import launch, member


def arrays_on_disk(directory, step):
  """The file that holds most of the weights of a checkpoint."""
  files = (directory / str(step) / 'model').glob('ocdbt.process_0/d/*')
  return max(files, key=lambda path: path.stat().st_size)


def truncate(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
  """Inverts every byte but those of the header."""
  content = bytearray(path.read_bytes())
  for position in range(len(content) // 4, len(content) // 2):
    content[position] ^= 255
  path.write_bytes(content)


def test_restore_returns_the_newest_with_structure_and_meta(directory):
  state, meta, step = checkpoints.restore(directory, items(Net(9)))
  assert (step, meta) == (3, {'number': 3})
  assert_same(state, items(Net(3)))


def test_load_model_leaves_the_given_model_alone(directory):
  given = Net(9)
  loaded = checkpoints.load_model(directory, given)
  assert_same(nnx.state(loaded), nnx.state(Net(3)))
  assert_same(nnx.state(given), nnx.state(Net(9)))


def test_nothing_saved(tmp_path):
  missing = tmp_path / 'missing'
  assert checkpoints.steps(missing) == []
  assert checkpoints.restore(missing, items(Net(0))) is None
  with pytest.raises(checkpoints.CheckpointError, match='no checkpoint in'):
    checkpoints.load_model(missing, Net(0))


@pytest.mark.parametrize(
  'damage',
  [
    lambda path: truncate(arrays_on_disk(path.parent, path.name)),
    lambda path: flip(arrays_on_disk(path.parent, path.name)),
    lambda path: arrays_on_disk(path.parent, path.name).unlink(),
    lambda path: truncate(path / 'model' / '_METADATA'),
    lambda path: truncate(path / 'description' / 'metadata'),
  ],
  ids=['truncated', 'flipped', 'lost', 'structure', 'description'],
)
def test_training_falls_back_and_loading_refuses(directory, damage, caplog):
  damage(directory / '3')
  with pytest.raises(checkpoints.CheckpointError) as error:
    checkpoints.load_model(directory, Net(9))
  assert 'is damaged' in str(error.value)
  assert '\n' not in str(error.value)
  assert checkpoints.steps(directory) == [3, 2, 1], 'loading changed something'

  state, meta, step = checkpoints.restore(directory, items(Net(9)))
  assert (step, meta) == (2, {'number': 2})
  assert_same(state, items(Net(2)))
  assert 'damaged-3' in caplog.text
  assert (directory / 'damaged-3').is_dir()
  # The place is free again for the step that training reaches once more.
  with checkpoints.Saver(directory, keep=3) as saver:
    saver.save(3, items(Net(33)), {})
  assert_same(
    nnx.state(checkpoints.load_model(directory, Net(9))), nnx.state(Net(33))
  )


def test_the_same_step_may_be_damaged_twice(directory):
  for _ in range(3):
    truncate(arrays_on_disk(directory, 3))
    assert checkpoints.restore(directory, items(Net(9)))[2] == 2
    with checkpoints.Saver(directory, keep=3) as saver:
      saver.save(3, items(Net(3)), {})
  aside = sorted(path.name for path in directory.glob('damaged*'))
  assert aside == ['damaged-3', 'damaged-3.1', 'damaged-3.2']


def test_where_all_are_damaged_nothing_begins_anew(directory):
  for step in (1, 2, 3):
    truncate(arrays_on_disk(directory, step))
  with pytest.raises(
    checkpoints.CheckpointError, match=f'every checkpoint in {directory} is dam'
  ):
    checkpoints.restore(directory, items(Net(9)))
  assert checkpoints.steps(directory) == [3, 2, 1]


@pytest.mark.parametrize(
  ('error', 'raised'),
  [
    (OSError(errno.ESTALE, 'Stale file handle'), OSError),
    (ValueError("Failed to open: os_error_code='24'"), OSError),
    (PermissionError(errno.EACCES, 'Permission denied'), PermissionError),
    (MemoryError('full'), KeyError),
    (jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED'), KeyError),
  ],
)
def test_an_error_of_the_machine_is_no_damage(
  directory, monkeypatch, error, raised
):
  def restore(*_):
    try:
      raise error
    except type(error) as inner:
      raise KeyError('several layers above') from inner

  monkeypatch.setattr(checkpoints.reader.ocp.Checkpointer, 'restore', restore)
  with pytest.raises(raised) as found:
    checkpoints.restore(directory, items(Net(9)))
  if raised is not KeyError:
    assert str(directory / '3') in str(found.value)
  assert checkpoints.steps(directory) == [3, 2, 1]


def test_a_description_that_may_not_be_read_is_no_damage(directory):
  path = directory / '3' / 'description'
  path.chmod(0)
  with (
    read_only(directory),
    pytest.raises(PermissionError, match='Permission denied'),
  ):
    checkpoints.restore(directory, items(Net(9)))
  path.chmod(0o700)
  assert checkpoints.steps(directory) == [3, 2, 1]


def test_another_architecture_is_no_damage(directory):
  with pytest.raises(checkpoints.CheckpointError) as error:
    checkpoints.load_model(directory, Net(9, width=33))
  assert str(error.value).endswith(
    'is of another architecture: parameters.layers.0.bias.value is float32[32]'
    ' there and float32[33] here'
  )
  with pytest.raises(checkpoints.CheckpointError, match='architecture'):
    checkpoints.restore(directory, items(Net(9, width=33)))
  assert checkpoints.steps(directory) == [3, 2, 1]


def test_saved_on_eight_devices_restored_on_one(tmp_path):
  mesh = Mesh(np.array(jax.devices()), ('data',))
  everywhere = NamedSharding(mesh, PartitionSpec())
  with checkpoints.Saver(tmp_path, keep=1) as saver:
    on_eight = jax.device_put(items(Net(4)), everywhere)
    saver.save(1, on_eight, {})
  state, _, _ = checkpoints.restore(tmp_path, items(Net(0)))
  assert_same(state, items(Net(4)))
  assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(state))


def test_two_processes_and_one_read_what_the_other_wrote(tmp_path):
  with checkpoints.Saver(tmp_path / 'old', keep=3) as saver:
    for step in (6, 7, 8):
      saver.save(step, member.state(float(step)), {'n': step})
  truncate(tmp_path / 'old' / '8' / 'description' / 'metadata')
  for index, step in ((0, 2), (1, 1)):
    with checkpoints.Saver(tmp_path / f'own-{index}', keep=1) as saver:
      saver.save(step, member.state(1.0), {})

  members = launch.launch('saves', tmp_path)

  assert [process.status for process in members] == [0, 0]
  weights = np.asarray(member.state(7.0)['model']['weights'])
  for process in members:
    assert process.seen['old'] == [7, {'n': 7}, weights.tolist()]
  # The damaged one was put aside, and spoken of, by one process.
  assert 'damaged-8' in members[0].log
  assert 'damaged-8' not in members[1].log
  assert members[1].seen['alone'][0] == 3
  # Different folders are refused, before the processes take different steps.
  assert members[0].seen['own'] == 2
  assert 'process 1 cannot read checkpoint' in members[1].seen['own']
  assert 'the folder must be the same one for all' in members[1].seen['own']
  assert checkpoints.steps(tmp_path / 'new') == [3, 2]
  state, meta, step = checkpoints.restore(tmp_path / 'new', member.state(0.0))
  assert (step, meta) == (3, {'step': 3})
  assert_same(state, member.state(3.0))


def test_an_unfinished_training_is_not_loaded(tmp_path):
  assert not checkpoints.is_finished(tmp_path)
  for step, message in ((20, 'is at step 20 of 30'), (30, None)):
    with checkpoints.Saver(tmp_path, keep=2) as saver:
      saver.save(step, items(Net(0)), {'steps': 30})
    assert checkpoints.is_finished(tmp_path) == (message is None)
    if message:
      with pytest.raises(checkpoints.CheckpointError, match=message):
        checkpoints.load_model(tmp_path, Net(1))
    else:
      checkpoints.load_model(tmp_path, Net(1))
