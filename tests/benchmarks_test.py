"""The commands of the benchmarks: documents name them, and they start.

`benchmarks` and `configs` are found from the root of a clone alone, where
`python -m` looks and `python benchmarks/coverage.py` does not.
"""

import ast
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / 'benchmarks'
PROGRAMS = sorted(
  path.stem
  for path in BENCHMARKS.glob('*.py')
  if "\nif __name__ == '__main__':\n" in path.read_text()
)
#: What needs PyTorch from its first line on.
WITH_TORCH = {'host_overhead'}
COMMAND = re.compile(r'python -m benchmarks\.([a-z_]+)')

#: Runs each program as `python -m` does, in a process that has loaded what is
#: slow to load: says of each how it ended, and what it printed.
STARTS = """
import contextlib, importlib, io, json, os, runpy, sys
import jax, flax.nnx, matplotlib.figure, ml_collections.config_flags
import tensorflow_datasets
importlib.import_module('dualrs_jax.pretrained.converted')
for name in sys.argv[1:]:
  sys.stdout.flush()
  if os.fork():
    os.wait()
    continue
  printed = io.StringIO()
  sys.argv = [name, '--help']
  ended = 'returned'
  with contextlib.redirect_stdout(printed):
    try:
      runpy.run_module('benchmarks.' + name, run_name='__main__')
    except SystemExit:
      ended = 'exit'
    except BaseException as error:
      ended = repr(error)
  print(json.dumps([name, ended, printed.getvalue()]), flush=True)
  os._exit(0)
"""


def test_each_program_starts_from_the_root_and_helps():
  programs = PROGRAMS
  if not importlib.util.find_spec('torch'):
    programs = [name for name in PROGRAMS if name not in WITH_TORCH]
  assert len(programs) > 10
  environment = {
    name: value for name, value in os.environ.items() if name != 'PYTHONPATH'
  }
  result = subprocess.run(
    [sys.executable, '-c', STARTS, *programs],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  started = [json.loads(line) for line in result.stdout.splitlines()]
  assert [name for name, _, _ in started] == programs, result.stderr
  for name, ended, printed in started:
    assert ended == 'exit', f'{name}: {ended}'
    assert 'usage:' in printed.lower(), name


@pytest.mark.parametrize('name', PROGRAMS)
def test_each_program_says_its_command(name):
  text = ast.get_docstring(ast.parse((BENCHMARKS / f'{name}.py').read_text()))
  assert name in COMMAND.findall(text or '')


def test_commands_name_programs():
  folders = ('benchmarks', 'configs', 'docs', 'dualrs_jax', 'examples')
  files = [
    *ROOT.glob('*.md'),
    *(ROOT / 'notebooks').glob('*.py'),
    *(
      path
      for folder in folders
      for ending in ('md', 'py', 'json')
      for path in (ROOT / folder).rglob(f'*.{ending}')
    ),
  ]
  found = set()
  for path in files:
    text = path.read_text()
    assert not re.search(r'python3? benchmarks/', text), path
    names = {*COMMAND.findall(text)}
    assert names <= {*PROGRAMS}, path
    found |= names
  assert found == {*PROGRAMS}
