"""Standard output that is closed, gone or full loses nothing else."""

import os
import subprocess
import sys

import pytest

from dualrs_jax.runtime import environment
from tests import programs

SAY = """
import os, sys
from dualrs_jax.runtime import output
output.open_closed()
with open(sys.argv[1], 'w') as file:
  for number in range(3):
    output.say('x' * 70_000)
    os.write(1, b'')
    file.write(f'{number}')
"""


def shell(tmp_path, redirected):
  """Runs the program through a shell; returns its status, log and file."""
  command = f'"$0" -c "$1" "$2" {redirected}; echo "${{PIPESTATUS[0]}}" >&3'
  done = subprocess.run(
    ['bash', '-c', f'exec 3>"$2.status"; {command}']
    + [sys.executable, SAY, str(tmp_path / 'file')],
    capture_output=True,
    text=True,
    check=False,
    env=os.environ | {'PYTHONPATH': str(programs.ROOT)},
  )
  status = int((tmp_path / 'file.status').read_text())
  return status, done.stderr, (tmp_path / 'file').read_text()


@pytest.mark.parametrize(
  'redirected', ['>&-', '>&- 2>&-', '<&- >&- 2>&-', '| head -c 1', '| true']
)
def test_who_does_not_listen_stops_nothing(tmp_path, redirected):
  assert shell(tmp_path, redirected) == (0, '', '012')


def test_a_full_device_is_named(tmp_path):
  status, log, written = shell(tmp_path, '>/dev/full')
  assert (status, written) == (1, '')
  *_, last = log.splitlines()
  assert "No space left on device: 'standard output'" in last


@pytest.mark.parametrize(
  'program',
  [
    ['certify.py', '--config=configs/digits.py'],
    ['-m', 'dualrs_jax.cost', '--config=configs/digits.py'],
    ['-m', 'dualrs_jax.pretrained', 'resnet', 'x.pt', '--out=/nonexistent/x'],
  ],
)
def test_a_device_that_is_not_there_is_told(tmp_path, program):
  if 'certify.py' in program:
    program = [*program, f'--workdir={tmp_path}/run']
  ended = programs.Program(
    *program, environment={'JAX_PLATFORMS': 'cuda'}
  ).end()
  assert ended.status in (1, 2)
  [line] = [s for s in ended.log.splitlines() if s.startswith('error')]
  assert "no device of JAX_PLATFORMS = 'cuda'" in line
  assert 'Traceback' not in ended.log
  assert not list(tmp_path.iterdir())


def test_there_is_a_device_here():
  environment.check_devices()
