"""The digits: real, in disjoint splits, drawn where and as large as stated."""

import numpy as np
import pytest
from sklearn import datasets

from dualrs_jax import data
from dualrs_jax.data import digits

SPLITS = ('train', 'validation', 'test')


@pytest.fixture(scope='module')
def sources() -> dict[str, data.Source]:
  return {split: data.load('digits', split, renderings=2) for split in SPLITS}


def test_splits_are_disjoint_and_cover_all_digits(sources):
  members = [np.unique(sources[split].facts['digit']) for split in SPLITS]
  assert [len(m) for m in members] == [1097, 200, 500]
  assert np.array_equal(np.sort(np.concatenate(members)), np.arange(1797))
  assert [len(sources[split]) for split in SPLITS] == [2 * 1097, 200, 500]


@pytest.mark.parametrize('split', SPLITS)
def test_arrays_are_as_promised(sources, split):
  source = sources[split]
  assert source.images.shape == (len(source), 32, 32, 1)
  assert source.image_shape == (32, 32, 1)
  assert source.images.dtype == np.uint8
  assert source.labels.dtype == np.int32
  assert source.num_classes == 10
  assert np.array_equal(source.indices, np.arange(len(source)))
  target = datasets.load_digits().target
  assert np.array_equal(source.labels, target[source.facts['digit']])


def test_gather_picks_by_position(sources):
  source = sources['validation']
  images, labels = source.gather(np.array([7, 3, 7]))
  assert np.array_equal(images, source.images[[7, 3, 7]])
  assert np.array_equal(labels, source.labels[[7, 3, 7]])


def test_same_arguments_give_same_images_and_other_seeds_others(sources):
  again = data.load('digits', 'test')
  assert np.array_equal(again.images, sources['test'].images)
  other = data.load('digits', 'test', seed=1)
  assert not np.array_equal(
    other.facts['digit'], sources['test'].facts['digit']
  )
  assert not np.array_equal(
    other.facts['scale'], sources['test'].facts['scale']
  )


def test_more_renderings_only_add_images(sources):
  more = data.load('digits', 'train', renderings=3)
  fewer = sources['train']
  assert np.array_equal(more.images[: len(fewer)], fewer.images)
  first, second, third = np.split(more.facts['scale'], 3)
  assert np.unique(more.facts['digit'][:1097]).size == 1097
  assert not np.any(first == second)
  assert not np.any(second == third)


def test_scales_are_log_uniform():
  scale = data.load('digits', 'train', renderings=4).facts['scale']
  assert 8 <= scale.min() < 8.01
  assert 31.9 < scale.max() <= 32
  share = np.log(scale / 8) / np.log(4)
  # 4,388 draws; Kolmogorov's statistic exceeds this by chance in 1e-6.
  ranks = np.arange(1, len(share) + 1) / len(share)
  assert np.abs(np.sort(share) - ranks).max() < 2.7 / np.sqrt(len(share))


def test_a_digit_at_its_own_size_is_drawn_exactly():
  pixels = datasets.load_digits().images[:5]
  image = digits.render(
    pixels, np.full(5, 8.0), np.tile([3.0, 20.0], (5, 1)), canvas=32
  )
  assert np.array_equal(image[:, 3:11, 20:28], np.rint(pixels * 255 / 16))
  outside = image.copy()
  outside[:, 3:11, 20:28] = 0
  assert not outside.any()
  assert image.max() == 255


def test_interpolation_is_bilinear():
  ramp = np.broadcast_to(np.arange(8.0), (1, 8, 8))
  image = digits.render(ramp, np.array([32.0]), np.zeros((1, 2)), canvas=32)
  middle = image[0, 16, 2:30].astype(float)
  exact = ((np.arange(2, 30) + 0.5) / 4 - 0.5) * 255 / 16
  assert np.abs(middle - exact).max() <= 0.5


@pytest.mark.parametrize(
  ('scale', 'top', 'left'),
  [(10.0, 4.0, 9.5), (16.0, 12.5, 2.25), (20.5, 7.0, 8.0)],
)
def test_scale_and_place_of_what_is_drawn(scale, top, left):
  block = np.full((1, 8, 8), 16.0)
  image = digits.render(
    block, np.array([scale]), np.array([[top, left]]), canvas=32
  )[0].astype(float)
  at = np.arange(32) + 0.5
  for axis, edge in ((1, top), (0, left)):
    profile = image.sum(axis=axis)
    centre = (profile * at).sum() / profile.sum()
    assert centre == pytest.approx(edge + scale / 2, abs=0.15)
    # Half a digit's pixel fades on each side: the sum is that of the block.
    assert (profile / 255).max() == pytest.approx(scale, abs=0.15)


def test_small_digits_lie_anywhere_on_the_canvas(sources):
  source = sources['train']
  small = source.images[source.facts['scale'] < 12, :, :, 0].astype(float)
  at = np.arange(32) + 0.5
  ink = small.sum(axis=(1, 2))
  rows = (small.sum(axis=2) * at).sum(axis=1) / ink
  columns = (small.sum(axis=1) * at).sum(axis=1) / ink
  for centres in (rows, columns):
    # Uniform on about 4.8 to 27.2: four standard errors of some 600 draws.
    assert np.mean(centres) == pytest.approx(16, abs=1.1)
    assert np.std(centres) == pytest.approx(22.4 / np.sqrt(12), abs=0.6)
  assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.17


def test_facts_describe_each_image(sources):
  source = sources['test']
  pixels = datasets.load_digits().images[source.facts['digit']]
  ink = source.images.sum(axis=(1, 2, 3)) / 255
  expected = pixels.sum(axis=(1, 2)) / 16 * (source.facts['scale'] / 8) ** 2
  # Beside rounding only the canvas' edge takes ink away.
  assert np.all(ink < expected * 1.03)
  assert np.median(ink / expected) == pytest.approx(1, abs=0.01)


def test_large_digits_have_large_norms(sources):
  source = sources['test']
  norms = np.linalg.norm(data.to_unit(source.images), axis=(1, 2))[:, 0]
  assert np.corrcoef(norms, source.facts['scale'])[0, 1] > 0.95


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'name': 'digit', 'split': 'test'}, "did you mean 'digits'"),
    ({'name': 'digits', 'split': 'dev'}, 'split must be one of'),
    ({'name': 'digits', 'split': 'train', 'renderings': 0}, 'at least 1'),
    ({'name': 'digits', 'split': 'test', 'scales': (9, 8)}, 'increasing'),
    ({'name': 'digits', 'split': 'test', 'scales': (8, 33)}, 'at most 32'),
  ],
)
def test_bad_arguments_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    data.load(**arguments)


def test_to_unit_maps_255_to_1():
  unit = data.to_unit(np.array([0, 51, 255], np.uint8))
  assert unit.dtype == np.float32
  np.testing.assert_allclose(unit, [0, 0.2, 1], rtol=1e-6)
  assert unit[2] == 1
  with pytest.raises(ValueError, match='must be uint8'):
    data.to_unit(np.zeros(3, np.float32))
