"""`~` is the home directory in every path, and nothing else is."""

import json
import os
import pathlib
import pwd
import subprocess
import sys

import pytest

from dualrs_jax import checkpoints, data, folders
from dualrs_jax.cost import __main__ as cost
from dualrs_jax.evaluation import run_rows
from dualrs_jax.pretrained import __main__ as pretrained
from dualrs_jax.pretrained import converted
from dualrs_jax.runtime import files, settings
from tests import no_home

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture
def home(monkeypatch, tmp_path):
  """A home directory, and another working directory."""
  for folder in ('home', 'here'):
    (tmp_path / folder).mkdir()
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  monkeypatch.chdir(tmp_path / 'here')
  return tmp_path / 'home'


@pytest.mark.parametrize(
  ('path', 'expected'),
  [
    ('~', '{home}'),
    ('~/a/b', '{home}/a/b'),
    ('a/~/b', 'a/~/b'),
    ('./~', '{home}/../here/~'),
    ('./~/a', '{home}/../here/~/a'),
    ('/a', '/a'),
    ('', '.'),
  ],
)
def test_a_leading_tilde_is_the_home(home, path, expected):
  expected = pathlib.Path(os.path.normpath(expected.format(home=home)))
  assert folders.expand(path) == expected
  assert folders.expand(folders.expand(path)) == expected


def test_the_home_of_another_user(home):
  user = pwd.getpwuid(0)
  assert folders.expand(f'~{user.pw_name}/x') == pathlib.Path(user.pw_dir) / 'x'
  with pytest.raises(folders.NoHome, match="user 'no-such-user' is known"):
    folders.expand('~no-such-user/x')


@pytest.mark.parametrize('named', [None, '', 'relative'])
def test_home_is_that_of_the_user_unless_the_environment_names_one(
  monkeypatch, named
):
  monkeypatch.setenv('HOME', named or '')
  if named is None:
    monkeypatch.delenv('HOME')
  user = pwd.struct_passwd(('me', 'x', 1, 1, '', '/somewhere', '/bin/sh'))
  monkeypatch.setattr(pwd, 'getpwuid', lambda _: user)
  assert folders.home() == pathlib.Path('/somewhere')


def test_without_a_home_a_tilde_is_refused(monkeypatch, tmp_path):
  no_home.leave(monkeypatch, tmp_path)
  assert folders.home() is folders.cache() is None
  with pytest.raises(folders.NoHome, match='known for ~/x: write the'):
    folders.expand('~/x')
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  assert folders.cache() == tmp_path / 'dualrs_jax'


@pytest.mark.parametrize('named', ['', 'relative', '~/caches', '~nobody/x'])
def test_the_cache_is_absolute_or_that_of_the_home(home, monkeypatch, named):
  monkeypatch.setenv('XDG_CACHE_HOME', named)
  known = 'caches' if named == '~/caches' else '.cache'
  if named == '~nobody/x':
    monkeypatch.setattr(pwd, 'getpwnam', dict.__getitem__)
    monkeypatch.setattr(folders, '_home_of', lambda user: None)
  assert folders.cache() == home / known / 'dualrs_jax'
  monkeypatch.setenv('HOME', str(home / 'gone'))
  monkeypatch.setenv('XDG_CACHE_HOME', '')
  assert folders.cache() is None, 'a home is not made'


def test_data_sets_need_a_folder(monkeypatch, tmp_path):
  no_home.leave(monkeypatch, tmp_path)
  for name in ('cifar10', 'imagenet'):
    for folder in ({}, {'data_dir': '~/data'}):
      with pytest.raises(data.DatasetNotFound, match='no home directory is kn'):
        data.load(name, 'test', **folder)
    with pytest.raises(data.DatasetNotFound, match=f'is not in {tmp_path}'):
      data.load(name, 'test', data_dir=str(tmp_path))
  monkeypatch.setenv('TFDS_DATA_DIR', '~/data')
  with pytest.raises(data.DatasetNotFound, match='TFDS_DATA_DIR or data_dir'):
    data.load('cifar10', 'test')
  assert not list(tmp_path.iterdir())


def test_files_are_written_and_read_in_the_home(home):
  files.write_atomic('~/a/text', 'x')
  settings.claim('~/a/settings.json', {'n': 1})
  assert settings.read('~/a/settings.json') == {'n': 1}
  with checkpoints.Saver('~/a/checkpoints', keep=1):
    pass
  assert checkpoints.steps('~/a/checkpoints') == []
  assert run_rows.load_runs('~/a') == {}
  found = {path.name for path in (home / 'a').iterdir()}
  assert found == {'text', 'settings.json', 'checkpoints'}
  assert not list(pathlib.Path().iterdir())


def test_models_are_looked_for_in_the_home(home, capsys):
  source = home / 'weights'
  source.write_bytes(b'{}')
  for out in ('~/model', str(home / 'model')):
    arguments = ['resnet', '~/weights', '--out', out]
    assert pretrained.main(arguments) == 1
  first, second = capsys.readouterr().err.splitlines()
  assert first == second
  (home / 'model').mkdir()
  with pytest.raises(converted.ImportFailure, match='no converted model'):
    converted.describe('~/model')


def test_costs_read_from_the_home(home, capsys):
  text = (ROOT / 'configs' / 'digits.py').read_text()
  (home / 'digits.py').write_text(text)
  (home / 'rates.json').write_text(json.dumps({}))
  arguments = ['--config', '~/digits.py', '--throughput', '~/rates.json']
  assert cost.main(arguments) == 2
  assert 'rates.json is not the JSON' in capsys.readouterr().err


def test_programs_take_it_in_options(home):
  (home / 'c.py').write_text('raise SyntaxError')
  done = subprocess.run(
    [sys.executable, str(ROOT / 'certify.py'), '--config=~/no.py'],
    capture_output=True,
    text=True,
    check=False,
    env={'HOME': str(home), 'PYTHONPATH': str(ROOT), 'PATH': ''},
  )
  assert done.returncode == 2
  assert f'{home}/no.py' in done.stderr
