"""The floors of the dependencies are those that .ci/floors installs."""

import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']


def test_the_script_pins_each_dependency_at_its_floor():
  script = (ROOT / '.ci' / 'floors').read_text()
  [program] = re.findall(r"<<'END'\n(.*?)^END$", script, re.S | re.M)
  pins = subprocess.run(
    [sys.executable, '-c', program],
    cwd=ROOT,
    check=True,
    capture_output=True,
    text=True,
  ).stdout.split()
  floors = dict(line.split('>=') for line in PROJECT['dependencies'])
  assert dict(pin.split('==') for pin in pins) == floors
  assert f'python{PROJECT["requires-python"][2:]}' in script


def test_accelerators_have_the_same_floor():
  [jax] = [line for line in PROJECT['dependencies'] if line.startswith('jax>')]
  for extra in ('cuda12', 'tpu'):
    [line] = PROJECT['optional-dependencies'][extra]
    assert line == jax.replace('jax', f'jax[{extra}]')
