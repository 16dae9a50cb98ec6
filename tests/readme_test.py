"""What the documents promise: their code runs and their links resolve."""

import importlib.util
import json
import pathlib
import re
import shlex
import subprocess

import numpy as np
import pytest
import yaml

import dualrs_jax
from dualrs_jax.base import Counts
from dualrs_jax.evaluation import methods, records, tsv

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md')])
BLOCK = re.compile(r'^```(\w+)\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def blocks(path: pathlib.Path) -> list[tuple[str, str]]:
  """The fenced blocks of a document: language and text."""
  return BLOCK.findall(path.read_text())


def commands(path: pathlib.Path) -> list[str]:
  """The command lines of a document."""
  lines = [
    line
    for language, text in blocks(path)
    if language == 'bash'
    for line in text.replace('\\\n', ' ').splitlines()
  ]
  return [line for line in lines if line.strip()]


def written(path: pathlib.Path) -> set[str]:
  """The files that a document has its reader write; they are tested apart."""
  heads = (text.splitlines()[0] for tag, text in blocks(path) if tag == 'py')
  return {head.removeprefix('# ') for head in heads if head.startswith('# ')}


WITH_CODE = [
  path for path in DOCUMENTS if any(tag == 'python' for tag, _ in blocks(path))
]


def test_the_first_document_has_code():
  assert ROOT / 'README.md' in WITH_CODE


@pytest.mark.parametrize('path', WITH_CODE, ids=lambda path: path.name)
def test_code_runs_and_prints_what_is_shown(path, capsys):
  """Blocks of one document share their names; `text` shows what was printed."""
  names: dict = {'__name__': path.stem}
  printed = ''
  for language, text in blocks(path):
    if language == 'python':
      exec(compile(text, str(path), 'exec'), names)
      printed = capsys.readouterr().out
    elif language == 'text':
      assert printed.strip() == text.strip()


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.name)
def test_links_resolve(path):
  links = re.findall(r'(?:\]\(| src(?:set)?=")([^)"\s]+)', path.read_text())
  for target in links:
    if not target.startswith(('https://', '#')):
      file, _, _ = target.partition('#')
      assert (path.parent / file).exists(), target


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.name)
def test_commands_name_files_that_exist(path):
  for command in commands(path):
    for word in shlex.split(command, comments=True):
      file = word.partition(':')[0]
      if re.fullmatch(r'[\w/.]+\.py', file) and '$' not in file:
        assert file in written(path) or (ROOT / file).exists(), command


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.name)
def test_commands_set_fields_that_exist(path):
  for command in commands(path):
    words = shlex.split(command, comments=True)
    for word in words:
      if word.startswith('--config.'):
        file, _, argument = words[words.index('--config') + 1].partition(':')
        if file in written(path):
          continue
        config = load(ROOT / file).get_config(argument)
        name, value = word.removeprefix('--config.').split('=')
        *parents, field = name.split('.')
        for parent in parents:
          config = config[parent]
        assert type(config[field])(value) != config[field], command


def load(path: pathlib.Path):
  spec = importlib.util.spec_from_file_location(path.stem, path)
  assert spec
  assert spec.loader
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_ci_runs_the_test_command_of_the_readme(tmp_path):
  """The script reads its command from the README, and refuses without one."""
  script = (ROOT / '.ci' / 'run').read_text()
  readme = (ROOT / 'README.md').read_text()
  [command] = [
    line for line in commands(ROOT / 'README.md') if line.endswith('-m pytest')
  ]
  reading = next(
    line for line in script.splitlines() if line.startswith('readme=')
  )

  def read(text: str) -> str:
    (tmp_path / 'README.md').write_text(text)
    return subprocess.run(
      ['bash', '-c', f'{reading}; printf %s "$readme"'],
      cwd=tmp_path,
      check=True,
      capture_output=True,
      text=True,
    ).stdout

  assert read(readme) == command
  assert read(readme.replace('<!-- tests -->', '')) == ''
  own = [line for line in script.splitlines() if '-m pytest' in line]
  assert len(own) == 2
  assert "' && '*' -m pytest'" in own[0]
  assert own[1].endswith('-m pytest -m "$marks" -p tests.no_skips')
  assert "\nmarks='torch or slow'\n" in script


def test_version_is_the_same_everywhere():
  citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
  changelog = (ROOT / 'CHANGELOG.md').read_text()
  assert citation['version'] == dualrs_jax.__version__
  assert (
    f"version = '{dualrs_jax.__version__}'"
    in (ROOT / 'pyproject.toml').read_text()
  )
  assert f'## {dualrs_jax.__version__}' in changelog


def test_the_picture_is_drawn_from_rows(tmp_path, monkeypatch):
  settings = {
    'task': 'certify',
    'smoothing': 'dual',
    'certificate': 'agreement',
    'sigmas': [0.25, 0.5],
    'estimator_sigma': 0.5,
    'n0': 100,
    'n': 1_000,
    'alpha': 0.001,
    'noise_alpha': 0.0,
    'goal': None,
    'radii': [],
    'data': {'name': 'digits'},
    'split': 'test',
    'num_classes': 2,
    'asked': '0',
  }
  votes = Counts(np.array([[90, 10]] * 2), np.array([[900, 100]] * 2))
  for name, own in {
    'dual-agreement-fixed': settings,
    'single-0.25-fixed': settings | {'smoothing': 'single', 'sigmas': [0.25]},
    'single-0.5-fixed': settings | {'smoothing': 'single', 'sigmas': [0.5]},
  }.items():
    estimator = Counts(votes.selection[0], votes.estimation[0])
    levels = len(own['sigmas'])
    classifier = Counts(votes.selection[:levels], votes.estimation[:levels])
    counted = methods.fixed_votes(estimator, classifier, own)
    row = records.of_votes(counted, own, idx=0, label=0, time=1.0)
    assert row.radius > 0
    folder = tmp_path / 'certify' / name
    folder.mkdir(parents=True)
    (folder / 'settings.json').write_text(json.dumps(own))
    lines = [tsv.header('certify'), tsv.to_line(row, 'certify')]
    (folder / 'rows.tsv').write_text('\n'.join(lines) + '\n')
  monkeypatch.syspath_prepend(str(ROOT / 'docs' / 'images'))
  curves = load(ROOT / 'docs' / 'images' / 'curves.py')
  curves.tabulate(tmp_path, tmp_path / 'table.csv')
  radii = curves.read(tmp_path / 'table.csv')
  assert list(radii) == ['dual', 'single-0.25', 'single-0.5']
  assert all(radius > 0 for radius in radii.values())
