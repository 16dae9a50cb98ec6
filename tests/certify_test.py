"""The program as a user runs it: a process of its own."""

import pathlib
import subprocess
import sys

import pytest

from dualrs_jax import checkpoints, models

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIG = """
from configs import digits

SIZES = {'channels': (4,), 'kernels': (8,), 'strides': (8,), 'hidden': 8}

def get_config():
  config = digits.get_config().unlock()
  for role in ('classifier', 'estimator'):
    config.model[role].update(SIZES)
  config.certify.update(n0=10, n=50, chunk_size=60, count=2)
  return config.lock()
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  path = tmp_path_factory.mktemp('configs') / 'tiny.py'
  path.write_text(CONFIG)
  return path


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """Random networks, saved as training saves them."""
  directory = tmp_path_factory.mktemp('workdir')
  for stage, width in (('classifier-1', 10), ('estimator-1', 3)):
    model = models.create(
      'cnn',
      num_classes=width,
      image_shape=(32, 32, 1),
      seed=width,
      channels=(4,),
      kernels=(8,),
      strides=(8,),
      hidden=8,
    )
    with checkpoints.manager(directory / 'checkpoints' / stage, keep=1) as mgr:
      state = {checkpoints.MODEL: checkpoints.model_state(model)}
      checkpoints.save(mgr, 1, state, {})
  return directory


def certify(config, workdir, *options):
  return subprocess.run(
    [
      *(sys.executable, 'certify.py', f'--config={config}'),
      *(f'--workdir={workdir}', *options),
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )


def test_certifies_prints_the_table_and_names_the_figures(config, workdir):
  done = certify(config, workdir)
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith('dual-agreement\n  2 images of digits (test)')
  assert 'certified, %' in done.stdout
  assert 'figures: certified_accuracy, chosen_levels' in done.stdout
  assert 'at r=0, ' in done.stderr  # the progress bar
  rows = workdir / 'certify' / 'dual-agreement' / 'rows.tsv'
  assert len(rows.read_text().splitlines()) == 3


def one_sentence(done, message):
  """Asserts that a mistake of the user was told, and nothing else."""
  assert done.returncode == 2
  lines = done.stderr.strip().splitlines()
  assert len(lines) == 1, done.stderr
  assert message in lines[0]
  assert done.stdout == ''


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    (['--workdir=/nonexistent'], 'no checkpoint in /nonexistent'),
    (['--config.certify.task=certfy'], "did you mean 'certify'"),
    (['--config.certify.coutn=5'], 'count'),
  ],
)
def test_mistakes_are_told_in_one_sentence(config, workdir, options, message):
  one_sentence(certify(config, workdir, *options), message)
