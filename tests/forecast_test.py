"""The program that says which certificate to ask for."""

import pathlib
import re

import numpy as np
import pytest

from dualrs_jax.evaluation import forecast_votes, run_settings
from dualrs_jax.evaluation.forecast import Votes
from dualrs_jax.programs import forecast
from tests.training import tiny


def config_for(**certify):
  config = tiny.get_config().copy_and_resolve_references().unlock()
  config.certify.update({'radii': (0.0, 0.25), **certify})
  return config


def test_votes_of_a_run(tmp_path_factory):
  workdir = tiny.trained(tmp_path_factory.getbasetemp())
  config = config_for()
  found = forecast.cast(config, workdir, images=7, votes=30)
  assert found.estimator is not None
  assert found.estimator.shape == (7, 2)
  assert found.classifier.shape == (7, 2, 10)
  assert (found.classifier.sum(-1) == 30).all()
  assert (found.estimator.sum(-1) == 30).all()
  assert config.certify.split == 'test'  # nothing of it is touched
  again = forecast.cast(config, workdir, images=7, votes=30)
  np.testing.assert_array_equal(again.classifier, found.classifier)
  alone = forecast.cast(config_for(smoothing='cascade'), workdir, 7, 30)
  assert alone.estimator is None
  np.testing.assert_array_equal(alone.classifier, found.classifier)
  assert 'dual-agreement' in forecast.text(config, found)
  assert 'dual-agreement' not in forecast.text(config, alone)


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
  classifier[:, 0, 0] = 200
  classifier[: images // 2, 1, 0] = 200
  classifier[images // 2 :, 1, :4] = 50
  return Votes(labels, None, classifier)


def test_the_advice_can_be_followed():
  config = config_for(radii=(0.0, 0.25, 1.0), n=1_000, smoothing='cascade')
  said = forecast.text(config, crossing())
  assert 'largest mean ratio: cascade, ahead of the best single level by' in (
    ' '.join(said.split())
  )
  assert re.search(r'^ *cascade +100.0 +100.0 +50.0 +1.000$', said, re.M)
  asked = dict(re.findall(r"--config\.certify\.(\w+)='(.*?)'", said))
  assert asked == {'smoothing': 'cascade'}
  [run] = run_settings.runs(config_for(**asked))
  assert run_settings.label(config_for(**asked), run) == 'cascade'


def test_where_no_level_certifies_it_says_so():
  votes = crossing()
  wrong = votes._replace(labels=votes.labels + 7)
  said = forecast.text(config_for(), wrong)
  assert 'no level certifies an image at these radii' in said


@pytest.mark.parametrize(
  ('certify', 'count', 'message'),
  [
    ({'radii': ()}, 1, 'certify.radii must name the radii'),
    ({}, 2, 'a forecast takes one process'),
  ],
)
def test_what_cannot_be_forecast_is_refused(
  certify, count, message, monkeypatch
):
  for flag in ('_IMAGES', '_VOTES'):
    monkeypatch.setattr(forecast, flag, type('Flag', (), {'value': 5}))
  place = forecast.processes.Place(0, count)
  with pytest.raises(ValueError, match=message):
    forecast.main(config_for(**certify), pathlib.Path('nowhere'), place)


def test_too_few_votes_are_refused(monkeypatch):
  monkeypatch.setattr(forecast, '_IMAGES', type('Flag', (), {'value': 5}))
  monkeypatch.setattr(forecast, '_VOTES', type('Flag', (), {'value': 1}))
  with pytest.raises(ValueError, match='--votes must be at least 2, not 1'):
    forecast.main(
      config_for(), pathlib.Path('nowhere'), forecast.processes.Place()
    )
