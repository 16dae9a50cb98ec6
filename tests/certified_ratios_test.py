"""All certificates of a run in one table, with ratios to the best level."""

import pytest

from benchmarks import certified_ratios
from dualrs_jax.evaluation import run_rows
from dualrs_jax.evaluation.records import Record
from dualrs_jax.evaluation.run_rows import Run

RADII = (0.0, 0.5)
#: Radii of ten images, -1 where the class is wrong: of the dual, at the levels
#: of its classifier, and of one that was trained alone.
DUAL = [1.0] * 3 + [0.4] * 4 + [-1.0] * 3
SMALL = [-1.0] * 2 + [0.4] * 8
LARGE = [1.0] * 4 + [-1.0] * 6
ALONE = [0.4] * 10


def record(idx, radius):
  right = radius >= 0
  return Record(
    *(idx, 1, int(right), max(radius, 0.0), 0.0, 0.25, 0, 1.0, 1.0),
    *((), (), (), {}, {}, {}, 'certified'),
  )


def run(label, radii, *, sigma=None, weights='ours'):
  shared = ('data', 'split', 'num_classes', 'goal', 'noise')
  settings = {
    'task': 'certify',
    'smoothing': 'single' if sigma else 'dual',
    'sigmas': [sigma] if sigma else [0.25, 1.0],
    'weights': {'classifier': weights},
    'n0': 10,
    'n': 1000,
    'alpha': 0.001,
    **dict.fromkeys(shared, 'same'),
    'radii': list(RADII),
  }
  return Run(label, settings, [record(k, r) for k, r in enumerate(radii)])


@pytest.fixture
def runs(monkeypatch):
  found = [
    run('dual-fallback', DUAL),
    run('dual-paper', SMALL),
    run('dual-of-another', SMALL, weights='alone'),
    run('single-0.25', SMALL, sigma=0.25),
    run('single-1', LARGE, sigma=1.0),
    run('single-0.25-alone', ALONE, sigma=0.25, weights='alone'),
  ]
  by_label = {one.label: one for one in found}
  for name in ('n', 'radii'):
    for label, sigma in (('single', 1.0), ('dual', None)):
      other = run(f'{label}-of-other-{name}', LARGE, sigma=sigma)
      other.settings[name] = [0.25]
      by_label[other.label] = other
  monkeypatch.setattr(run_rows, 'load_runs', lambda *_: dict(by_label))
  return by_label


def tables(text):
  """The cells of each line by its first, for each table."""
  return [
    {
      cells[0]: cells[1:]
      for cells in (line.strip('| ').split(' | ') for line in part.splitlines())
    }
    for part in text.split('\n\n')[1:]
  ]


def test_ratios_are_to_the_levels_of_its_own_classifier_and_to_all(
  runs, tmp_path
):
  found = certified_ratios.load(tmp_path, 'dual-fallback')
  text = certified_ratios.markdown(found, RADII)
  assert text.startswith('10 images, n0 = 10, n = 1,000, alpha = 0.001.')
  shares, own, every = tables(text)
  assert shares['dual-fallback'] == ['70.0', '30.0']
  assert shares['single-0.25-alone'] == ['100.0', '0.0']
  assert shares['best level at each radius'] == ['80.0', '40.0']
  assert shares['the same, of all networks'] == ['100.0', '40.0']
  assert shares['best level of each image'] == ['100.0', '40.0']
  assert 'other' not in text
  assert 'Left out' not in text

  def values(cells):
    return [float(cell.split(' [')[0]) for cell in cells]

  # Of 80 and 40; the best constant is level 1, with ratios of 1/2 and 1.
  assert values(own['dual-fallback']) == [0.88, 0.75, 0.81, 0.062]
  assert values(own['dual-paper']) == [1.0, 0.0, 0.5, -0.25]
  assert values(own['single-1']) == [0.5, 1.0, 0.75, 0.0]
  assert values(own['best level of each image']) == [1.25, 1.0, 1.12, 0.375]
  assert 'single-0.25-alone' not in own
  # Of 100 and 40.
  assert values(every['dual-fallback'])[:3] == pytest.approx(
    [0.7, 0.75, 0.725], abs=0.006
  )


def test_a_radius_that_nothing_reaches_has_no_ratio(runs, tmp_path):
  found = certified_ratios.load(tmp_path, 'dual-fallback')
  text = certified_ratios.markdown(found, (0.0, 2.0))
  assert 'best level: nothing certifies an image at r = 2.' in text


def test_what_lacks_images_is_left_out(runs, tmp_path):
  del runs['single-0.25-alone'].rows[4:]
  text = certified_ratios.markdown(
    certified_ratios.load(tmp_path, 'dual-fallback'), RADII
  )
  assert text.startswith('10 images')
  assert text.endswith('Left out, for want of images: single-0.25-alone.')
  del runs['dual-fallback'].rows[4:]
  found = certified_ratios.load(tmp_path, 'dual-fallback')
  assert certified_ratios.markdown(found, RADII).startswith('4 images')


def test_radii_are_those_that_were_decided(runs):
  of = runs['dual-fallback']
  assert certified_ratios.asked(of, ()) == [*RADII]
  assert certified_ratios.asked(of, (0.5,)) == (0.5,)
  with pytest.raises(SystemExit, match=r'decided r = \[0.0, 0.5\], and no'):
    certified_ratios.asked(of, (0.25,))
  of.settings['radii'] = []
  assert certified_ratios.asked(of, (0.25,)) == (0.25,)
  with pytest.raises(SystemExit, match='name --radii: dual-fallback has all'):
    certified_ratios.asked(of, ())


def test_what_is_not_there_is_named(runs, tmp_path):
  with pytest.raises(SystemExit, match='dual-minimum is none of dual-fallback'):
    certified_ratios.load(tmp_path, 'dual-minimum')
  for label in ('single-0.25', 'single-1'):
    runs[label].settings['weights'] = {'classifier': 'others'}
  with pytest.raises(SystemExit, match='no plain smoothing of all images'):
    certified_ratios.load(tmp_path, 'dual-fallback')
