"""What is in a working directory is of its configuration, or is refused."""

import json

import pytest

from dualrs_jax import checkpoints, models
from dualrs_jax.checkpoints import origin
from dualrs_jax.runtime import settings
from dualrs_jax.training import claim, recipe, recorder
from tests.training import tiny


def changed(seed):
  return recipe.identity(tiny.get_config()) | {'seed': seed}


def save(workdir, stage, meta):
  model = models.create(
    **tiny.SIZES, num_classes=10, image_shape=(32, 32, 1), seed=0
  )
  with checkpoints.Saver(workdir / 'checkpoints' / stage, keep=1) as saver:
    state = {checkpoints.MODEL: checkpoints.model_state(model)}
    saver.save(1, state, meta)


@pytest.fixture
def config():
  return recipe.identity(tiny.get_config())


@pytest.fixture
def workdir(config, tmp_path):
  """As a training leaves it, with a checkpoint and metrics."""
  claimed = claim.claim(config, tmp_path)
  save(tmp_path, 'classifier-0', origin.record('classifier-0', claimed))
  with recorder.Recorder(tmp_path / 'metrics', 'classifier-0', after_step=0):
    pass
  path = tmp_path / 'metrics' / recorder.LINES
  path.write_text('{"stage": "classifier-0", "step": 1, "loss": 1.0}\n')
  return tmp_path


def test_a_lost_settings_file_is_written_again_for_its_own(config, workdir):
  path = workdir / claim.SETTINGS
  before = path.read_text()
  path.unlink()
  claim.claim(config, workdir)
  assert path.read_text() == before


def test_another_configuration_does_not_take_what_is_there(config, workdir):
  path = workdir / claim.SETTINGS
  for lose in (lambda: None, path.unlink):
    lose()
    with pytest.raises(
      settings.SettingsMismatch, match=r'seed is 0 there and 7'
    ):
      claim.claim(changed(seed=7), workdir)
  assert not path.exists()


def test_the_settings_of_another_run_do_not_either(config, workdir, tmp_path):
  other = tmp_path / 'other'
  claimed = claim.claim(changed(seed=7), other)
  (workdir / claim.SETTINGS).write_bytes((other / claim.SETTINGS).read_bytes())
  with pytest.raises(settings.SettingsMismatch, match='seed is 7 there'):
    claim.claim(config, workdir)
  assert claim.claim(changed(seed=7), workdir) == claimed
  folder = workdir / 'checkpoints' / 'classifier-0'
  meta = checkpoints.newest_meta(folder)
  with pytest.raises(settings.SettingsMismatch, match='seed is 0 there'):
    origin.check(folder, meta, stage='classifier-0', settings=claimed)


def test_settings_changed_by_hand_are_refused(workdir):
  path = workdir / claim.SETTINGS
  path.write_text(json.dumps(settings.read(path) | {'seed': 7}))
  with pytest.raises(settings.SettingsMismatch, match='was changed since'):
    claim.claim(changed(seed=7), workdir)


def test_a_checkpoint_that_names_no_settings_needs_its_own(config, tmp_path):
  save(tmp_path, 'classifier-0', {'stage': 'classifier-0', 'steps': 1})
  with pytest.raises(settings.SettingsMismatch, match='does not say for what'):
    claim.claim(config, tmp_path)
  assert not (tmp_path / claim.SETTINGS).exists()
  settings.claim(tmp_path / claim.SETTINGS, config)
  assert settings.FINGERPRINT not in claim.claim(config, tmp_path)


def test_metrics_alone_do_not_say_whose_they_are(config, workdir):
  (workdir / claim.SETTINGS).unlink()
  (workdir / 'checkpoints').rename(workdir / 'aside')
  with pytest.raises(
    settings.SettingsMismatch, match='metrics is of a training'
  ):
    claim.claim(config, workdir)


@pytest.mark.parametrize('kept', ['checkpoints', 'metrics', 'targets/round-1'])
def test_what_was_trained_on_unknown_images_is_not_taken(tmp_path, kept):
  (tmp_path / kept).mkdir(parents=True)
  claim.claim_images({'train': 'a'}, tmp_path)  # nothing there yet
  (tmp_path / kept / 'file').touch()
  claim.claim_images({'train': 'a'}, tmp_path)
  path = tmp_path / claim.IMAGES
  path.unlink()
  with pytest.raises(
    settings.SettingsMismatch, match=f'{path} is gone: put that file back'
  ):
    claim.claim_images({'train': 'b'}, tmp_path)
  assert not path.exists()
