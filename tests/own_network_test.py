"""A network of the user's own, from its name to a result that others check."""

import logging

import pytest

from dualrs_jax.evaluation import certify_dataset, run_settings
from dualrs_jax.runtime import settings
from dualrs_jax.training import claim, loop
from dualrs_jax.verify import verify
from tests.training import tiny

NET = """
import jax.numpy as jnp
from flax import nnx

class Net(nnx.Module):
  def __init__(self, *, num_classes, image_shape, rngs, width=8):
    height, breadth, channels = image_shape
    pixels = height * breadth * channels
    self.hidden = nnx.Linear(pixels, width, rngs=rngs)
    self.norm = nnx.BatchNorm(width, rngs=rngs)
    self.drop = nnx.Dropout(0.1, rngs=rngs)
    self.logits = nnx.Linear(width, num_classes, rngs=rngs)

  def __call__(self, images, sigma):
    rows = images.reshape(images.shape[0], -1) / (1 + sigma[:, None])
    return self.logits(self.drop(nnx.relu(self.norm(self.hidden(rows)))))
"""


@pytest.fixture
def file(tmp_path):
  path = tmp_path / 'net.py'
  path.write_text(NET)
  return path


@pytest.fixture
def config(file):
  config = tiny.get_config()
  with config.unlocked():
    own = {'name': f'{file}:Net', 'width': 6}
    config.model = {'denoiser': {}, 'classifier': own, 'estimator': own}
    config.baselines = ()
  return config


def test_rows_of_two_versions_of_a_network_are_kept_apart(config, file):
  [before] = run_settings.runs(config)
  assert before['model']['classifier'] == {'name': 'net.py:Net', 'width': 6}
  assert {*before['sources']} == {'classifier', 'estimator'}
  file.write_text(NET + '# changed')
  [after] = run_settings.runs(config)
  different = {name for name, _ in settings.differences(before, after)}
  assert different == {'sources.classifier', 'sources.estimator'}
  config.certify.smoothing = 'single'
  assert {*run_settings.runs(config)[0]['sources']} == {'classifier'}


def test_networks_of_the_library_have_no_source_of_their_own():
  assert 'sources' not in run_settings.runs(tiny.get_config())[0]


def test_a_training_goes_on_and_tells_that_the_source_changed(tmp_path, caplog):
  claim.note_sources({'classifier': 'abc'}, tmp_path)
  claim.note_sources({'classifier': 'abc'}, tmp_path)
  assert not caplog.records
  claim.note_sources({'classifier': 'def'}, tmp_path)
  [record] = caplog.records
  assert record.levelno == logging.WARNING
  assert 'sources.classifier = "abc", now it is "def"' in record.getMessage()
  claim.note_sources({}, tmp_path / 'none')
  assert not (tmp_path / 'none').exists()


def test_a_class_that_is_not_there_leaves_no_trace(config, tmp_path):
  with config.unlocked():
    config.model.estimator.name = 'no_such_module:Net'
  with pytest.raises(ValueError, match="no module 'no_such_module'"):
    loop.train(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


@pytest.mark.slow
def test_from_a_name_to_a_result(config, file, tmp_path):
  """Trained, restored under another folder of its file, certified, verified."""
  workdir = tmp_path / 'run'
  loop.train(config, workdir)
  (tmp_path / 'moved').mkdir()
  moved = file.rename(tmp_path / 'moved' / 'net.py')
  with config.unlocked():
    for role in ('classifier', 'estimator'):
      config.model[role].name = f'{moved}:Net'
  rows = certify_dataset.certify_dataset(config, workdir)
  assert len(rows) == 3
  report = verify(workdir / 'certify' / 'dual-agreement' / 'rows.tsv')
  assert report.problems == []
  assert report.record is not None
  assert {*report.record['networks']['sources']} == {'classifier', 'estimator'}
