"""The votes on each image over two processes: the rows of one."""

import json
import os
import subprocess
import sys

import jax
import pytest

from dualrs_jax.evaluation import certify_source, tsv
from dualrs_jax.runtime import settings as settings_lib
from tests.evaluation import member
from tests.runtime import launch

METHODS = {
  'adaptive': {'goal': 'grid', 'radii': [0.0, 0.25], 'noise': 'lattice'},
  'fixed': {},
  'predict': {'task': 'predict', 'certificate': None, 'n0': None},
}


@pytest.fixture(scope='module')
def together(tmp_path_factory):
  """Certifies by every method, in two processes of two devices each."""
  folder = tmp_path_factory.mktemp('together')
  (folder / 'methods.json').write_text(json.dumps(METHODS))
  address = f'127.0.0.1:{launch.free_port()}'
  environment = os.environ | {
    'JAX_PLATFORMS': 'cpu',
    'JAX_NUM_CPU_DEVICES': '2',
    'PYTHONPATH': str(launch.ROOT),
  }
  logs = [(folder / f'{index}.log').open('w') for index in range(2)]
  started = [
    subprocess.Popen(
      [sys.executable, member.__file__, folder, address, '2', f'{index}'],
      env=environment,
      stdout=log,
      stderr=subprocess.STDOUT,
    )
    for index, log in enumerate(logs)
  ]
  try:
    statuses = [process.wait(120) for process in started]
  finally:
    for process, log in zip(started, logs, strict=True):
      process.kill()
      process.wait()
      log.close()
  texts = [(folder / f'{index}.log').read_text() for index in range(2)]
  assert statuses == [0, 0], texts
  return folder


@pytest.mark.parametrize('method', METHODS)
def test_rows_are_those_of_one_process(together, tmp_path, method):
  one = [jax.local_devices()[0]]
  alone = member.certify(tmp_path, METHODS[method], devices=one)
  for index in range(2):
    assert json.loads((together / f'{index}.json').read_text())[method] == alone
  folder = together / method
  recorded = settings_lib.read(folder / certify_source.SETTINGS)
  rows = tsv.read(folder / certify_source.ROWS, recorded)
  rows = sorted(rows, key=lambda row: row.idx)
  assert [repr(row._replace(time=0.0)) for row in rows] == alone
  assert sorted(path.name for path in folder.iterdir()) == [
    'rows.tsv',
    'settings.json',
  ]


def test_one_of_the_processes_draws(together):
  logs = [(together / f'{index}.log').read_text() for index in range(2)]
  assert ['8/8' in log for log in logs] == [True, False]
