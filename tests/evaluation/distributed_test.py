"""The votes on each image over two processes: the rows of one."""

import json
import signal

import jax
import pytest

from dualrs_jax.evaluation import certify_source, workers
from dualrs_jax.runtime import settings as settings_lib
from tests import programs
from tests.evaluation import member

METHODS = {
  'adaptive': {'goal': 'grid', 'radii': [0.0, 0.25], 'noise': 'lattice'},
  'fixed': {},
  'predict': {'task': 'predict', 'certificate': None, 'n0': None},
}


def run(folder, how, statuses, devices):
  """Certifies by every method, in two processes; returns their logs."""
  (folder / 'methods.json').write_text(json.dumps(METHODS))
  address = programs.free_address()
  ended = programs.end_all(
    [
      programs.Program(
        *(member.__file__, folder, address, 2, index, how), devices=devices
      )
      for index in range(2)
    ]
  )
  programs.check(ended, statuses)
  return [program.log for program in ended]


@pytest.fixture(scope='module')
def together(tmp_path_factory):
  folder = tmp_path_factory.mktemp('together')
  return folder, run(folder, 'together', [0, 0], 2)


def written(folder):
  """The rows of all files, by index, without their times."""
  recorded = settings_lib.read(folder / certify_source.SETTINGS)
  rows = workers.together(workers.read(folder, recorded), recorded)
  return {idx: repr(rows[idx]._replace(time=0.0)) for idx in sorted(rows)}


@pytest.mark.parametrize('method', METHODS)
def test_rows_are_those_of_one_process(together, tmp_path, method):
  folder, _ = together
  one = [jax.local_devices()[0]]
  alone = member.certify(tmp_path, METHODS[method], devices=one)
  for index in range(2):
    assert json.loads((folder / f'{index}.json').read_text())[method] == alone
  folder = folder / method
  assert list(written(folder).values()) == alone
  assert sorted(path.name for path in folder.iterdir()) == [
    'rows.tsv',
    'settings.json',
  ]


def test_one_of_the_processes_draws(together):
  _, logs = together
  assert ['8/8' in log for log in logs] == [True, False]


@pytest.mark.slow
def test_devices_of_others_and_the_death_of_one_do_not_matter(tmp_path):
  # Of a CPU, devices that compute together would need the run for that.
  run(tmp_path, 'apart', [0, -signal.SIGKILL], 1)
  one = {'devices': [jax.local_devices()[0]]}
  for number, (method, changes) in enumerate(METHODS.items()):
    member.certify(tmp_path / 'alone' / method, changes, **one)
    expected = written(tmp_path / 'alone' / method)
    if number:  # the share of the one that had died by then is missing
      expected = {idx: expected[idx] for idx in sorted(expected)[::2]}
    assert written(tmp_path / method) == expected
