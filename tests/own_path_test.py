"""docs/own.md, block by block, in an empty folder, the package installed."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
from PIL import Image

from dualrs_jax import data

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'docs' / 'own.md').read_text()
BLOCKS = re.findall(r'^```(\w+)\n(.*?)^```$', PAGE, re.M | re.S)
#: The folders of the digits.
NAMES = (
  *('zero', 'one', 'two', 'three', 'four'),
  *('five', 'six', 'seven', 'eight', 'nine'),
)

TRAIN_CLEAN = """
import torch
import my_models
from dualrs_jax import data

source = data.load('folder', 'train', data_dir='pictures')
pixels = torch.from_numpy(source.images).permute(0, 3, 1, 2) / 255
labels = torch.from_numpy(source.labels).long()
torch.manual_seed(0)
module = my_models.architecture()
optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
for step in range(700):
  chosen = torch.randint(len(pixels), (64,))
  logits = module((pixels[chosen] - 0.1) / 0.25)
  loss = torch.nn.functional.cross_entropy(logits, labels[chosen])
  optimizer.zero_grad()
  loss.backward()
  optimizer.step()
torch.save(module.state_dict(), 'clean.pt')
"""


def _pictures(root: pathlib.Path) -> None:
  """The digits as files, as the page says."""
  for split in ('train', 'test'):
    source = data.load('digits', split, renderings=2)
    for number, label in enumerate(source.labels.tolist()):
      folder = root / split / NAMES[label]
      folder.mkdir(parents=True, exist_ok=True)
      picture = Image.fromarray(source.images[number, ..., 0])
      picture.save(folder / f'{number:04d}.png')


def _installed(folder: pathlib.Path) -> pathlib.Path:
  """The package as a wheel has it."""
  wheels, site = folder / 'wheels', folder / 'site'
  pip = [sys.executable, '-m', 'pip', '--quiet']
  build = [*pip, 'wheel', '--no-deps', '--wheel-dir', wheels, ROOT]
  subprocess.run(build, check=True)
  [wheel] = wheels.glob('*.whl')
  install = [*pip, 'install', '--no-deps', '--target', site, wheel]
  subprocess.run(install, check=True)
  return site


def _words(text: str) -> list[str]:
  """What does not depend on the machine, by line: no digits, no spaces."""
  lines = (re.sub(r'[-\d.,%\[\]|]+', '', line) for line in text.splitlines())
  return [' '.join(line.split()) for line in lines if line.strip()]


def test_the_page_says_where_each_file_comes_from():
  """Each program that a command runs was written by a block before it."""
  written = set()
  for language, text in BLOCKS:
    if language == 'py':
      written.add(text.splitlines()[0].removeprefix('# '))
    elif language == 'bash':
      assert {*re.findall(r'\w+\.py', text)} <= written, text
  assert {'my_models.py', 'mine.py'} <= written


def test_the_configuration_of_the_page_has_fields_that_exist():
  [mine] = [text for _, text in BLOCKS if text.startswith('# mine.py')]
  names = {}
  exec(compile(mine, 'mine.py', 'exec'), names)
  config = names['get_config']()
  assert config.certify.n == 1_000
  assert config.is_locked


@pytest.mark.torch
@pytest.mark.slow
def test_every_block_runs_in_an_empty_folder(tmp_path):
  pytest.importorskip('torch')
  here = tmp_path / 'empty'
  here.mkdir()
  _pictures(here / 'pictures')
  environment = {
    **os.environ,
    'PATH': f'{pathlib.Path(sys.executable).parent}:{os.environ["PATH"]}',
    'PYTHONPATH': str(_installed(tmp_path)),
    'XDG_CACHE_HOME': str(tmp_path / 'cache'),
  }
  environment.pop('XLA_FLAGS', None)

  def run(command: str) -> str:
    ended = subprocess.run(
      ['bash', '-euo', 'pipefail', '-c', command],
      cwd=here,
      env=environment,
      capture_output=True,
      text=True,
      check=False,
    )
    assert ended.returncode == 0, f'{command}\n{ended.stdout}\n{ended.stderr}'
    return ended.stdout

  printed = ''
  for language, text in BLOCKS:
    if language == 'py':
      name = text.splitlines()[0].removeprefix('# ')
      (here / name).write_text(text)
      if name == 'my_models.py':
        (here / 'train_clean.py').write_text(TRAIN_CLEAN)
        run('python train_clean.py')
    elif language == 'bash':
      printed = run(text)
    elif language == 'text':
      shown = _words(text)
      assert [line for line in _words(printed) if line in shown] == shown
  result = here / 'runs' / 'mine' / 'certify' / 'dual-agreement'
  assert (result / 'report.html').exists()
  assert (result / 'rows.record.json').exists()
  assert len((result / 'rows.tsv').read_text().splitlines()) == 1 + 150
