import pytest

from dualrs_jax import checkpoints
from tests.checkpoints.trees import Net, items


@pytest.fixture
def directory(tmp_path):
  """Checkpoints of steps 1, 2 and 3, of networks with seed 1, 2 and 3."""
  path = tmp_path / 'stage'
  with checkpoints.Saver(path, keep=3) as saver:
    for step in (1, 2, 3):
      saver.save(step, items(Net(step)), {'number': step})
  return path
