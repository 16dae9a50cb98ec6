"""The command line: a report on a configuration, or one sentence."""

import json
import pathlib
import re
import shlex

import pytest

from dualrs_jax.cost import __main__ as cost

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIGITS = f'{ROOT}/configs/digits.py'


def test_report(capsys):
  given = ['--devices', '1', '16', '--flops', '1e9', '--set']
  changes = ['targets.count=1000', 'certify.n0=100', 'certify.goal=radius']
  assert cost.main(['--config', DIGITS, *given, *changes]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == '# digits'
  # 1,000 images at 3 levels, 64 votes; two operations of each multiplication
  assert '| targets-1 | 1.92e+05 | 0 | 1e+11 | 2.1e+11 |' in lines
  # 208 s; each of two hosts has one of two shards of 500 images, 8 devices
  assert '| targets-1 | assumed | 0.058 | 0.0036 |' in lines
  assert any(line.startswith('| dual, adaptive ') for line in lines)
  assert any('0.001 TFLOP/s, assumed' in line for line in lines)
  assert lines[-1].startswith('| all | ')


def test_no_hours_of_what_was_not_measured(tmp_path, capsys):
  path = tmp_path / 'chip.json'
  row = {'path': 'cifar10-denoised', 'sizes': 'reduced', 'method': 'certify'}
  row |= {'device_kind': 'chip', 'dtype': 'float32'}
  row |= {'votes_per_second': 1.0, 'flops_per_vote': 1}
  path.write_text(json.dumps({'rows': [row]}))
  given = ['--throughput', str(path)]
  assert cost.main(['--config', DIGITS, *given]) == 0
  printed = capsys.readouterr().out
  assert '| targets-1 | | - |' in printed
  assert 'Not known: cnn with 541,984 multiplications is in none' in printed


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['nowhere.py'], 'error: there is no configuration nowhere.py'),
    ([f'{DIGITS}:ful'], "'full' or none, not 'ful'"),
    ([DIGITS, '--set', 'targets.cout=1'], 'Did you mean "count"'),
    ([DIGITS, '--set', 'target.count=1'], 'Did you mean "targets"'),
    ([DIGITS, '--set', 'rounds=0'], 'rounds must be at least 1'),
    ([DIGITS, '--throughput', 'none.json'], 'none.json'),
  ],
)
def test_mistakes(arguments, message, capsys):
  assert cost.main(['--config', *arguments]) == 2
  assert message in capsys.readouterr().err


@pytest.mark.parametrize(
  'arguments', [['--devices', '0'], ['--flops', '-1'], ['--set', 'seed']]
)
def test_usage(arguments):
  with pytest.raises(SystemExit):
    cost.main(['--config', DIGITS, *arguments])


def test_the_hours_of_the_guide(capsys, monkeypatch):
  """Of the published sizes, at the rates of the file that was measured."""
  monkeypatch.chdir(ROOT)
  guide = (ROOT / 'docs' / 'running.md').read_text()
  [command] = re.findall(r'python -m dualrs_jax.cost (.*throughput-.*)', guide)
  assert cost.main(shlex.split(command)) == 0
  printed = capsys.readouterr().out
  assert '| targets-1 | bare forward pass | 27 |' in printed
  assert '| dual, fixed | certify | 17 |' in printed
  assert '| dual, adaptive | adaptive | 3.3 |' in printed
  assert 'takes 3.3 hours of such' in guide
