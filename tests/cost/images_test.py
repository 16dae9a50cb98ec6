"""Sizes of data sets that nobody has read."""

from dualrs_jax.cost import images
from tests.data import pictures


def test_images_of_ones_own_are_counted(tmp_path):
  pictures.write_arrays(tmp_path / 'train.npz', [30, 20], height=12, width=16)
  pictures.write_arrays(tmp_path / 'test.npz', [5, 4], height=12, width=16)
  options = {'name': 'arrays', 'data_dir': str(tmp_path)}
  found = images.of(options, 'test', start=0, stride=1, count=0)
  assert found.train + found.validation == 50
  assert found[2:] == (9, (12, 16, 3), 2)
