"""Runs at levels that follow the distance to the training images."""

import json
import math

import jax
import numpy as np
import pytest

from configs import cifar10, digits
from dualrs_jax import distance_levels, noise
from dualrs_jax.evaluation import (
  certify_dataset,
  certify_source,
  distances,
  merge_dataset,
  methods,
  refused,
  run_inputs,
  run_settings,
  tsv,
)
from dualrs_jax.report import guarantee
from dualrs_jax.runtime import settings as settings_lib
from dualrs_jax.runtime import shards
from dualrs_jax.runtime.processes import Place
from tests.evaluation import conftest

LEVEL = {'base': 0.3, 'rate': 0.4, 'centre': 0.5, 'neighbours': 3}
DISTANCE = {
  'smoothing': 'distance',
  'certificate': None,
  'sigmas': [0.3],
  'estimator_sigma': None,
  'distance': LEVEL,
}


@pytest.fixture(scope='module')
def training():
  return conftest.make_source(20)


def certify(classifier, source, training, directory, settings, positions=None):
  return certify_source.certify_source(
    None,
    classifier,
    source,
    directory,
    settings=settings,
    seed=1,
    chunk_size=40,
    positions=np.arange(12) if positions is None else positions,
    report_radii=(0.0,),
    training=training,
  )


def configured(changes):
  config = digits.get_config()
  options = {'smoothing': 'distance', 'protocol': 'fixed', **changes}
  with config.unlocked():
    config.certify.distance.update(options.pop('distance', {}))
    config.certify.update(options)
  return config


def timeless(rows):
  return [row._replace(time=0.0) for row in rows]


def test_rows(classifier, source, training, settings, tmp_path, monkeypatch):
  """As the functional interface has them; those that are there are kept."""
  settings |= DISTANCE
  monkeypatch.setattr(distances, '_PIXELS', 7 * 16)  # chunks of 7, 7 and 6
  rows = certify(classifier, source, training, tmp_path, settings, np.arange(3))
  rows = certify(classifier, source, training, tmp_path, settings)
  recorded = settings_lib.read(tmp_path / 'settings.json')
  assert timeless(tsv.read(tmp_path / 'rows.tsv', recorded)) == timeless(rows)
  exact = np.linalg.norm(
    (source.images[:, None] / 255.0 - training.images / 255.0).reshape(
      12, 20, -1
    ),
    axis=2,
  )
  expected = np.sort(exact, axis=1)[:, :3].mean(axis=1)
  np.testing.assert_allclose([row.distance for row in rows], expected, 1e-5)
  np.testing.assert_allclose(
    [row.sigma for row in rows], 0.3 * np.exp(0.4 * (expected - 0.5)), 1e-5
  )
  assert any(row.radius > 0 for row in rows)
  for row in rows:
    votes = [
      np.array(split[0])
      for split in (row.classifier_selection, row.classifier_estimation)
    ]
    again = distance_levels.certificate_of_counts(
      distance_levels.Counts(*votes),
      row.distance,
      distances.level(settings),
      n=100,
      alpha=0.01,
      pixels=16,
    )
    assert (row.predict, row.radius) == (again.prediction, again.radius)
    assert row.classifier_cast == {0: (20, 100)}
  assert 'estimator' not in tsv.file_header(recorded)
  direct = distance_levels.certify_distance_level(
    classifier,
    source.images[7] / np.float32(255),
    training.images / np.float32(255),
    distances.level(settings),
    noise.image_key(jax.random.key(1), 107),
    n0=20,
    n=100,
    alpha=0.01,
    chunk_size=40,
  )
  assert rows[7].classifier_estimation[0] == tuple(direct.counts.estimation)
  assert rows[7].radius == direct.radius


def test_another_level_is_no_row(
  classifier, source, training, settings, tmp_path
):
  """Nor is one of other training images, of another rate or distance."""
  settings |= DISTANCE
  certify(classifier, source, training, tmp_path, settings, np.arange(2))
  recorded = settings_lib.read(tmp_path / 'settings.json')
  parse = tsv.parser(recorded)
  line = (tmp_path / 'rows.tsv').read_text().splitlines()[1]
  distance = parse(line).distance
  with pytest.raises(shards.CorruptShard, match='radius is'):
    parse(line.replace(f'\t{distance!r}\t', f'\t{1.1 * distance!r}\t'))
  with pytest.raises(settings_lib.SettingsMismatch, match='training'):
    certify(classifier, source, source, tmp_path, settings)
  other = settings | {'distance': LEVEL | {'rate': 0.1}}
  with pytest.raises(settings_lib.SettingsMismatch, match='distance'):
    certify(classifier, source, training, tmp_path, other)
  many = settings | {'distance': LEVEL | {'neighbours': 21}}
  with pytest.raises(ValueError, match='20 training images, fewer than the 21'):
    certify(classifier, source, training, tmp_path / 'many', many)


def test_predictions(classifier, source, training, settings, tmp_path):
  settings |= DISTANCE | {'task': 'predict', 'n0': None}
  rows = certify(classifier, source, training, tmp_path, settings)
  assert {row.status for row in rows} >= {'predicted'}
  assert len({row.sigma for row in rows}) > 6
  recorded = settings_lib.read(tmp_path / 'settings.json')
  assert timeless(tsv.read(tmp_path / 'rows.tsv', recorded)) == timeless(rows)


def test_a_whole_run_and_its_report(
  classifier, source, training, tmp_path, monkeypatch
):
  """From a configuration to a table and figures."""
  config = configured({'n0': 20, 'n': 100, 'distance': LEVEL, 'count': 4})
  splits = {'test': source, 'train': training}
  monkeypatch.setattr(run_inputs.data, 'load', lambda split, **_: splits[split])
  monkeypatch.setattr(
    run_inputs, 'load_networks', lambda *_: (None, classifier)
  )
  rows = certify_dataset.certify_dataset(config, tmp_path)
  assert [row.idx for row in rows] == list(range(100, 104))
  assert not any(
    merge_dataset.merge_dataset(config, tmp_path, partly=False).values()
  )
  text = certify_dataset.report_dataset(config, tmp_path)
  assert 'distance-fixed' in text
  folder = tmp_path / 'certify' / 'distance-fixed' / 'figures'
  assert {path.name for path in folder.iterdir()} >= {
    'certified_accuracy.png',
    'vote_probabilities.png',
  }


def test_what_is_claimed(settings):
  settings |= DISTANCE
  found = guarantee.of(settings)
  assert found.known
  said = ' '.join((found.sentence, *found.notes))
  assert 'σ = 0.3 exp(0.4 (δ − 0.5))' in said
  assert '3 nearest training images' in said
  assert guarantee.rule(settings) is None


def test_labels():
  for changes, label in (
    ({}, 'distance-fixed'),
    ({'protocol': 'paper'}, 'distance-paper-protocol'),
    ({'task': 'predict'}, 'predict-distance'),
  ):
    config = configured(changes)
    refused.check(config, Place(0, 1))
    [run] = run_settings.runs(config)
    assert run_settings.label(config, run) == label
    assert run['sigmas'] == [0.5]
    assert run['noise'] == 'gaussian'
    assert json.loads(json.dumps(run['distance']))['neighbours'] == 20


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'protocol': 'adaptive'}, "'fixed' in place of 'adaptive'"),
    ({'protocol': 'open'}, "'fixed' in place of 'open'"),
    ({'noise': 'lattice'}, "noise = 'gaussian' in place of 'lattice'"),
    ({'noise': 'published'}, "noise = 'gaussian' in place of 'published'"),
    ({'distance': {'rate': -0.1}}, r'certify\.distance: rate must not be neg'),
    ({'distance': {'base': 0.0}}, r'certify\.distance: base must be'),
  ],
)
def test_what_such_a_level_does_not_have_is_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    refused.check(configured(changes), Place(0, 1))


def test_refused_with_experts_and_where_processes_share_votes():
  config = cifar10.get_config('experts')
  with config.unlocked():
    config.certify.update({'smoothing': 'distance', 'protocol': 'fixed'})
  with pytest.raises(ValueError, match="choose certify.smoothing = 'single'"):
    refused.check(config, Place(0, 1))
  with pytest.raises(ValueError, match="choose certify.spread = 'images'"):
    refused.check(configured({'spread': 'votes'}), Place(0, 2))


def test_a_level_is_none_where_nothing_is_chosen(settings):
  votes = methods.VoteCounts(*[np.zeros(1)] * 4, distance=math.nan)
  assert methods.sigma(votes, -1, settings | DISTANCE) == 0.0
