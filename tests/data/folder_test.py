"""Folders of images: what is read, what is refused, and what never changes."""

import logging
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from dualrs_jax import data
from dualrs_jax.data import encoded_images, folder_survey, hashing, splits
from tests.data import pictures

COUNTS = {'ant': 30, 'bee': 20, 'cat': 10}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  splits.tell_once.cache_clear()


@pytest.fixture
def root(tmp_path):
  return pictures.write_folder(tmp_path / 'pictures', COUNTS)


def load(root, split='test', **options):
  return data.load('folder', split, data_dir=str(root), **options)


def by_name(source):
  return {
    name.decode(): (index, label, image.tobytes())
    for name, index, label, image in zip(
      source.facts['file'],
      source.indices.tolist(),
      source.labels.tolist(),
      source.gather(np.arange(len(source)))[0],
      strict=True,
    )
  }


def test_each_file_is_in_one_split_with_its_class_and_pixels(root, caplog):
  with caplog.at_level(logging.INFO):
    sources = {split: load(root, split) for split in splits.SPLITS}
  found = {}
  for split, source in sources.items():
    assert source.class_names == ('ant', 'bee', 'cat')
    assert source.image_shape == (9, 7, 3)
    assert source.in_memory
    assert (np.diff(source.indices) > 0).all()
    rows = by_name(source)
    assert not rows.keys() & found.keys()
    found |= rows
    assert bool(source.provenance) == (split != 'train')
  assert len(found) == 60
  for name, (_, label, content) in found.items():
    kind, number = name.removesuffix('.png').split('/')
    assert [*COUNTS].index(kind) == label
    assert content == pictures.pixels(label, int(number)).tobytes()
  assert len(sources['train']) > len(sources['test']) > 0
  assert f"{root} has no split 'test': it is" in caplog.text


def test_folders_of_splits_are_the_splits(tmp_path, caplog):
  for split, count in (('train', 8), ('val', 3), ('Test', 2)):
    pictures.write_folder(tmp_path / 'p' / split, {'b': count, 'a': count})
  (tmp_path / 'p' / 'train' / 'a' / 'notes.txt').write_text('none')
  (tmp_path / 'p' / 'train' / 'a' / '.hidden.png').write_text('none')
  deeper = tmp_path / 'p' / 'Test' / 'a' / 'more'
  deeper.mkdir()
  os.replace(tmp_path / 'p' / 'Test' / 'a' / '0.png', deeper / '0.png')
  with caplog.at_level(logging.INFO):
    sizes = {s: len(load(tmp_path / 'p', s)) for s in splits.SPLITS}
  assert sizes == {'train': 16, 'validation': 6, 'test': 4}
  assert load(tmp_path / 'p').provenance == ''
  assert 'Test/a/more/0.png' in by_name(load(tmp_path / 'p'))
  assert 'not read, by the end of their names: .txt (1)' in caplog.text
  # 'b' has the images of 'a' in each split, and so do the splits.
  assert "images of the split 'test'" in caplog.text


def test_images_that_are_added_change_nothing_about_others(root):
  before = {split: by_name(load(root, split)) for split in splits.SPLITS}
  pictures.write_folder(root, {'ant': 30, 'bee': 20, 'cat': 14})
  (root / 'ant' / '7.png').unlink()
  after = {split: by_name(load(root, split)) for split in splits.SPLITS}
  for split, rows in before.items():
    rows.pop('ant/7.png', None)
    assert {name: after[split][name] for name in rows} == rows
  assert sum(map(len, after.values())) == 63


def test_numbers_of_one_hash_are_told_apart_and_told(monkeypatch, caplog):
  real = hashing._number
  monkeypatch.setattr(
    hashing,
    '_number',
    lambda purpose, name, size: (
      14 if purpose == 'index 0' else real(purpose, name, size)
    ),
  )
  first, second, third = hashing.indices(['b', 'a', 'c']).tolist()
  assert second == 7
  assert len({first, second, third}) == 3
  assert 'a and b have the same hash' in caplog.text


def test_names_are_those_of_any_file_system():
  # e with an accent, as one letter and as two.
  assert hashing.indices(['caf\u00e9']) == hashing.indices(['cafe\u0301'])
  assert hashing.places(['caf\u00e9']) == hashing.places(['cafe\u0301'])


def test_on_the_disk_they_are_the_same_images(root, monkeypatch):
  memory = load(root, 'train', size=8)
  monkeypatch.setattr(encoded_images, 'MOST_IN_MEMORY', 100)
  stored = load(root, 'train', size=8)
  assert not stored.in_memory
  assert by_name(stored) == by_name(memory)
  some = np.array([3, 1])
  first = stored.gather(some, stream=(0, 1))[0]
  assert np.array_equal(first, stored.gather(some, stream=(0, 1))[0])
  assert not np.array_equal(first, stored.gather(some, stream=(0, 2))[0])
  part = stored.take(some)
  assert np.array_equal(part.gather(np.array([1]), stream=(0, 1))[0], first[1:])
  assert part.fingerprint() != stored.fingerprint()
  name = stored.facts['file'][3].decode()
  Image.fromarray(pictures.pixels(4, 99)).save(root / name)
  with pytest.raises(ValueError, match=f'{root / name} is not what it was'):
    stored.gather(some)


def test_a_folder_is_looked_through_once(root, monkeypatch):
  first = load(root)
  looked = []
  real = folder_survey._found
  monkeypatch.setattr(
    folder_survey, '_found', lambda listing: looked.append(1) or real(listing)
  )
  assert by_name(load(root)) == by_name(first)
  assert not looked
  (root / 'ant' / '3.png').touch()
  load(root)
  assert looked
  table = next((root.parent / 'cache' / 'dualrs_jax').glob('*.npz'))
  table.write_bytes(b'PK')
  load(root)
  assert len(looked) == 2
  assert [path.name for path in table.parent.iterdir()] == [table.name]


def flat(mode='RGB', colour=None, size=(6, 6)):
  return Image.new(mode, size, colour)


KINDS = {
  'grey.png': (flat('L', 77), {}),
  'deep.png': (Image.fromarray(np.full((6, 6), 77 * 257, np.uint16)), {}),
  'palette.png': (flat('RGB', (77, 77, 77)).quantize(2), {}),
  'ink.jpg': (flat('L', 77).convert('CMYK'), {'quality': 95}),
  'opaque.webp': (flat('RGBA', (77, 77, 77, 255)), {'lossless': True}),
  'LOUD.BMP': (flat('RGB', (77, 77, 77)), {}),
}


def test_colours_of_every_kind(tmp_path):
  for label in ('a', 'b'):
    (tmp_path / 'p' / label).mkdir(parents=True)
    for name, (image, options) in KINDS.items():
      image.save(tmp_path / 'p' / label / name, **options)
  (tmp_path / 'q').mkdir()
  os.rename(tmp_path / 'p', tmp_path / 'q' / 'test')
  source = load(tmp_path / 'q')
  assert len(source) == 2 * len(KINDS)
  assert source.image_shape == (6, 6, 3)
  assert np.abs(source.images.astype(int) - 77).max() <= 1
  assert load(tmp_path / 'q', channels=1).image_shape == (6, 6, 1)
  for path in (tmp_path / 'q').rglob('*.*'):
    if path.name not in ('grey.png', 'deep.png'):
      path.unlink()
  assert load(tmp_path / 'q').image_shape == (6, 6, 1)


def test_an_orientation_is_carried_out(tmp_path):
  for label in ('a', 'b'):
    folder = tmp_path / 'p' / 'test' / label
    folder.mkdir(parents=True)
    image = Image.fromarray(pictures.pixels(0, 0, 4, 6))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / '0.png', exif=exif)
  source = load(tmp_path / 'p')
  assert source.image_shape == (6, 4, 3)
  upright = np.rot90(pictures.pixels(0, 0, 4, 6), -1)
  assert np.array_equal(source.images[0], upright)


@pytest.mark.parametrize(
  ('options', 'shape'),
  [
    ({'size': 8}, (8, 8, 3)),
    ({'size': (5, 12)}, (5, 12, 3)),
    ({'resize': 10, 'crop': 8}, (8, 8, 3)),
    ({'resize': 10}, (10, 10, 3)),
    ({'crop': 6}, (6, 6, 3)),
  ],
)
def test_sizes_are_brought_to_one(root, options, shape):
  pictures.write_folder(root, {'ant': 5}, height=30, width=11)
  source = load(root, 'train', **options)
  assert source.image_shape == shape
  if options == {'crop': 6}:
    _, label, content = by_name(source)['bee/1.png']
    middle = pictures.pixels(label, 1)[2:8, 0:6]
    assert content == middle.tobytes()


def broken(root):
  (root / 'ant' / '1.png').write_bytes(b'')
  (root / 'bee' / '2.png').write_text('<html>')
  content = (root / 'cat' / '3.png').read_bytes()
  (root / 'cat' / '3.png').write_bytes(content[: len(content) // 2])
  flat('RGBA', (1, 2, 3, 4)).save(root / 'cat' / '4.png')
  (root / 'cat' / '5.png').unlink()
  (root / 'cat' / '5.png').mkdir()


def loose(root):
  shutil.copy(root / 'ant' / '0.png', root / 'x.png')


def beside_splits(root):
  pictures.write_folder(root / 'test', {'ant': 2})


def two_of_one(root):
  for name in ('val', 'valid'):
    pictures.write_folder(root / name, {'ant': 2})


def one_class(root):
  shutil.rmtree(root / 'ant')
  shutil.rmtree(root / 'bee')


def other_sizes(root):
  pictures.write_folder(root, {'ant': 2}, height=40, width=30)


def without_training(root):
  for name in COUNTS:
    (root / 'val').mkdir(exist_ok=True)
    os.rename(root / name, root / 'val' / name)


WRONG = [
  (shutil.rmtree, {}, 'there is no folder .*pictures: data.data_dir names'),
  (lambda _: 0, {'data_dir': ''}, "'folder' is in the folder that data.data_d"),
  (lambda _: 0, {'data_dir': '~nobody7/x'}, "no home directory of the user 'n"),
  (one_class, {}, 'no folders of two classes or more, but cat alone'),
  (lambda r: (r / 'dog').mkdir(), {}, "the class 'dog' in .* has no images"),
  (loose, {}, r'has images without a class \(x.png and 0 more\): put each'),
  (beside_splits, {}, r'of splits \(test\) beside others \(ant, bee, cat\)'),
  (two_of_one, {}, 'has two folders of one split, val'),
  (without_training, {}, "no folder 'test', nor one named train"),
  (other_sizes, {}, r'several sizes, from 9 x 7 \(.*\) to 40 x 30 \(.*ant/'),
  (other_sizes, {'crop': 8}, 'has 9 x 7 pixels, which data.crop = 8 does not'),
  (lambda _: 0, {'size': (1, 2, 3)}, 'data.size must be height and width in'),
  (lambda _: 0, {'size': (0, 9)}, r'data.size must be .*, not \(0, 9\)'),
  (lambda _: 0, {'size': 8, 'crop': 4}, 'says all of it: leave out data.res'),
  (lambda _: 0, {'resize': 8, 'crop': 9}, 'data.crop must be from 1 to'),
  (lambda _: 0, {'channels': 4}, 'data.channels must be 1 for grey, 3 for'),
  (lambda _: 0, {'test_share': 0.0}, 'a larger share'),
  (lambda _: 0, {'test_share': -0.1}, 'data.test_share must be at least 0'),
  (lambda _: 0, {'test_share': 0.95}, 'must leave something to train on'),
  (lambda _: 0, {'test_shard': 1}, "no option 'test_shard'.* 'test_share'"),
  (lambda _: 0, {'split': 'tset'}, "split must be one of .*, not 'tset'"),
]


@pytest.mark.parametrize(('damage', 'options', 'message'), WRONG)
def test_what_is_wrong_is_told_in_a_sentence(root, damage, options, message):
  damage(root)
  arguments = {'split': 'test', 'data_dir': str(root)} | options
  with pytest.raises((ValueError, OSError), match=message) as raised:
    data.load('folder', **arguments)
  assert '\n' not in str(raised.value)
  assert not [*root.parent.rglob('.*')]  # nothing half-written


def test_all_that_is_broken_is_told_at_once(root):
  broken(root)
  with pytest.raises(ValueError, match='^4 of 59 images cannot be') as raised:
    load(root)
  for name in ('ant/1', 'bee/2', 'cat/3', 'cat/4'):
    assert f'{root / name}.png' in str(raised.value)
  assert '\n' not in str(raised.value)
  assert not (root.parent / 'cache').exists()
