"""What is drawn of the theory is true, and shown in the tone of the page."""

import importlib
import pathlib
import re
import sys
import types
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from docs.extensions import pictures

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGES = ROOT / 'docs' / 'images'
PICTURE = re.compile(r'^<picture>.*?^</picture>$', re.MULTILINE | re.DOTALL)
SHOWN = [
  (path, text)
  for path in sorted([ROOT / 'README.md', *ROOT.glob('docs/**/*.md')])
  for text in PICTURE.findall(path.read_text())
]


def script(monkeypatch, name: str):
  """A program that draws; those of the folder import each other."""
  monkeypatch.syspath_prepend(str(IMAGES))
  monkeypatch.delitem(sys.modules, name, raising=False)
  return importlib.import_module(name)


@pytest.fixture
def agreement(monkeypatch):
  return script(monkeypatch, 'agreement')


def around(radius: float) -> np.ndarray:
  turn = np.linspace(0, 2 * np.pi, 10_001)
  return radius * np.stack([np.cos(turn), np.sin(turn)], axis=-1)


def test_the_certified_ball_has_one_answer_and_is_the_largest(agreement):
  *_, radius = agreement.balls()
  for share in np.linspace(0, 0.9999, 200):
    assert agreement.composed(around(share * radius))[1].all()
  assert not agreement.composed(around(1.001 * radius))[1].all()


def test_the_balls_are_those_of_the_theorem(agreement):
  avoids, agrees, radius = agreement.balls()
  assert radius == pytest.approx(
    min(agrees[0], max(avoids[1], agrees[1]), max(avoids[2], agrees[2]))
  )
  assert avoids[1] < radius < min(avoids[2], agrees[0])  # as it is explained
  for k in (1, 2):  # within A_k the level is not k
    for share in np.linspace(0, 0.999, 100):
      assert (agreement.composed(around(share * avoids[k]))[0] != k).all()


@pytest.mark.parametrize('name', ['agreement', 'doors'])
def test_a_picture_is_what_its_program_draws(monkeypatch, tmp_path, name):
  program = script(monkeypatch, name)
  for path in program.save(program.draw, tmp_path / f'{name}.svg'):
    ET.parse(path)
    there = (IMAGES / path.name).stat().st_size
    assert path.stat().st_size == pytest.approx(there, rel=0.1)


def test_curves_are_those_of_their_tables(monkeypatch, tmp_path):
  program = script(monkeypatch, 'curves')
  for name, picture in program.PICTURES.items():

    def draw(tone, of=picture):
      return program.draw(tone, of)

    for path in program.save(draw, tmp_path / f'{name}.svg'):
      there = (IMAGES / path.name).stat().st_size
      assert path.stat().st_size == pytest.approx(there, rel=0.1)
    [axes] = draw(program.LIGHT).axes
    radii = program.read(picture.table)
    for curve, line in zip(picture.curves, axes.lines, strict=True):
      at, share = line.get_data()
      found = radii[curve.column]
      for place in (0, len(at) // 2, -1):
        expected = 100 * (found >= at[place]).mean()
        assert share[place] == pytest.approx(expected)


def test_dual_smoothing_is_drawn_from_a_row(monkeypatch):
  dual = script(monkeypatch, 'dual')
  settings = {'noise': 'gaussian', 'seed': 1, 'sigmas': [0.25, 0.5, 1.0]}
  row = types.SimpleNamespace(
    idx=7,
    predict=1,
    radius=0.8499,
    sigma_index=2,
    estimator_estimation=[5, 15, 980],
    classifier_estimation={2: [30, 970]},
  )
  source = types.SimpleNamespace(
    indices=np.array([3, 7]),
    gather=lambda at: (np.full((len(at), 8, 8, 1), 128, np.uint8),),
  )
  run = types.SimpleNamespace(settings=settings, rows=[row])
  figure = dual.draw(dual.LIGHT, run, source, 7)
  said = [text.get_text() for text in figure.texts]
  said += [text.get_text() for axes in figure.axes for text in axes.texts]
  for text in ('980 votes', '970 of 1,000', '0.84', 'in it the answer stays 1'):
    assert text in said


@pytest.mark.parametrize(('path', 'text'), SHOWN, ids=lambda at: str(at)[-20:])
def test_pictures_have_both_tones(path, text):
  light, dark = pictures.images(text)
  assert light['classes'] == ['picture', 'only-light']
  assert dark['classes'] == ['picture', 'only-dark']
  names = [image[0]['uri'] for image in (light, dark)]
  assert names[1] == names[0].replace('.svg', '-dark.svg')
  for name in names:
    assert ET.parse(path.parent / name).getroot().tag.endswith('svg')


def test_a_picture_without_a_dark_one_is_told():
  with pytest.raises(AttributeError):
    pictures.images('<picture>\n<img alt="a" src="b.svg">\n</picture>')
