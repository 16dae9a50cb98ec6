import json
import shutil
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from dualrs_jax.evaluation import (
  certify_source,
  figures,
  gallery,
  report,
  run_rows,
  style,
)
from dualrs_jax.runtime import files as files_lib
from dualrs_jax.runtime import settings as settings_lib
from dualrs_jax.runtime import shards

ALL = np.arange(12)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory, estimator, classifier, source):
  """A dual run, plain smoothing at two levels, and predictions."""
  directory = tmp_path_factory.mktemp('workdir')
  common = {
    'data': {'name': 'patterns'},
    'split': 'test',
    'n0': 20,
    'n': 100,
    'alpha': 0.01,
    'noise': 'gaussian',
    'goal': None,
    'radii': [],
    'task': 'certify',
  }
  dual = common | {
    'smoothing': 'dual',
    'certificate': 'agreement',
    'sigmas': [0.25, 0.5, 1.0],
    'estimator_sigma': 0.5,
  }
  single = common | {'smoothing': 'single', 'certificate': None}
  single |= {'estimator_sigma': None}
  runs = {
    'dual-agreement': dual,
    'single-0.25': single | {'sigmas': [0.25]},
    'single-0.5': single | {'sigmas': [0.5]},
    'predict-dual': dual | {'task': 'predict', 'n0': None},
  }
  for label, settings in runs.items():
    certify_source.certify_source(
      estimator if settings['smoothing'] == 'dual' else None,
      classifier,
      source,
      directory / certify_source.FOLDER / label,
      settings=settings,
      seed=3,
      chunk_size=60,
      positions=ALL,
      report_radii=(0.0,),
      devices=jax.local_devices()[:1],
    )
  return directory


def test_each_run_gets_its_summary_and_figures(workdir, source):
  labels = ['dual-agreement', 'single-0.5', 'predict-dual']
  text = report.report(workdir, labels, radii=(0.0, 0.5), source=source)
  folder = workdir / certify_source.FOLDER
  drawn = {
    'dual-agreement': {
      *('certified_accuracy', 'vote_probabilities'),
      *('chosen_levels', 'examples'),
    },
    'single-0.5': {'certified_accuracy', 'vote_probabilities'},
    'predict-dual': set(),
  }
  for label, names in drawn.items():
    assert {path.stem for path in folder.glob(f'{label}/figures/*')} == names
    for path in folder.glob(f'{label}/figures/*.png'):
      with Image.open(path) as image:
        pixels = np.asarray(image.convert('L'))
      assert min(pixels.shape) >= 250
      assert (pixels < 128).mean() > 0.002  # something is drawn
    assert label in (folder / label / 'summary.txt').read_text()
    assert f'### {label}' in (folder / label / 'summary.md').read_text()
    assert label in text
  assert text.count('ratio to the best') == 1
  assert text.count('Clopper-Pearson') == 1  # said once for all runs


def test_without_matplotlib_there_is_a_table(workdir, monkeypatch):
  monkeypatch.setitem(sys.modules, 'matplotlib', None)
  said = report.report(workdir, ['single-0.25'], radii=(0.0, 0.5))
  assert 'need the package matplotlib' in ' '.join(said.split())
  assert 'figures in' not in said


def test_a_run_without_rows_is_named(workdir):
  with pytest.raises(ValueError, match="holds no rows of 'dual-paper'"):
    report.report(workdir, ['dual-paper'], radii=(0.0,))


def test_a_damaged_file_is_named(workdir, tmp_path):
  folder = tmp_path / certify_source.FOLDER / 'single-0.5'
  folder.mkdir(parents=True)
  original = workdir / certify_source.FOLDER / 'single-0.5'
  settings = (original / certify_source.SETTINGS).read_text()
  (folder / certify_source.SETTINGS).write_text(settings)
  lines = (original / certify_source.ROWS).read_text().splitlines()
  lines[3] = lines[3][:-3]
  (folder / certify_source.ROWS).write_text('\n'.join(lines) + '\n')
  with pytest.raises(shards.CorruptShard, match=r'rows\.tsv, line 4'):
    report.report(tmp_path, ['single-0.5'], radii=(0.0,))


def test_a_damaged_file_of_another_run_is_left_out(workdir, tmp_path, caplog):
  copy = tmp_path / 'workdir'
  shutil.copytree(workdir, copy)
  folder = copy / certify_source.FOLDER
  (folder / 'single-0.5' / certify_source.SETTINGS).write_text('{')
  (folder / 'single-0.25' / certify_source.SETTINGS).unlink()
  text = report.report(copy, ['dual-agreement'], radii=(0.0,))
  assert text.startswith('dual-agreement\n  12 images')
  assert 'ratio to the best' not in text
  assert 'single-0.5 is left out' in caplog.text
  assert 'single-0.25 is left out' in caplog.text
  with pytest.raises(ValueError, match='is not a settings file'):
    report.report(copy, ['single-0.5'], radii=(0.0,))


def test_the_summary_is_of_the_images_asked_for_last(workdir, tmp_path):
  copy = tmp_path / 'workdir'
  shutil.copytree(workdir, copy)
  path = copy / certify_source.FOLDER / 'single-0.5' / certify_source.SETTINGS
  recorded = settings_lib.read(path)
  assert recorded['asked'] == ' '.join(map(str, range(100, 112)))
  asked = {'images': 3, 'asked': '104 109 150'}
  files_lib.write_atomic(path, json.dumps(recorded | asked))
  run = run_rows.load_runs(copy)['single-0.5']
  assert [row.idx for row in run.rows] == [104, 109]
  text = report.report(copy, ['single-0.5'], radii=(0.0,))
  assert 'PARTIAL: 2 of the 3 images asked for' in text


def texts_of(figure):
  """Visible texts that are not ticks, with the pixels that they cover."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg

  renderer = FigureCanvasAgg(figure).get_renderer()
  figure.draw(renderer)
  texts = [*figure.texts]
  for axes in figure.axes:
    texts += [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label]
  return {
    text.get_text(): text.get_window_extent(renderer)
    for text in texts
    if text.get_text().strip()
  }


def test_texts_do_not_overlap_and_stay_inside(workdir, source):
  runs = run_rows.load_runs(workdir)
  run = runs['dual-agreement']
  singles = [runs['single-0.25'], runs['single-0.5']]
  for figure in (
    figures.certified_accuracy(run, singles),
    figures.certified_accuracy(run, []),
    figures.vote_probabilities(run, singles),
    figures.vote_probabilities(run, []),
    figures.chosen_levels(run),
    gallery.chosen_images(run, source),
  ):
    boxes = list(texts_of(figure).items())
    width, height = figure.get_size_inches() * figure.dpi
    for number, (text, box) in enumerate(boxes):
      assert box.x0 >= -1, text
      assert box.y0 >= -1, text
      assert box.x1 <= width + 1, text
      assert box.y1 <= height + 1, text
      for other_text, other in boxes[:number]:
        assert not box.overlaps(other), (text, other_text)


def test_curves_are_named_on_the_figure(workdir):
  runs = run_rows.load_runs(workdir)
  singles = [runs['single-0.25'], runs['single-0.5']]
  names = texts_of(figures.certified_accuracy(runs['dual-agreement'], singles))
  assert {'σ = 0.25', 'σ = 0.5', 'dual (agreement)'} <= set(names)


def test_curves_show_certified_accuracy(workdir):
  run = run_rows.load_runs(workdir)['dual-agreement']
  [axes] = figures.certified_accuracy(run, []).axes
  [line] = axes.lines
  radii, shares = line.get_data()
  for radius, share in zip(radii, shares, strict=True):
    hits = sum(row.correct and row.radius >= radius for row in run.rows)
    assert share == pytest.approx(100 * hits / len(run.rows))
  assert shares[0] > 0
  assert shares[-1] == 0


def test_vote_curves_meet_certified_accuracy(workdir):
  """At p_A = Phi(r / sigma) they say what is certified at r."""
  runs = run_rows.load_runs(workdir)
  run, single = runs['dual-agreement'], runs['single-0.25']
  axes = figures.vote_probabilities(run, [single]).axes[0]
  radii, shares = axes.lines[0].get_data()
  for z, share in zip(radii[1:], shares[1:], strict=True):
    hits = sum(row.correct and row.radius >= 0.25 * z for row in single.rows)
    assert share == pytest.approx(100 * hits / len(single.rows))


def test_level_colours_can_be_told_apart():
  colors = [style.level_color(level) for level in range(6)]
  assert len(set(colors)) == 6
  assert style.faded('#0072B2', 1.0) == '#0072B2'
  assert style.faded('#000000', 0.0) == '#FFFFFF'
  assert style.is_light('#F0E442')
  assert not style.is_light('#0072B2')
