import builtins
import re
import sys

import pytest

from dualrs_jax.evaluation import certify_source, run_rows, tsv
from dualrs_jax.report import __main__ as program
from dualrs_jax.report import page, writing
from dualrs_jax.runtime import settings as settings_lib
from tests.report.certification_test import data, words


def store(workdir, run):
  folder = workdir / certify_source.FOLDER / run.label
  folder.mkdir(parents=True)
  asked = ' '.join(str(row.idx) for row in run.rows)
  settings_lib.claim(folder / 'settings.json', {**run.settings, 'asked': asked})
  lines = [
    tsv.header('certify'),
    *(tsv.to_line(r, 'certify') for r in run.rows),
  ]
  (folder / 'rows.tsv').write_text('\n'.join(lines) + '\n')
  return folder


@pytest.fixture
def workdir(tmp_path, run, run_of):
  store(tmp_path / 'one', run)
  store(tmp_path / 'one', run_of(30, label='dual-paper', certificate='paper'))
  return tmp_path / 'one'


def test_every_certification_and_the_run_have_a_page(workdir):
  pages = writing.write(workdir)
  assert [path.parent.name for path in pages] == [
    'dual-agreement',
    'dual-paper',
    'one',
  ]
  said = pages[-1].read_text()
  assert 'href="certify/dual-paper/report.html"' in said
  assert 'certificate' in words(said)


def test_the_lines_that_check_a_row_work(workdir, capsys):
  path = writing.write(workdir, ['dual-agreement'])[0]
  code = re.search('<code id="check">(.*?)</code>', path.read_text(), re.DOTALL)
  lines = code.group(1).replace('&#x27;', "'")
  exec(lines, {})
  assert capsys.readouterr().out.startswith('Record(idx=0,')
  rows = path.with_name('rows.tsv')
  rows.write_text(rows.read_text().replace('\t1\t', '\t0\t', 1))
  with pytest.raises(ValueError, match='correct is'):
    exec(lines, {})


def test_the_program_compares_runs(workdir, tmp_path, run, capsys):
  other = store(tmp_path / 'two', run)
  output = tmp_path / 'comparison.html'
  assert not program.main([str(workdir), str(other), f'--output={output}'])
  said = words(output.read_text())
  for name in ('one/dual-agreement', 'one/dual-paper', 'two/dual-agreement'):
    assert name in said
  assert str(output) in capsys.readouterr().out
  assert program.main([str(tmp_path / 'nothing')]) == 2
  assert 'holds no rows' in capsys.readouterr().err
  assert program.main([str(workdir), f'--output={output}']) == 2
  assert 'is one run: its pages' in capsys.readouterr().err


def test_the_program_takes_the_home_and_a_full_device(
  workdir, monkeypatch, capsys
):
  monkeypatch.setenv('HOME', str(workdir.parent))
  both = ['~/one', '~/one/certify/dual-paper']
  assert not program.main([*both, '--output=~/both.html'])
  assert capsys.readouterr().out == f'{workdir.parent / "both.html"}\n'
  assert (workdir.parent / 'both.html').exists()
  for device, status in (('full', 2), ('null', 0)):
    with open(f'/dev/{device}', 'w') as file:
      monkeypatch.setattr(sys, 'stdout', file)
      assert program.main([*both, '--output=~/both.html']) == status
  assert capsys.readouterr().err == (
    "error: [Errno 28] No space left on device: 'standard output'\n"
  )


def test_files_have_their_names(workdir, run):
  folder = workdir / 'certify' / 'dual-agreement'
  lines = [f'{row.idx}\ttest/cat/<{row.idx}>.png' for row in run.rows]
  (folder / 'files.tsv').write_text('\n'.join(['idx\tfile', *lines, '']))
  text = writing.write(workdir, ['dual-agreement'])[0].read_text()
  lost = [row.idx for row in run.rows if row.status == 'classifier'][:2]
  first, second = (f'test/cat/<{idx}>.png' for idx in lost)
  assert f'(images {first}, {second}, …)' in words(text)
  told = data(text)
  columns = {column['name']: column for column in told['columns']}
  assert columns['file']['kind'] == 'search'
  assert columns['file']['values'] == [
    f'test/cat/<{row.idx}>.png' for row in run.rows
  ]
  other = data(writing.write(workdir, ['dual-paper'])[0].read_text())
  assert 'file' not in [column['name'] for column in other['columns']]
  (folder / 'files.tsv').write_text('idx\tfile\nnothing\n')
  with pytest.raises(ValueError, match='no list of numbers and files'):
    writing.write(workdir, ['dual-agreement'])


def test_pages_do_not_lose_their_pictures(
  workdir, run, source_of_run, monkeypatch, capsys
):
  [path, _] = writing.write(
    workdir, ['dual-agreement'], source=source_of_run(run)
  )
  before = path.read_bytes()
  assert writing.has_pictures(path)
  known = {**run.settings, 'data': {'name': 'folder'}}
  loaded = dict.fromkeys(
    writing.load_runs(workdir), run._replace(settings=known)
  )
  monkeypatch.setattr(program, 'load_runs', lambda _: loaded)
  assert program.main([str(workdir)]) == 2
  said = capsys.readouterr()
  assert path.read_bytes() == before
  assert f'error: {path} is left as it is' in said.err
  assert 'the folder that --data_dir names' in said.err
  assert 'data.data_dir' not in said.err
  # the other one had none, and is written with what there is
  assert 'dual-paper: no pictures' in said.err
  other = writing.place(workdir, 'dual-paper')
  assert other.exists()
  assert str(other) in said.out
  # images of another folder are not drawn for those of the run
  stranger = source_of_run(run, (4, 4, 1))
  monkeypatch.setattr(program.data, 'load', lambda **_: stranger)
  assert program.main([str(workdir), '--data_dir=elsewhere']) == 2
  assert path.read_bytes() == before
  assert 'that --data_dir names, or were changed' in capsys.readouterr().err
  settings = {**known, 'source': stranger.fingerprint()}
  loaded = {run.label: run._replace(settings=settings)}
  assert program.main([str(workdir), '--data_dir=elsewhere']) == 0
  assert path.read_bytes() != before


def test_without_the_library_only_the_pages_are_missing(workdir, monkeypatch):
  original = builtins.__import__

  def without(name, *args, **kwargs):
    if name == 'vl_convert':
      raise ImportError(name)
    return original(name, *args, **kwargs)

  page.library.cache_clear()
  monkeypatch.setattr(builtins, '__import__', without)
  said = writing.told(workdir, ['dual-paper'])
  assert 'vl-convert-python' in said
  writing.while_running(workdir)(workdir / 'certify' / 'dual-paper')
  assert not [*workdir.rglob('report.html')]


def test_a_run_under_way_writes_its_page_now_and_then(workdir, monkeypatch):
  times = iter([0.0, 4.0, 50.0, 85.0, 85.5])
  written = []
  monkeypatch.setattr(
    writing, '_write_one', lambda _, subject, __: written.append(subject)
  )
  after_row = writing.while_running(workdir, clock=lambda: next(times))
  folder = workdir / 'certify' / 'dual-paper'
  after_row(folder)  # takes 4 s, so that the next is due at 84
  after_row(folder)
  assert len(written) == 1
  after_row(folder)
  assert [about.run.label for about in written] == ['dual-paper'] * 2


def test_reading_runs_is_that_of_the_summaries():
  assert writing.load_runs is run_rows.load_runs
