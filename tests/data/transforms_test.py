"""Views of an image: which part of it is seen, and at what size."""

import numpy as np
import pytest
from PIL import Image

from dualrs_jax.data import transforms


def coordinates(width, height):
  """An image whose red is the column and whose green is the row, from 0."""
  rows, columns = np.mgrid[:height, :width]
  return Image.fromarray(
    np.stack([columns, rows, 0 * rows], -1).astype(np.uint8)
  )


@pytest.mark.parametrize(
  ('width', 'height', 'left', 'top'),
  [
    (40, 40, 8, 8),
    (60, 40, 18, 8),
    (40, 61, 8, 18),  # 18.5 goes to 18
    (43, 40, 10, 8),  # and 9.5 to 10
  ],
)
def test_the_middle_is_cut_out(width, height, left, top):
  view = transforms.central_view(coordinates(width, height), resize=40, crop=24)
  assert view[0, 0].tolist() == [left, top, 0]
  assert view[-1, -1].tolist() == [left + 23, top + 23, 0]


@pytest.mark.parametrize('size', [(120, 80), (80, 121), (20, 30)])
def test_the_shorter_side_is_resized(size):
  width, height = size
  view = transforms.central_view(coordinates(*size), resize=40, crop=40)
  step = min(size) / 40
  columns, rows = view[20, :, 0].astype(float), view[:, 20, 1].astype(float)
  assert np.diff(columns[2:-2]).mean() == pytest.approx(step, rel=0.05)
  assert np.diff(rows[2:-2]).mean() == pytest.approx(step, rel=0.05)
  assert columns.mean() == pytest.approx((width - 1) / 2, abs=step)
  assert rows.mean() == pytest.approx((height - 1) / 2, abs=step)


def test_what_is_smaller_is_averaged_and_not_picked():
  """Without antialiasing a fine pattern would survive as a coarse one."""
  stripes = np.zeros((160, 160, 3), np.uint8)
  stripes[:, ::2] = 200
  view = transforms.central_view(Image.fromarray(stripes), resize=40, crop=40)
  assert np.ptp(view[:, 2:-2]) <= 2
  assert view.mean() == pytest.approx(100, abs=1)


def boxes(width, height, count=2_000):
  return np.array(
    [
      transforms._random_box(width, height, np.random.default_rng([0, draw]))
      for draw in range(count)
    ]
  )


def test_rectangles_have_the_stated_areas_and_ratios():
  width, height = 400, 400
  left, top, right, bottom = boxes(width, height).T
  assert left.min() == top.min() == 0
  assert (right.max(), bottom.max()) == (width, height)
  across, down = right - left, bottom - top
  ratio = across / down
  assert 0.74 < ratio.min() < 0.76
  assert 1.32 < ratio.max() < 1.34
  area = across * down / (width * height)
  assert 0.078 < area.min() < 0.1
  assert area.max() > 0.9
  # Drawn uniformly, where the rectangle of that area and ratio fits.
  areas = np.linspace(*transforms.AREAS, 10_001)
  fits = np.minimum(1, -np.log(areas) / np.log(4 / 3))
  expected = (areas * fits).sum() / fits.sum()
  # Within five standard errors.
  assert area.mean() == pytest.approx(expected, abs=0.027)
  assert np.log(ratio).mean() == pytest.approx(0, abs=0.018)


@pytest.mark.parametrize(
  ('size', 'box'),
  [((300, 12), (142, 0, 158, 12)), ((12, 300), (0, 142, 12, 158))],
)
def test_a_strip_is_seen_in_its_middle(size, box):
  assert box in set(map(tuple, boxes(*size, count=50).tolist()))
  assert np.all(boxes(*size, count=50) >= 0)


def test_a_random_view_is_of_its_generator():
  image = coordinates(90, 70)
  views = [
    transforms.random_view(image, np.random.default_rng(seed), crop=16)
    for seed in (0, 0, *range(1, 60))
  ]
  assert np.array_equal(views[0], views[1])
  assert len({view.tobytes() for view in views}) == 60
  mirrored = [view[8, 0, 0] > view[8, -1, 0] for view in views[1:]]
  assert 18 <= sum(mirrored) <= 42  # 60 tosses of a coin: 1 in 500 is outside
  assert all(view[0, 8, 1] < view[-1, 8, 1] for view in views)
