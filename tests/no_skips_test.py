"""The plugin of .ci/run: a skipped test fails, wherever it is skipped."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]

SKIPPED = """
import pytest

def test_skipped_inside():
  pytest.importorskip('no_such_module')

@pytest.mark.skip(reason='a mark')
def test_skipped_by_a_mark():
  pass

@pytest.mark.xfail
def test_that_fails_as_expected():
  raise AssertionError

def test_that_passes():
  pass
"""


def test_skipped_tests_and_modules_fail(tmp_path):
  (tmp_path / 'pytest.ini').write_text('[pytest]\npython_files = *_test.py')
  (tmp_path / 'a_test.py').write_text(SKIPPED)
  (tmp_path / 'b_test.py').write_text(
    'import pytest\npytest.importorskip("no_such_module")'
  )
  command = [sys.executable, '-m', 'pytest', '-q', str(tmp_path)]
  command.append('--continue-on-collection-errors')

  def last_line(*options):
    result = subprocess.run(
      [*command, *options], cwd=ROOT, capture_output=True, text=True
    )
    return result.returncode, result.stdout.splitlines()[-1]

  status, line = last_line()
  assert status == 0
  assert line.startswith('1 passed, 3 skipped, 1 xfailed')
  status, line = last_line('-p', 'tests.no_skips')
  assert status == 1
  assert line.startswith('1 failed, 1 passed, 1 xfailed, 2 errors')
