"""The program that says which certificate to ask for."""

import pathlib
import re

import numpy as np
import pytest

from dualrs_jax.evaluation import (
  certify_dataset,
  forecast_votes,
  run_settings,
)
from dualrs_jax.evaluation.forecast import Votes
from dualrs_jax.programs import forecast
from dualrs_jax.runtime import processes
from tests.training import tiny


def config_for(**certify):
  config = tiny.get_config().copy_and_resolve_references().unlock()
  config.certify.update({'radii': (0.0, 0.25), **certify})
  return config


def prepared(config):
  return certify_dataset.prepare(forecast._asked(config), processes.Place())


def test_votes_of_a_run(tmp_path_factory):
  workdir = tiny.trained(tmp_path_factory.getbasetemp())
  config = config_for()

  def cast(config):
    return forecast.cast(config, workdir, prepared(config), 7, 30)

  found = cast(config)
  assert found.cast == 30
  assert found.estimator is not None
  assert found.estimator.shape == (7, 2)
  assert found.classifier.shape == (7, 2, 10)
  assert (found.classifier.sum(-1) == 30).all()
  assert (found.estimator.sum(-1) == 30).all()
  assert config.certify.split == 'test'  # nothing of it is touched
  np.testing.assert_array_equal(cast(config).classifier, found.classifier)
  without = config_for(smoothing='cascade', chunk_size=0)
  alone = cast(without)
  assert alone.estimator is None
  np.testing.assert_array_equal(alone.classifier, found.classifier)
  [settings] = prepared(config).runs
  assert 'dual-agreement' in forecast.text(config, settings, found)
  assert 'dual-agreement' not in forecast.text(without, settings, alone)


def test_images_are_spread():
  source = forecast_votes.data.load(split='validation', name='digits')
  chosen = forecast_votes.spread(source, 10)
  assert len(chosen) == 10
  places = np.searchsorted(source.indices, chosen.indices)
  assert (np.diff(places) == len(source) // 10).all()
  assert len(forecast_votes.spread(source, 10**6)) == len(source)


def crossing(images=60):
  """Level .25 is right everywhere, level 1 has the larger radius on half."""
  labels = np.zeros(images, int)
  classifier = np.zeros((images, 2, 10), int)
  classifier[:, 0, 0] = 2_000
  classifier[: images // 2, 1, 0] = 2_000
  classifier[images // 2 :, 1, :4] = 500
  return Votes(labels, 2_000, None, classifier)


def said(config, votes):
  [settings] = prepared(config).runs
  return forecast.text(config, settings, votes)


def sentences(text):
  return ' '.join(text.split())


@pytest.mark.parametrize('changes', [{}, {'levels': (1.0,)}])
def test_the_advice_can_be_followed(changes):
  radii = (0.0, 0.25, 1.0)
  config = config_for(
    radii=radii, n0=100, n=1_000, smoothing='single', **changes
  )
  text = said(config, crossing())
  assert 'largest mean ratio: cascade, ahead of the best single level' in text
  assert re.search(r'^ *cascade +100.0 +100.0 +50.0 +1.000$', text, re.M)
  found = re.findall(r"--config\.certify\.(\w+)='(.*?)'", text)
  assert ('smoothing', 'cascade') in found
  for name, value in found:
    config.certify[name] = value if name == 'smoothing' else eval(value)
  [run] = run_settings.runs(config)
  assert run_settings.label(config, run) == 'cascade'
  assert 'as it is configured here' in said(config, crossing())


def test_the_paper_protocol_has_its_own_statistics():
  text = said(config_for(protocol='paper', n=77), crossing())
  expected = 'n0 = 100, n = 10,000, alpha = 0.001, a fixed number of votes'
  assert expected in sentences(text)


def test_adaptive_certificates_are_forecast_with_their_bounds():
  votes = crossing()
  # At level 1 the second half has no majority, and a class that is ahead.
  votes.classifier[30:, 1, :4] = 800, 400, 400, 400

  def of_level(protocol):
    config = config_for(protocol=protocol, radii=(0.0, 0.25), n0=100, n=1_000)
    text = said(config, votes)
    kind = 'adaptive' if protocol == 'adaptive' else 'a fixed number of votes'
    assert f'alpha = 0.001, {kind}' in sentences(text)
    return float(re.search(r'^ *single-1 +([\d.]+)', text, re.M)[1])

  assert of_level('fixed') == 50 < 95 < of_level('adaptive')


def test_where_no_level_certifies_it_says_so():
  votes = crossing()
  wrong = votes._replace(labels=votes.labels + 7)
  assert 'no level certifies an image at these radii' in (
    sentences(said(config_for(), wrong))
  )


@pytest.mark.parametrize(
  ('certify', 'count', 'message'),
  [
    ({'radii': ()}, 1, 'certify.radii must name the radii'),
    ({}, 2, 'a forecast takes one process'),
    ({'smoothing': 'both'}, 1, 'certify.smoothing must be one of'),
    ({'levels': (0.5,)}, 1, 'certify.levels confines'),
    ({'n': 0}, 1, 'certify: n must be'),
  ],
)
def test_what_cannot_be_forecast_is_refused(
  certify, count, message, monkeypatch
):
  for flag in ('_IMAGES', '_VOTES'):
    monkeypatch.setattr(forecast, flag, type('Flag', (), {'value': 5}))
  place = processes.Place(0, count)
  with pytest.raises(ValueError, match=message):
    forecast.main(config_for(**certify), pathlib.Path('nowhere'), place)


def test_too_few_votes_are_refused(monkeypatch):
  monkeypatch.setattr(forecast, '_IMAGES', type('Flag', (), {'value': 5}))
  monkeypatch.setattr(forecast, '_VOTES', type('Flag', (), {'value': 1}))
  with pytest.raises(ValueError, match='--votes must be at least 2, not 1'):
    forecast.main(config_for(), pathlib.Path('nowhere'), processes.Place())
