import os
import pathlib
import subprocess
import sys

import pytest

import dualrs_jax
from dualrs_jax import shipped

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_they_are_found_by_name():
  assert {'cifar10', 'digits', 'imagenet'} <= {*shipped.names()}
  found, _, argument = shipped.find('cifar10:small').partition(':')
  assert argument == 'small'
  assert 'VARIANTS' in pathlib.Path(found).read_text()


def test_a_file_that_exists_goes_first(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert pathlib.Path(shipped.find('configs/digits.py:full')).is_absolute()
  mine = tmp_path / 'configs' / 'digits.py'
  mine.parent.mkdir()
  mine.touch()
  assert shipped.find('configs/digits.py:full') == 'configs/digits.py:full'


def test_one_is_the_beginning_of_ones_own(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert shipped.get_config('digits').data.name == 'digits'
  assert shipped.get_config('cifar10:small').name == 'cifar10-small'
  config = shipped.get_config('digits')
  with pytest.raises(AttributeError):
    config.unknown = 1
  with pytest.raises(ValueError, match=r"'none' comes .* there are cifar10"):
    shipped.get_config('none')


@pytest.mark.parametrize(
  'text', ['digitss', 'digits.py', 'other/digits.py', '/tmp/configs/no.py', '']
)
def test_what_is_none_of_them_stays_as_it_is(text, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert shipped.find(text) == text


def test_the_program_does_not_hide_the_function():
  with pytest.raises(ImportError, match='from dualrs_jax import certify'):
    __import__('dualrs_jax.certify')
  assert callable(dualrs_jax.certify)


@pytest.mark.slow
def test_the_wheel_needs_no_clone(tmp_path):
  wheels, site, empty = (tmp_path / name for name in ('out', 'site', 'empty'))
  empty.mkdir()
  pip = [sys.executable, '-m', 'pip', '--quiet']
  build = [*pip, 'wheel', '--no-deps', '--wheel-dir', wheels, ROOT]
  subprocess.run(build, check=True)
  [wheel] = wheels.glob('*.whl')
  install = [*pip, 'install', '--no-deps', '--target', site, wheel]
  subprocess.run(install, check=True)

  def run(program, *options):
    ended = subprocess.run(
      [sys.executable, '-m', f'dualrs_jax.{program}', *options],
      cwd=empty,
      env={**os.environ, 'PYTHONPATH': str(site)},
      capture_output=True,
      text=True,
      check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr

  quick = [
    *('--config=digits', '--config.classifier.steps=4'),
    *('--config.estimator.steps=2', '--config.finetune.steps=2'),
    *('--config.targets.count=128', '--config.certify.count=2'),
    *('--config.baselines=()', '--config.certify.n=100'),
    *('--config.classifier.warmup_steps=0', '--config.workers=1'),
    *('--config.estimator.warmup_steps=0', '--config.finetune.warmup_steps=0'),
  ]
  status, said = run('train', *quick)
  assert status == 0, said
  assert 'dual-agreement' in said
  assert (empty / 'runs' / 'digits' / 'certify').is_dir()
  status, said = run('certify', *quick)
  assert status == 0, said
  status, said = run('certify', '--config=digitss')
  assert status == 2
  assert said.endswith('are cifar10, digits, imagenet, own\n')
