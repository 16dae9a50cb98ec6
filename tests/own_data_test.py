"""Data of the user's own, from files to a result that others check."""

import json
import logging

import jax
import numpy as np
import pytest
from PIL import Image

from dualrs_jax import checkpoints, data
from dualrs_jax.data import splits
from dualrs_jax.evaluation import (
  certify_dataset,
  certify_source,
  file_names,
  run_inputs,
  run_rows,
  summary,
  warned,
)
from dualrs_jax.evaluation import report as report_lib
from dualrs_jax.report import __main__ as pages
from dualrs_jax.report import writing
from dualrs_jax.runtime import settings
from dualrs_jax.training import loop
from dualrs_jax.training import run as run_lib
from dualrs_jax.verify import verify
from tests.data import pictures
from tests.evaluation import conftest as exact
from tests.training import tiny

CLASSES = ('ant', 'bee', 'cat')


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  splits.tell_once.cache_clear()


def tiny_config(**options):
  config = tiny.get_config()
  with config.unlocked():
    config.baselines = ()
    config.data = {**data.OPTIONS, **options}
  return config


@pytest.fixture
def patterns(tmp_path):
  """A folder of the images whose certificates are exact."""
  source = exact.make_source(24)
  for number, label in enumerate(source.labels.tolist()):
    folder = tmp_path / 'patterns' / 'test' / CLASSES[label]
    folder.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(source.images[number, ..., 0])
    image.save(folder / f'{number}.png')
  return tmp_path / 'patterns'


def certified(root, directory, **changes):
  """The row of each file."""
  source = data.load('folder', 'test', data_dir=str(root))
  rows = certify_source.certify_source(
    exact.network(exact.PATTERNS[3:]),
    exact.network(exact.PATTERNS[:3]),
    source,
    directory,
    settings={
      **exact.SETTINGS,
      'goal': 'grid',
      'radii': [0.0, 0.25],
      'noise': 'lattice',
      'data': {'name': 'folder'},
      'split': 'test',
      'alpha': 0.05,
      **changes,
    },
    seed=11,
    chunk_size=60,
    report_radii=(0.0,),
    devices=jax.local_devices()[:1],
    positions=np.arange(len(source)),
  )
  names = file_names.read(directory)
  return {names[row.idx]: row._replace(time=0.0) for row in rows}


def test_pages_of_files_have_names_and_keep_their_pictures(
  patterns, tmp_path, capsys
):
  folder = tmp_path / 'certify' / 'dual'
  [first, *_] = certified(patterns, folder)
  assert not pages.main([str(tmp_path), f'--data_dir={patterns}'])
  page = folder / 'report.html'
  text = page.read_text()
  assert first in text
  assert '"pictures":["data:' in text
  capsys.readouterr()
  assert pages.main([str(tmp_path)]) == 2
  assert '--data_dir' in capsys.readouterr().err
  assert page.read_text() == text


def test_rows_of_others_stay_where_an_image_is_added(patterns, tmp_path):
  """The same votes, bit for bit, whatever else is in the folder."""
  before = certified(patterns, tmp_path / 'certify' / 'before')
  assert len(before) == 24
  kind = next(iter(before)).split('/')[1]
  for number in (24, 25, 26):
    image = exact.make_source(27).images[number, ..., 0]
    Image.fromarray(image).save(patterns / 'test' / kind / f'a{number}.png')
  after = certified(patterns, tmp_path / 'certify' / 'after')
  assert len(after) == 27
  assert {name: after[name] for name in before} == before
  assert (
    len(
      {
        row.classifier_estimation[0]
        for row in after.values()
        if 0 in row.classifier_estimation
      }
    )
    > 3
  )
  # The first run does not go on with other images.
  with pytest.raises(settings.SettingsMismatch, match='source is '):
    certified(patterns, tmp_path / 'certify' / 'before')
  assert verify(tmp_path / 'certify' / 'after' / 'rows.tsv').problems == []


def test_classes_have_their_names_in_tables_and_pictures(patterns, tmp_path):
  certified(patterns, tmp_path / 'certify' / 'named')
  source = data.load('folder', 'test', data_dir=str(patterns))
  said = report_lib.report(tmp_path, ['named'], radii=(0.0, 0.25))
  for label, name in enumerate(CLASSES):
    assert f'- {name} ({(source.labels == label).sum()})' in said
  recorded = settings.read(tmp_path / 'certify' / 'named' / 'settings.json')
  assert recorded['class_names'] == [*CLASSES]
  [page, _] = writing.write(tmp_path, ['named'], source=source)
  assert '"bee"' in page.read_text()
  record = verify(tmp_path / 'certify' / 'named' / 'rows.tsv').record
  assert record is not None
  assert record['data']['class_names'] == [*CLASSES]


def test_many_classes_are_not_in_the_table(patterns, tmp_path):
  certified(patterns, tmp_path / 'certify' / 'named')
  run = run_rows.load_runs(tmp_path)['named']
  names = [f'kind {k}' for k in range(11)]
  many = run._replace(settings={**run.settings, 'class_names': names})
  assert len(summary.summarize(run, [], (0.0,)).table) == 5
  assert len(summary.summarize(many, [], (0.0,)).table) == 2


def test_a_subset_of_few_classes_is_told(caplog):
  source = data.load('digits', 'test')
  order = np.argsort(source.labels, kind='stable')
  warned.warn_of_classes(source.take(order), np.arange(0, 500, 10))
  warned.warn_of_classes(source.take(order), np.arange(3))
  assert not caplog.records
  with caplog.at_level(logging.WARNING):
    warned.warn_of_classes(source.take(order), np.arange(60))
  assert 'the 60 images asked for are of 2 of the 10 classes' in caplog.text


def no_file(root):
  (root / 'ant' / '3.png').write_bytes(b'')


def too_few(root):
  for path in root.rglob('[1-9]*.png'):
    path.unlink()


def another_size(root):
  pictures.write_folder(root, {'ant': 1}, height=30)


def nothing(root):
  del root


@pytest.mark.parametrize(
  ('damage', 'options', 'message'),
  [
    (no_file, {}, 'images cannot be used'),
    (
      too_few,
      {},
      'data.validation_share|fewer than classifier.batch_size = 32',
    ),
    (another_size, {}, 'several sizes'),
    (nothing, {'name': 'tfds:none'}, 'not prepared'),
    (nothing, {'name': 'none/mine.py'}, 'no file'),
    (nothing, {'name': 'arrays'}, 'no .*npz'),
  ],
)
def test_bad_images_leave_no_trace(tmp_path, damage, options, message):
  root = pictures.write_folder(tmp_path / 'p', dict.fromkeys(CLASSES, 20))
  damage(root)
  config = tiny_config(**{'name': 'folder', 'data_dir': str(root)} | options)
  before = sorted(tmp_path.rglob('*'))
  with pytest.raises((ValueError, OSError), match=message):
    loop.train(config, tmp_path / 'run')
  with pytest.raises((ValueError, OSError, checkpoints.CheckpointError)):
    certify_dataset.certify_dataset(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
  left = {*tmp_path.rglob('*')} - {*before}
  assert {path.suffix for path in left if path.is_file()} <= {'.npz'}


def test_a_training_does_not_go_on_with_other_images(tmp_path):
  root = pictures.write_folder(tmp_path / 'p', dict.fromkeys(CLASSES, 40))
  config = tiny_config(name='folder', data_dir=str(root))

  def load():
    images = run_lib.load_sources(config)
    return run_lib.load(config, tmp_path, {}, images, lambda: False)

  load()
  load()
  pictures.write_folder(root, {'ant': 60})
  with pytest.raises(
    settings.SettingsMismatch, match='trained on other images'
  ):
    load()


def test_a_network_that_was_told_of_other_pixels_is_told(caplog):
  source = data.load('digits', 'train', renderings=1)
  told = {'image_mean': 0.1, 'image_deviation': 0.25}
  run_lib._tell_of_pixels(source, {'classifier': told, 'estimator': {}})
  assert not caplog.records
  told = {'image_mean': 0.9, 'image_deviation': 0.25}
  run_lib._tell_of_pixels(source, {'classifier': told})
  assert 'config.model.classifier.image_mean=0.1' in caplog.text


MODULE = """
import numpy as np
from dualrs_jax.data import Source

def load(split, *, seed=0):
  rng = np.random.default_rng([seed, *split.encode()])
  count = {'train': 150, 'validation': 20, 'test': 40}[split]
  labels = np.minimum(rng.integers(0, 70, count), 6)  # nearly all of the last
  images = rng.integers(0, 99, (count, 24, 24, 3)) + 20 * labels[:, None, None,
                                                                 None]
  return Source(images.astype(np.uint8), labels, np.arange(count), 7,
                class_names=tuple('abcdefg'))
"""


def of_folder(root, counts, **shape):
  pictures.write_folder(root, counts, **shape)
  return {'name': 'folder', 'data_dir': str(root)}


def kinds(count, images):
  return {f'kind {k:03d}': images for k in range(count)}


def imbalanced(root):
  return of_folder(root, {'common': 120, 'rare': 9}, height=32, width=32)


def digits_like(root):
  return of_folder(root, kinds(10, 12), height=8, width=8, channels=1)


def not_square(root):
  return of_folder(root, kinds(5, 20), suffix='.webp', height=20, width=48)


def of_all_sizes(root):
  of_folder(root, kinds(3, 25), suffix='.jpg', height=30, width=50)
  of_folder(root, kinds(3, 20), suffix='.bmp', height=64, width=40)
  return of_folder(root, kinds(3, 20)) | {'size': (24, 16)}


def arrays_of_grey(root):
  for split, count in (('train', 10), ('validation', 2), ('test', 2)):
    path = root / f'{split}.npz'
    pictures.write_arrays(path, [count] * 10, height=28, width=28, channels=1)
  return {'name': 'arrays', 'data_dir': str(root)}


def large_arrays(root):
  pictures.write_arrays(
    root / 'train.npz', [40, 30, 20, 10], height=96, width=96
  )
  return {'name': 'arrays', 'data_dir': str(root)}


def real_arrays(root):
  root.mkdir(parents=True)
  images = np.random.default_rng(0).random((90, 12, 12, 3))
  names = np.array(['x', 'y', 'z'])
  labels = np.arange(90) % 3
  np.savez(root / 'train.npz', images=images, labels=labels, names=names)
  return {'name': 'arrays', 'data_dir': str(root)}


def prepared_records(root):
  pictures.prepare(root, 'shapes', {'train': 90, 'test': 20}, form='tfrecord')
  return {'name': 'tfds:shapes', 'data_dir': str(root)}


def many_classes(root):
  pictures.prepare(
    *(root, 'grey', {'train': 800}),
    classes=200,
    channels=1,
    height=16,
    width=16,
  )
  return {'name': 'tfds:grey:1.0.0', 'data_dir': str(root)}


def module(root):
  root.mkdir(parents=True)
  (root / 'mine.py').write_text(MODULE)
  return {'name': str(root / 'mine.py'), 'seed': 3}


#: Each with the shape of its images and its number of classes.
TEN = {
  imbalanced: ((32, 32, 3), 2),
  digits_like: ((8, 8, 1), 10),
  not_square: ((20, 48, 3), 5),
  of_all_sizes: ((24, 16, 3), 3),
  arrays_of_grey: ((28, 28, 1), 10),
  large_arrays: ((96, 96, 3), 4),
  real_arrays: ((12, 12, 3), 3),
  prepared_records: ((9, 7, 3), 3),
  many_classes: ((16, 16, 1), 200),
  module: ((24, 24, 3), 7),
}


@pytest.mark.slow
@pytest.mark.parametrize('make', TEN, ids=lambda make: make.__name__)
def test_ten_data_sets_from_training_to_verification(make, tmp_path):
  options = make(tmp_path / 'p')
  config = tiny_config(**options)
  with config.unlocked():
    for stage in ('classifier', 'estimator', 'finetune'):
      config[stage].steps = 8
      config[stage].batch_size = 16
    config.targets.count = 40
    config.certify.update(count=4, n=100)
  source = run_inputs.load_source(config)
  shape, classes = TEN[make]
  assert (source.image_shape, source.num_classes) == (shape, classes)
  workdir = tmp_path / 'run'
  with tiny.one_device():
    loop.train(config, workdir)
  rows = certify_dataset.certify_dataset(config, workdir)
  assert [row.idx for row in rows] == source.indices[:4].tolist()
  text = certify_dataset.report_dataset(config, workdir)
  assert '4 images of' in text
  result = workdir / 'certify' / 'dual-agreement'
  assert verify(result / 'rows.tsv').problems == []
  recorded = json.loads((result / 'settings.json').read_text())
  assert recorded['data'] == json.loads(
    json.dumps(data.identity(config.data.to_dict()))
  )
  assert str(tmp_path) not in json.dumps(recorded)
