"""A checkpoint is of one stage and of one configuration, wherever it lies."""

import pytest

from dualrs_jax import checkpoints
from dualrs_jax.checkpoints import origin
from dualrs_jax.runtime import settings

IDENTITY = {'sigmas': (0.25, 1.0), 'seed': 3}
CLAIMED = IDENTITY | {settings.FINGERPRINT: 'ab'}
META = origin.record('classifier-0', CLAIMED)


def check(
  tmp_path, meta, *, check=origin.check, stage='classifier-0', **fields
):
  check(tmp_path, meta, stage=stage, settings=fields or CLAIMED)


def test_its_own_settings_are_taken_with_and_without_fingerprint(tmp_path):
  check(tmp_path, META)
  check(tmp_path, META, **IDENTITY)
  assert META == {
    'stage': 'classifier-0',
    'settings': {'sigmas': [0.25, 1.0], 'seed': 3},
  }


def test_another_stage_is_refused(tmp_path):
  for way in (origin.check, origin.check_part):
    with pytest.raises(checkpoints.CheckpointError, match='of classifier-0'):
      check(tmp_path, META, stage='single-1', check=way)


def test_other_settings_are_refused_by_name(tmp_path):
  for way in (origin.check, origin.check_part):
    with pytest.raises(settings.SettingsMismatch, match='seed is 3 there'):
      check(tmp_path, META, check=way, **CLAIMED | {'seed': 4})


def test_all_or_a_part_of_the_settings(tmp_path):
  check(tmp_path, META, check=origin.check_part, seed=3, alpha=0.1)
  with pytest.raises(settings.SettingsMismatch, match='alpha is not set there'):
    check(tmp_path, META, **IDENTITY, alpha=0.1)


def test_without_settings_it_is_taken_where_there_are_no_fingerprints(tmp_path):
  for meta in ({}, {'stage': 'classifier-0'}, {'settings': None}):
    check(tmp_path, meta, **IDENTITY)
    for way in (origin.check, origin.check_part):
      with pytest.raises(settings.SettingsMismatch, match='does not say for'):
        check(tmp_path, meta, check=way)
