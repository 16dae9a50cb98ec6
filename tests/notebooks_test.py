"""Notebooks run as programs, and what they show is checked in them.

They end in assertions of their own.
"""

import pathlib
import runpy

import jupytext
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / 'notebooks').glob('*.py'))


def run(name: str):
  return runpy.run_path(str(ROOT / 'notebooks' / f'{name}.py'))


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
  monkeypatch.setenv('DUALRS_SMALL', '1')
  monkeypatch.setenv('MPLBACKEND', 'agg')
  monkeypatch.setattr('tempfile.tempdir', str(tmp_path))


def test_half_space():
  found = run('half_space')
  assert 0 < found['answer'].radius <= 0.56


def test_one_level():
  found = run('one_level')
  both, radius = np.asarray(found['answers'].radius), found['radius']
  assert np.all(both <= radius)
  assert both.max() > 0.35


def test_vote_by_vote():
  found = run('vote_by_vote')
  assert found['certified'][-1] <= 0.4
  stages = [stage for stage, *_ in found['history']]
  assert {stage: stages.count(stage) > 3 for stage in (-1, 0)} == {-1: 1, 0: 1}


@pytest.mark.slow
def test_digits():
  found = run('digits')
  assert len(found['rows']) == found['config'].certify.count


@pytest.mark.torch
def test_torch_model():
  pytest.importorskip('torch')
  assert run('torch_model')['share'][0] > 0.7


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_installs_has_a_page_and_is_run(path):
  cells = jupytext.read(path).cells
  first, title, *_, last = cells
  assert first.source.startswith('%pip install -q ')
  assert first.metadata['tags'] == ['remove-cell', 'skip-execution']
  assert title.source.startswith('# ')
  assert 'assert ' in last.source
  assert any(cell.source.startswith('%matplotlib inline') for cell in cells)
  assert (
    f'\n/notebooks/{path.stem}\n'
    in (ROOT / 'docs' / 'notebooks.md').read_text()
  )
  assert f'def test_{path.stem}(' in pathlib.Path(__file__).read_text()
