import errno
import json
import logging
import multiprocessing
import os

import pytest

from dualrs_jax.runtime import settings


def test_file_and_directory_are_synced_before_claim_returns(
  tmp_path, monkeypatch
):
  synced = []
  fsync = os.fsync
  monkeypatch.setattr(
    os, 'fsync', lambda fd: (synced.append(os.fstat(fd).st_ino), fsync(fd))
  )
  path = tmp_path / 'settings.json'
  settings.claim(path, {'n': 1})
  assert synced == [path.stat().st_ino, tmp_path.stat().st_ino]


def test_claim_writes_once_and_returns_what_is_in_force(tmp_path):
  path = tmp_path / 'settings.json'
  wanted = {'sigmas': (0.25, 0.5), 'model': {'width': 8}}
  first = settings.claim(path, wanted, once={'seed': 7})
  again = settings.claim(path, wanted, once={'seed': 8})
  assert first == again == json.loads(path.read_text())
  assert again['seed'] == 7
  assert again['sigmas'] == [0.25, 0.5]


def test_claim_names_every_differing_key_with_both_values(tmp_path):
  path = tmp_path / 'run' / 'settings.json'
  settings.claim(path, {'n': 100, 'model': {'width': 8, 'depth': 2}, 'old': 1})
  before = path.read_bytes()
  with pytest.raises(settings.SettingsMismatch) as error:
    settings.claim(
      path, {'n': 1000, 'model': {'width': 16, 'depth': 2}, 'new': 'x'}
    )
  message = str(error.value)
  assert 'n is 100 there and 1000 here' in message
  assert 'model.width is 8 there and 16 here' in message
  assert 'old is 1 there and not set here' in message
  assert 'new is not set there and "x" here' in message
  assert 'depth' not in message
  assert path.read_bytes() == before


@pytest.mark.parametrize('value', [float('nan'), [1, float('nan')]])
def test_what_is_not_a_number_is_no_difference(tmp_path, value):
  path = tmp_path / 'settings.json'
  settings.claim(path, {'model': {'rate': value}})
  settings.claim(path, {'model': {'rate': value}})
  with pytest.raises(settings.SettingsMismatch, match='rate is .*NaN.* there'):
    settings.claim(path, {'model': {'rate': 1.0}})


def test_an_explicit_seed_is_compared_and_a_drawn_one_is_kept(tmp_path):
  path = tmp_path / 'settings.json'
  settings.claim(path, {'n': 1}, once={'seed': 7})
  assert settings.claim(path, {'n': 1, 'seed': 7})['seed'] == 7
  with pytest.raises(settings.SettingsMismatch, match='seed is 7 there and 8'):
    settings.claim(path, {'n': 1, 'seed': 8})


def test_advisory_difference_only_warns(tmp_path, caplog):
  path = tmp_path / 'settings.json'
  settings.claim(path, {'n': 1, 'versions': {'jax': '1', 'numpy': '2'}})
  with caplog.at_level(logging.WARNING):
    kept = settings.claim(
      path,
      {'n': 1, 'versions': {'jax': '3', 'numpy': '2'}},
      advisory=('versions',),
    )
  assert kept['versions']['jax'] == '1'
  assert 'versions.jax = "1", now it is "3"' in caplog.text
  assert 'numpy' not in caplog.text


def test_a_recorded_file_without_the_seed_is_refused(tmp_path):
  path = tmp_path / 'settings.json'
  settings.claim(path, {'n': 1})
  with pytest.raises(settings.SettingsMismatch, match='does not record seed'):
    settings.claim(path, {'n': 1}, once={'seed': 1})


@pytest.mark.parametrize('text', ['', '{"n": 1', '[1]', 'null', 10**5 * '['])
def test_a_damaged_settings_file_is_named(tmp_path, text):
  path = tmp_path / 'settings.json'
  path.write_text(text)
  with pytest.raises(ValueError, match=r'settings\.json is not a settings'):
    settings.claim(path, {'n': 1})


def test_claimants_at_the_same_moment_agree_on_one_seed(tmp_path):
  path = tmp_path / 'settings.json'
  paths = [(path, seed) for seed in range(8)]
  with multiprocessing.get_context('spawn').Pool(2) as pool:
    seeds = pool.starmap(_claim, paths)
  assert len(set(seeds)) == 1
  assert seeds[0] == settings.read(path)['seed']


def _claim(path, seed):
  return settings.claim(path, {'n': 1}, once={'seed': seed})['seed']


def test_loser_of_the_race_takes_the_winners_seed(tmp_path, monkeypatch):
  path = tmp_path / 'settings.json'
  link = os.link

  def slow_link(source, target):
    monkeypatch.setattr(os, 'link', link)
    settings.claim(path, {'n': 1}, once={'seed': 1})  # somebody is faster
    link(source, target)

  monkeypatch.setattr(os, 'link', slow_link)
  assert settings.claim(path, {'n': 1}, once={'seed': 2})['seed'] == 1
  assert os.listdir(tmp_path) == ['settings.json']


def test_without_hard_links_too_the_first_claim_counts(tmp_path, monkeypatch):
  path = tmp_path / 'settings.json'

  def no_link(source, target):
    monkeypatch.setattr(os, 'link', refuse)
    settings.claim(path, {'n': 1}, once={'seed': 1})  # somebody is faster
    refuse(source, target)

  def refuse(source, target):
    raise PermissionError(errno.EPERM, 'no hard links')

  monkeypatch.setattr(os, 'link', no_link)
  assert settings.claim(path, {'n': 1}, once={'seed': 2})['seed'] == 1
  assert os.listdir(tmp_path) == ['settings.json']


def test_a_disk_that_fails_is_not_one_without_links(tmp_path, monkeypatch):
  def fail(source, target):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(os, 'link', fail)
  with pytest.raises(OSError, match='No space left'):
    settings.claim(tmp_path / 'settings.json', {'n': 1})
  assert os.listdir(tmp_path) == []


def test_fresh_seeds_differ_and_are_valid_keys():
  seeds = {settings.fresh_seed() for _ in range(32)}
  assert len(seeds) > 1
  for seed in seeds:
    assert settings.check_seed(seed) == seed


@pytest.mark.parametrize('seed', [-1, 2**32, 2**63])
def test_seeds_that_jax_would_cut_are_refused(seed):
  with pytest.raises(ValueError, match=f'got {seed}'):
    settings.check_seed(seed)


def test_values_are_replaced_and_never_compared(tmp_path):
  path = tmp_path / 'settings.json'
  for images in (100, 500):
    claimed = settings.claim(path, {'n': 1}, once={'images': images})
    assert claimed == settings.read(path) == {'n': 1, 'images': 100}
  settings.replace(path, {'images': 500})
  assert settings.read(path) == {'n': 1, 'images': 500}
  with pytest.raises(settings.SettingsMismatch, match='n is 1 there'):
    settings.claim(path, {'n': 2}, once={'images': 7})
  assert settings.read(path)['images'] == 500
  before = path.stat().st_ino
  settings.replace(path, {'images': 500})
  assert path.stat().st_ino == before, 'nothing to write'


def test_verify_compares_what_both_name(tmp_path):
  path = tmp_path / 'settings.json'
  settings.claim(path, {'sigmas': [1.0], 'steps': 5})
  settings.verify(path, {'sigmas': (1.0,), 'alpha': 0.1})
  with pytest.raises(
    settings.SettingsMismatch, match=r'sigmas is \[1\.0\] there and \[2\.0\]'
  ):
    settings.verify(path, {'sigmas': (2.0,)})
