"""Images of every kind: their colours, upright, or one sentence."""

import io

import numpy as np
import pytest
from PIL import Image

from dualrs_jax.data import decoding

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (9, 13), np.uint8)
COLOURS = RNG.integers(0, 256, (9, 13, 3), np.uint8)


def encoded(image, form='PNG', **options):
  content = io.BytesIO()
  image.save(content, form, **options)
  return content.getvalue()


def decoded(content, **options):
  return np.asarray(decoding.decode(content, 'a.png', **options))


def in_colours(grey):
  return np.repeat(grey[..., None], 3, axis=-1)


def opaque(mode):
  image = Image.fromarray(GREY if mode == 'LA' else COLOURS)
  return image.convert(mode)


DEEP = RNG.integers(0, 65536, (9, 13), np.uint16)
KINDS = {
  'grey': (Image.fromarray(GREY), in_colours(GREY)),
  'colours': (Image.fromarray(COLOURS), COLOURS),
  'bits': (Image.fromarray(GREY > 127), in_colours(255 * (GREY > 127))),
  '16 bits': (Image.fromarray(DEEP), in_colours(np.rint(DEEP / 257))),
  'opaque': (opaque('RGBA'), COLOURS),
  'opaque grey': (opaque('LA'), in_colours(GREY)),
  'palette': (
    Image.fromarray(GREY // 128 * 255).convert('P'),
    in_colours(GREY // 128 * 255),
  ),
}


@pytest.mark.parametrize('kind', KINDS)
def test_colours_are_those_of_the_file(kind):
  image, expected = KINDS[kind]
  pixels = decoded(encoded(image))
  assert pixels.dtype == np.uint8
  np.testing.assert_array_equal(pixels, expected)
  if kind not in ('colours', 'opaque'):
    grey = decoded(encoded(image), channels=1)
    np.testing.assert_array_equal(grey, expected[..., 0])


def test_grey_of_16_bits_in_other_formats_is_scaled_too():
  for form in ('PPM', 'TIFF'):
    pixels = decoded(encoded(Image.fromarray(DEEP), form), channels=1)
    np.testing.assert_array_equal(pixels, np.rint(DEEP / 257))


def test_grey_of_colours_is_their_luminance():
  grey = decoded(encoded(Image.fromarray(COLOURS)), channels=1)
  expected = COLOURS @ np.array([0.299, 0.587, 0.114])
  assert np.abs(grey - expected).max() <= 1


def test_four_inks_become_colours():
  smooth = np.linspace(0, 255, 64).astype(np.uint8)
  image = Image.fromarray(np.broadcast_to(smooth, (64, 64))).convert('RGB')
  pixels = decoded(encoded(image.convert('CMYK'), 'JPEG', quality=95))
  assert np.abs(pixels.astype(int) - np.asarray(image)).max() < 6


@pytest.mark.parametrize('form', ['PNG', 'JPEG', 'WEBP'])
@pytest.mark.parametrize('orientation', range(10))
def test_what_a_camera_held_askew_is_shown_upright(form, orientation):
  x, y = np.meshgrid(np.arange(40), np.arange(24))
  pixels = np.stack([6 * x, 9 * y, 0 * x], -1).astype(np.uint8)
  stored = {  # as the standard describes row and column 0
    2: pixels[:, ::-1],
    3: pixels[::-1, ::-1],
    4: pixels[::-1],
    5: pixels.swapaxes(0, 1),
    6: pixels.swapaxes(0, 1)[::-1],
    7: pixels.swapaxes(0, 1)[::-1, ::-1],
    8: pixels.swapaxes(0, 1)[:, ::-1],
  }.get(orientation, pixels)
  exif = Image.Exif()
  exif[0x0112] = orientation
  quality = {} if form == 'PNG' else {'quality': 95}
  content = encoded(Image.fromarray(stored), form, exif=exif, **quality)
  shown = decoded(content)
  assert shown.shape == pixels.shape
  assert np.abs(shown.astype(int) - pixels).max() < 20
  as_stored = decoded(content, upright=False)
  assert as_stored.shape == stored.shape
  assert np.abs(as_stored.astype(int) - stored).max() < 20


def test_nonsense_in_exif_is_left_out():
  image = Image.fromarray(COLOURS)
  content = encoded(image, 'PNG', exif=b'Exif\0\0II*\0\x08\0\0')
  np.testing.assert_array_equal(decoded(content), COLOURS)


def see_through(mode):
  image = opaque(mode)
  alpha = np.full(GREY.shape, 255, np.uint8)
  alpha[3, 4] = 254
  image.putalpha(Image.fromarray(alpha))
  return image


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (encoded(see_through('RGBA')), 'transparent pixels, whose colour'),
    (encoded(see_through('LA')), 'transparent pixels, whose colour'),
    (
      encoded(Image.fromarray(GREY).convert('P'), transparency=int(GREY[0, 0])),
      'transparent pixels, whose colour',
    ),
    (
      encoded(
        Image.fromarray(COLOURS), transparency=tuple(map(int, COLOURS[0, 0]))
      ),
      'transparent pixels, whose colour',
    ),
    (
      encoded(Image.fromarray(GREY.astype(np.float32)), 'TIFF'),
      'values whose range is unknown',
    ),
    (
      encoded(Image.fromarray(GREY.astype(np.int32)), 'TIFF'),
      'values whose range is unknown',
    ),
  ],
)
def test_what_has_no_colour_is_refused(content, message):
  with pytest.raises(ValueError, match=f'^a.png has {message}.*: save it in'):
    decoded(content)


@pytest.mark.parametrize('form', ['PNG', 'JPEG', 'WEBP', 'GIF', 'BMP', 'TIFF'])
def test_damage_is_one_sentence(form):
  content = encoded(Image.fromarray(COLOURS), form)
  rng = np.random.default_rng(3)
  refusals = []
  for number in range(60):
    place = int(rng.integers(len(content)))
    damaged = bytearray(content if number % 3 else content[:place])
    if number % 3:
      damaged[place] ^= 1 << int(rng.integers(8))
    try:
      decoded(bytes(damaged))
    except ValueError as error:
      refusals.append(str(error))
  assert len(refusals) > 5
  assert all(text.startswith('a.png ') for text in refusals)
  assert not any('\n' in text for text in refusals)


@pytest.mark.parametrize('content', [b'', b'<html>', b'\xff\xd8\xff'])
def test_what_is_no_image_is_told(content):
  with pytest.raises(ValueError, match='^a.png is no image of a known kind$'):
    decoded(content)
