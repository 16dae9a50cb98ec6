"""The command line: what it prints, writes and ends with, without JAX."""

import json
import pathlib
import subprocess
import sys

import pytest

from dualrs_jax.verify import __main__ as program
from tests.full_disk import full_disk

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def path(settings, rows_of, write):
  return write(rows_of(settings, 10), settings)


def spoil(path):
  """Makes a radius larger."""
  lines = path.read_text().split('\n')
  at = lines[0].split('\t').index('radius_full')
  fields = lines[3].split('\t')
  fields[at] = '5.0'
  lines[3] = '\t'.join(fields)
  path.write_text('\n'.join(lines))


def test_it_needs_neither_jax_nor_what_networks_need(path):
  """Whatever else is installed is hidden from it."""
  hidden = ['jax', 'jaxlib', 'jaxtyping', 'flax', 'optax', 'orbax', 'chex']
  hidden += ['absl', 'ml_collections', 'matplotlib', 'sklearn', 'PIL', 'tqdm']
  code = f"""
import runpy, sys
for name in {hidden}:
  sys.modules[name] = None
sys.argv[1:] = [{str(path)!r}]
runpy.run_module('dualrs_jax.verify', run_name='__main__')
"""
  done = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  assert 'every row follows' in done.stdout


def test_a_result_that_follows_has_a_record(path, capsys):
  assert program.main([str(path)]) == 0
  record = path.with_name('rows.record.json')
  assert f'record in {record}' in capsys.readouterr().out
  found = json.loads(record.read_text())
  assert found['rows']['file'] == 'rows.tsv'
  assert found['images'] == 10
  assert len(record.read_text().splitlines()) < 120
  assert {file.name for file in path.parent.iterdir()} == {
    'rows.record.json',
    'rows.tsv',
    'settings.json',
  }


def test_a_result_that_does_not_follow_has_none(path, capsys):
  spoil(path)
  assert program.main([str(path)]) == program.FALSE
  told = capsys.readouterr().out
  assert 'line 4: image ' in told
  assert '1 of 10 rows do not follow\nno record is written' in told
  assert not path.with_name('rows.record.json').exists()


def test_what_cannot_be_verified_is_told_in_a_sentence(path, capsys):
  path.with_name('settings.json').unlink()
  assert program.main([str(path)]) == program.UNVERIFIABLE
  told = capsys.readouterr()
  assert told.out == ''
  assert told.err.count('\n') == 1
  assert not path.with_name('rows.record.json').exists()


def test_settings_record_and_radii_may_be_elsewhere(path, tmp_path):
  elsewhere = tmp_path / 'elsewhere.json'
  path.with_name('settings.json').rename(elsewhere)
  record = tmp_path / 'page.json'
  options = ['--settings', str(elsewhere), '--record', str(record)]
  assert program.main([str(path), *options, '--radii', '0.1,0.2']) == 0
  found = json.loads(record.read_text())['certified_accuracy']
  assert [entry['radius'] for entry in found] == [0.1, 0.2]


def test_a_full_disk_leaves_no_half_of_a_record(path, capsys):
  with full_disk(100):
    status = program.main([str(path)])
  assert status == program.UNVERIFIABLE
  assert 'rows.record.json' in capsys.readouterr().err
  assert not [*path.parent.glob('*record*')]


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    (['--sigma', '0.5'], '--sigma, --n and --alpha are given together'),
    (['--sigma', '0', '--n', '9', '--alpha', '.1'], 'are positive'),
    (['--sigma', '1', '--n', '9', '--alpha', '2'], r'--alpha is in \(0, 1\)'),
  ],
)
def test_options_that_do_not_do(path, capsys, options, message):
  assert program.main([str(path), *options]) == program.UNVERIFIABLE
  pytest.raises(ValueError, _raise, capsys.readouterr().err).match(message)


def test_radii_that_are_none(path):
  with pytest.raises(SystemExit) as ended:
    program.main([str(path), '--radii', '-1'])
  assert ended.value.code == program.UNVERIFIABLE


def _raise(text):
  raise ValueError(text)
