"""What the documents promise: their code runs and their links resolve."""

import importlib.util
import pathlib
import re
import shlex
import subprocess

import pytest
import yaml

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
  for target in re.findall(r'\]\(([^)\s]+)\)', path.read_text()):
    if not target.startswith(('https://', '#')):
      file, _, _ = target.partition('#')
      assert (path.parent / file).exists(), target


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.name)
def test_commands_name_files_that_exist(path):
  for command in commands(path):
    for word in shlex.split(command, comments=True):
      file = word.partition(':')[0]
      if re.fullmatch(r'[\w/.]+\.py', file) and '$' not in file:
        assert (ROOT / file).exists(), command


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.name)
def test_commands_set_fields_that_exist(path):
  for command in commands(path):
    words = shlex.split(command, comments=True)
    for word in words:
      if word.startswith('--config.'):
        file, _, argument = words[words.index('--config') + 1].partition(':')
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
  assert '-m pytest' not in script.replace("' && '*' -m pytest'", '')


def test_version_is_the_same_everywhere():
  import dualrs_jax

  citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
  changelog = (ROOT / 'CHANGELOG.md').read_text()
  assert citation['version'] == dualrs_jax.__version__
  assert (
    f"version = '{dualrs_jax.__version__}'"
    in (ROOT / 'pyproject.toml').read_text()
  )
  assert f'## {dualrs_jax.__version__}' in changelog
