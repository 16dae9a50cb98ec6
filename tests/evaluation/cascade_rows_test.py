"""Runs of a cascade: rows with votes of every level that was visited."""

import ast
import re

import numpy as np
import pytest

from configs import digits
from dualrs_jax import networks
from dualrs_jax.evaluation import (
  accuracy_table,
  certify_dataset,
  certify_source,
  facts,
  refused,
  run_rows,
  run_settings,
  tsv,
)
from dualrs_jax.runtime import settings as settings_lib
from dualrs_jax.runtime.processes import Place
from tests.evaluation.conftest import SIGMAS

GRID = [0.0, 0.1, 0.25, 0.5]
CASCADE = {'smoothing': 'cascade', 'certificate': None, 'estimator_sigma': None}


def certify(classifier, source, directory, settings, positions=None):
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
  )


def configured(changes):
  config = digits.get_config()
  with config.unlocked():
    config.certify.update({'smoothing': 'cascade', **changes})
  return config


def timeless(rows):
  return [row._replace(time=0.0) for row in rows]


@pytest.mark.parametrize(
  ('goal', 'radii'), [(None, []), ('grid', GRID), ('full', [])]
)
def test_rows_say_what_their_votes_amount_to(
  classifier, source, settings, tmp_path, goal, radii
):
  settings |= CASCADE | {'goal': goal, 'radii': radii}
  rows = certify(classifier, source, tmp_path, settings)
  assert any(row.predict >= 0 for row in rows)
  assert len({row.sigma_index for row in rows}) > 1
  recorded = settings_lib.read(tmp_path / 'settings.json')
  read = tsv.read(tmp_path / 'rows.tsv', recorded)
  assert sorted(timeless(read)) == sorted(timeless(rows))
  first, line = (tmp_path / 'rows.tsv').read_text().splitlines()[:2]
  assert 'earlier_radius' in first
  assert 'estimator' not in first
  for row in rows:
    assert row.radius <= min(row.estimator_radius, row.classifier_radius)
    if row.predict >= 0:
      voted = [k for k, cast in row.classifier_cast.items() if cast[1]]
      assert sorted(voted) == list(range(row.sigma_index, len(SIGMAS)))
  changed = line.replace(f'\t{rows[0].classifier_radius!r}\t', '\t0.123\t')
  with pytest.raises(ValueError, match='make it'):
    tsv.parser(recorded)(changed.replace('inf', '0.5'))
  again = certify(classifier, source, tmp_path, settings, np.arange(3))
  assert timeless(again) == timeless(rows[:3])


def test_predictions(classifier, source, settings, tmp_path):
  settings |= CASCADE | {'task': 'predict', 'n0': None}
  rows = certify(classifier, source, tmp_path, settings)
  assert any(row.status == 'predicted' for row in rows)
  recorded = settings_lib.read(tmp_path / 'settings.json')
  read = tsv.read(tmp_path / 'rows.tsv', recorded)
  assert timeless(read) == timeless(rows)


def test_the_largest_radius_is_that_of_the_largest_level(settings):
  settings |= CASCADE
  run = run_rows.Run('cascade', settings, [])
  dual = facts.largest_radius(run)
  alone = settings | {'smoothing': 'single', 'sigmas': [max(SIGMAS)]}
  assert dual == facts.largest_radius(run_rows.Run('single', alone, []))


def test_a_level_that_is_left_out_is_no_part():
  """It is in the table, and has no colour in the figures."""
  weights = {'classifier': 'some', 'estimator': None}

  def run(sigmas, **other):
    return run_rows.Run('', {'sigmas': sigmas, 'weights': weights | other}, [])

  cascade = run([0.25, 0.5])
  assert accuracy_table.is_part(cascade, run([0.5]))
  assert not accuracy_table.is_part(cascade, run([1.0]))
  assert not accuracy_table.is_part(cascade, run([0.5], classifier='another'))


@pytest.mark.parametrize(
  ('changes', 'label'),
  [
    ({}, 'cascade'),
    ({'protocol': 'fixed'}, 'cascade-fixed'),
    ({'goal': 'full'}, 'cascade-full'),
    ({'task': 'predict', 'protocol': 'fixed'}, 'predict-cascade'),
    ({'label': 'mine'}, 'mine'),
    ({'levels': (1.0, 0.5)}, 'cascade-0.5-1'),
    ({'levels': (0.25, 0.5), 'protocol': 'fixed'}, 'cascade-0.25-0.5-fixed'),
    ({'levels': digits.SIGMAS}, 'cascade'),
  ],
)
def test_labels(changes, label):
  config = configured(changes)
  refused.check(config, Place(0, 1))
  [run] = run_settings.runs(config)
  assert run_settings.label(config, run) == label
  assert run['estimator_sigma'] is None
  assert run['sigmas'] == sorted(changes.get('levels', digits.SIGMAS))


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'levels': (0.25, 0.7)}, 'among sigmas = .* unlike 0.7'),
    ({'levels': (0.25, 0.5, 0.25)}, 'a level twice'),
    ({'levels': (0.25,)}, "choose certify.smoothing = 'single'"),
    ({'levels': (0.25, 0.5), 'smoothing': 'dual'}, "in place of 'dual'"),
  ],
)
def test_levels_that_are_none_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    refused.check(configured(changes), Place(0, 1))


def test_plain_smoothing_is_confined_to_levels_too():
  config = configured({'smoothing': 'single', 'levels': (0.5,)})
  refused.check(config, Place(0, 1))
  [run] = run_settings.runs(config)
  assert run['sigmas'] == [0.5]
  with config.unlocked():
    config.certify.classifier = 'single-1'
  with pytest.raises(ValueError, match='not among certify.levels'):
    run_settings.runs(config)


def test_a_cascade_of_some_levels_asks_their_experts(monkeypatch):
  monkeypatch.setattr(networks, 'identity', lambda description: description)
  config = configured({'levels': (0.5, 1.0)})
  with config.unlocked():
    config.model.classifier = {'experts': ('a', 'b', 'c')}
  [run] = run_settings.runs(config)
  assert run['experts'] == [1, 2]
  assert certify_dataset.of_levels(('a', 'b', 'c'), run) == ('b', 'c')
  assert certify_dataset.of_levels('one for all', run) == 'one for all'
  with config.unlocked():
    config.certify.levels = ()
  [run] = run_settings.runs(config)
  assert certify_dataset.of_levels(('a', 'b', 'c'), run) == ('a', 'b', 'c')


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'protocol': 'open'}, "'fixed' in place of 'open'"),
    ({'protocol': 'open', 'task': 'predict'}, "'fixed' in place of 'open'"),
    ({'task': 'predict'}, "choose certify.protocol = 'fixed' in place of"),
    ({'goal': 'full', 'tolerance': 0.02}, 'tolerance = 0 in place of 0.02'),
  ],
)
def test_what_a_cascade_does_not_have_is_refused(changes, message):
  with pytest.raises(ValueError, match=message) as error:
    refused.check(configured(changes), Place(0, 1))
  said = re.search(r'certify\.(\w+) = ([^=]*) in place of', str(error.value))
  for value in said[2].split(' or '):  # what is said to be chosen is taken
    advised = {said[1]: ast.literal_eval(value)}
    refused.check(configured(changes | advised), Place(0, 1))


def test_a_tolerance_that_says_nothing_is_no_matter():
  refused.check(configured({'goal': 'grid', 'tolerance': 0.02}), Place(0, 1))


def test_what_falls_back_predicts_adaptively():
  changes = {'smoothing': 'dual', 'certificate': 'fallback', 'task': 'predict'}
  with pytest.raises(ValueError, match="'fallback' predicts adaptively alone"):
    refused.check(configured({**changes, 'protocol': 'fixed'}), Place(0, 1))
  refused.check(configured({**changes, 'protocol': 'adaptive'}), Place(0, 1))
