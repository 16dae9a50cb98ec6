"""What is drawn of the theory is true, and shown in the tone of the page."""

import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree

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


@pytest.fixture
def agreement(monkeypatch):
  monkeypatch.syspath_prepend(str(IMAGES))
  yield __import__('agreement')
  for name in ('agreement', 'tones'):
    del sys.modules[name]


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


def test_the_picture_of_the_theory_is_what_is_drawn(agreement, tmp_path):
  for path in agreement.save(agreement.draw, tmp_path / 'agreement.svg'):
    ElementTree.parse(path)
    there = (IMAGES / path.name).stat().st_size
    assert path.stat().st_size == pytest.approx(there, rel=0.1)


@pytest.mark.parametrize(('path', 'text'), SHOWN, ids=lambda at: str(at)[-20:])
def test_pictures_have_both_tones(path, text):
  light, dark = pictures.images(text)
  assert light['classes'] == ['picture', 'only-light']
  assert dark['classes'] == ['picture', 'only-dark']
  names = [image[0]['uri'] for image in (light, dark)]
  assert names[1] == names[0].replace('.svg', '-dark.svg')
  for name in names:
    assert ElementTree.parse(path.parent / name).getroot().tag.endswith('svg')


def test_a_picture_without_a_dark_one_is_told():
  with pytest.raises(AttributeError):
    pictures.images('<picture>\n<img alt="a" src="b.svg">\n</picture>')
