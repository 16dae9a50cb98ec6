import json
import shutil
import subprocess

import jax
import numpy as np

from dualrs_jax.runtime import environment


def test_describes_this_process():
  found = environment.describe()
  assert json.loads(json.dumps(found)) == found
  assert found['versions']['jax'] == jax.__version__
  assert found['versions']['numpy'] == np.__version__
  assert found['device_count'] == jax.local_device_count()
  assert found['platform'] == jax.local_devices()[0].platform


def test_revision_is_that_of_the_source_and_says_when_it_is_changed(
  tmp_path, monkeypatch
):
  source = tmp_path / 'environment.py'
  shutil.copy(environment.__file__, source)
  monkeypatch.setattr(environment, '__file__', str(source))
  git = ['git', '-c', 'user.name=a', '-c', 'user.email=a@b', '-C', tmp_path]
  assert environment.git_revision() is None
  subprocess.run([*git, 'init', '-q'], check=True)
  assert environment.git_revision() is None  # a repository of something else
  subprocess.run([*git, 'add', source], check=True)
  subprocess.run([*git, 'commit', '-q', '-m', 'x'], check=True)
  revision = subprocess.run(
    [*git, 'rev-parse', 'HEAD'], check=True, capture_output=True, text=True
  ).stdout.strip()
  assert environment.git_revision() == revision
  source.write_text('changed')
  assert environment.git_revision() == f'{revision}-dirty'


def test_no_git_means_no_revision(monkeypatch):
  monkeypatch.setenv('PATH', '')
  assert environment.git_revision() is None
