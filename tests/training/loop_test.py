"""The stages of a training, together."""

import inspect
import logging
import pathlib
import shutil
import types

import jax
import numpy as np
import pytest

from dualrs_jax import checkpoints
from dualrs_jax.runtime import locks, settings
from dualrs_jax.training import (
  fit,
  fitting,
  loop,
  recipe,
  recorder,
  target_radii,
  target_shards,
)
from tests.read_only import read_only
from tests.training import tiny

STAGES = tiny.STAGES


@pytest.fixture
def trained(tmp_path_factory):
  return tiny.trained(tmp_path_factory.getbasetemp())


def test_every_stage_is_there(trained):
  assert recipe.stages(tiny.get_config()) == list(STAGES)
  for stage, steps in zip(STAGES, (60, 40, 40, 60, 40), strict=True):
    assert checkpoints.steps(trained / 'checkpoints' / stage)[0] == steps
    assert list((trained / 'metrics' / stage).glob('events.*'))
  kept = (trained / 'targets' / 'targets-1').iterdir()
  assert len(list(kept)) == 10 + 1  # shards, and bounds


def test_it_is_trained_with_the_last_stage_and_not_before(trained, tmp_path):
  config = tiny.get_config()
  assert loop.is_trained(config, trained)
  assert not loop.is_trained(config, tmp_path)
  (tmp_path / 'checkpoints').mkdir()
  settings.claim(tmp_path / 'settings.json', recipe.identity(config))
  for stage in STAGES:
    assert not loop.is_trained(config, tmp_path)
    link = tmp_path / 'checkpoints' / stage
    link.symlink_to(trained / 'checkpoints' / stage)
  assert loop.is_trained(config, tmp_path)
  config = config.copy_and_resolve_references()
  config.classifier.learning_rate = 0.5
  assert not loop.is_trained(config, tmp_path)


def test_metrics_say_what_to_watch(trained):
  rows = recorder.read(trained / 'metrics' / recorder.LINES)
  last = {row['stage']: row for row in rows}
  assert list(last) == list(STAGES)
  selected = [last['estimator-1'][f'selected/{s}'] for s in ('0.25', '1')]
  assert sum(selected) == pytest.approx(1)
  assert last['classifier-0']['loss'] < rows[0]['loss']
  assert 'validation_accuracy/0.25' in last['classifier-1']
  assert last['single-0.5']['mean_sigma'] == 0.5


def test_fine_tuning_starts_from_what_was_trained_before(trained):
  first = tiny.weights(trained, 'classifier-0', 10)
  tuned = tiny.weights(trained, 'classifier-1', 10)
  other = tiny.weights(trained, 'single-0.5', 10)
  begun = tiny.weights(trained, 'single-0.5-0', 10)

  def distance(left, right):
    gaps = jax.tree.map(lambda a, b: ((a - b) ** 2).sum(), left, right)
    return sum(jax.tree.leaves(gaps))

  assert 0 < distance(first, tuned) < distance(first, other)
  assert 0 < distance(begun, other) < distance(begun, first)


def test_a_second_training_in_one_folder_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(locks, 'PATIENCE_SECONDS', 0.2)
  taken = locks.exclusively(tmp_path / 'train.lock', refusal='', patience=0.0)
  with (
    taken,
    pytest.raises(locks.InUse, match=f'process is training in {tmp_path}$'),
  ):
    loop.train(tiny.get_config(), tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ['settings.json']


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
  settings.claim(tmp_path / 'settings.json', recipe.identity(tiny.get_config()))
  with read_only(tmp_path), pytest.raises(PermissionError, match=str(tmp_path)):
    loop.train(tiny.get_config(), tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ['settings.json']


def test_devices_of_processes_that_are_not_joined_are_refused(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(jax, 'process_count', lambda: 4)
  with pytest.raises(ValueError, match='devices are those of 4 processes'):
    loop.train(tiny.get_config(), tmp_path)


class Stop(Exception):
  """An interruption."""


def interrupt(monkeypatch, module, name, *, calls):
  """Makes a function stop the training after some calls."""
  counted, original = iter(range(1000)), getattr(module, name)

  def wrapped(*args, **options):
    if next(counted) == calls:
      raise Stop
    return original(*args, **options)

  monkeypatch.setattr(module, name, wrapped)


@pytest.mark.usefixtures('compiled_once')
def test_interrupted_and_resumed_is_undisturbed(trained, tmp_path):
  config = tiny.get_config()
  for module, name, calls in (
    (target_shards, 'save', 4),  # within the radius targets
    (fit, 'fit', 2),  # between the targets and what is trained on them
  ):
    with pytest.MonkeyPatch.context() as patch:
      interrupt(patch, module, name, calls=calls)
      with pytest.raises(Stop):
        loop.train(config, tmp_path)
  with config.unlocked():
    config.certify.n = 77  # of no consequence, as the targets are drawn
  loop.train(config, tmp_path)
  tiny.assert_same_run(tmp_path, trained, STAGES)


def test_targets_are_those_of_the_certification_to_come(
  trained, tmp_path, monkeypatch
):
  asked = []

  def stop(*args, n, seed, **options):
    asked.append((n, seed))
    raise Stop

  monkeypatch.setattr(target_radii, 'drawn', stop)
  shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
  shutil.rmtree(tmp_path / 'checkpoints' / 'estimator-1')
  for number, fields in enumerate(({'certify.n': 99}, {'certify.n': 1_234})):
    (tmp_path / 'targets' / 'targets-1' / 'bounds.npz').unlink(missing_ok=True)
    with pytest.raises(Stop):
      loop.train(changed(**fields), tmp_path)
    assert asked[number][0] == fields['certify.n']
  assert (
    asked[0][1]
    == asked[1][1]
    == fit.initial_seed(tiny.get_config().seed, 'targets-1')
  )


def test_a_finished_training_is_left_alone(trained, monkeypatch):
  before = {
    path: path.stat().st_mtime_ns
    for path in trained.rglob('*')
    if path.is_file()
  }
  monkeypatch.delattr(checkpoints.Saver, 'save')
  loop.train(tiny.get_config(), trained)
  assert before == {path: path.stat().st_mtime_ns for path in before}


def test_another_configuration_is_refused_by_name(trained):
  config = tiny.get_config()
  with config.unlocked():
    config.seed = 1
    config.classifier.learning_rate = 0.5
  with pytest.raises(settings.SettingsMismatch) as error:
    loop.train(config, trained)
  assert 'seed is 0 there and 1 here' in str(error.value)
  assert 'classifier.learning_rate is 0.002 there and 0.5' in str(error.value)


def test_what_decides_no_weight_may_differ(trained):
  config = tiny.get_config()
  with config.unlocked():
    config.name = 'other'
    config.certify.n = 77
    config.checkpoint.keep = 9
    config.baselines = ()
  loop.train(config, trained)


def changed(**fields):
  config = tiny.get_config()
  with config.unlocked():
    config.update_from_flattened_dict(fields)
  return config


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'sigmas': (1.0, 0.25)}, 'sigmas must be positive and increasing'),
    ({'estimator_sigma': -1.0}, 'estimator_sigma must be positive'),
    ({'targets.of': 'cascade'}, "did you mean 'cascades'"),
    ({'rounds': 0}, 'rounds must be at least 1'),
    ({'seed': -1}, r'seed must be in \[0, 2\*\*32\)'),
    ({'classifier.shares': (1.0,)}, 'classifier.shares must hold one weight'),
    ({'estimator.loss': 'papr'}, "did you mean 'paper'"),
    ({'estimator.utility.name': 'raduis'}, "did you mean 'radius'"),
    ({'finetune.schedule': 'linear'}, 'schedule must be one of'),
    ({'finetune.optimizer': 'adam'}, 'optimizer must be one of'),
    ({'finetune.accumulate': 5}, 'finetune.accumulate must divide'),
    ({'classifier.steps': 0, 'finetune.steps': 0}, 'baselines are trained as'),
    ({'estimator.warmup_steps': 40}, r'warmup_steps must be in \[0, 40\)'),
    (
      {'targets.n': 9},
      'targets.n is 9, and no radius target is .* than 10 votes',
    ),
    ({'certify.n': 9}, 'certify.n, as targets.n is 0, is 9, and no radius'),
  ],
)
def test_bad_settings_leave_no_trace(tmp_path, fields, message):
  with pytest.raises(ValueError, match=message):
    loop.train(changed(**fields), tmp_path)
  assert not list(pathlib.Path(tmp_path).iterdir())


@pytest.mark.usefixtures('compiled_once')
def test_the_papers_loss_trains(tmp_path, caplog):
  caplog.set_level(logging.INFO, 'dualrs_jax')
  config = changed(
    **{
      'estimator.loss': 'paper',
      'estimator.utility.name': 'radius',
      'rounds': 2,
      'baselines': (),
    }
  )
  loop.train(config, tmp_path)
  names = ['classifier-0', 'estimator-1', 'classifier-1', 'estimator-2']
  assert recipe.stages(config) == [*names, 'classifier-2']
  assert 'targets-2: ' in caplog.text
  first, second = (tiny.weights(tmp_path, f'estimator-{r}', 2) for r in (1, 2))
  assert not np.array_equal(
    first['logits']['kernel'], second['logits']['kernel']
  )


@pytest.mark.usefixtures('compiled_once')
def test_targets_of_cascades(tmp_path):
  config = changed(**{'targets.of': 'cascades', 'baselines': ()})
  loop.train(config, tmp_path)
  folder = tmp_path / 'targets' / 'targets-1'
  shards = [np.load(path) for path in sorted(folder.glob('0*.npz'))]
  votes = np.concatenate([shard['counts'] for shard in shards])
  n = config.certify.n
  seed = fit.initial_seed(config.seed, 'targets-1')
  to_come = target_radii.drawn(
    votes, votes=config.targets.votes, n=n, seed=seed
  )
  kept = np.load(folder / 'bounds.npz')['counts']
  cascades, levels = (
    of(to_come, config.sigmas, n=n, alpha=config.targets.alpha)
    for of in (target_radii.of_cascades, target_radii.of_levels)
  )
  np.testing.assert_array_equal(kept, cascades)
  assert (kept[:, 1] > levels[:, 1]).any()


@pytest.mark.parametrize(
  ('steps', 'stages'),
  [
    (
      (60, 40),
      [('single-0.5-0', 'classifier', 60), ('single-0.5', 'finetune', 80)],
    ),
    ((60, 0), [('single-0.5', 'classifier', 60)]),
    ((0, 40), [('single-0.5', 'finetune', 80)]),
  ],
)
def test_a_baseline_has_the_options_of_the_classifier(
  monkeypatch, steps, stages
):
  config = tiny.get_config().copy_and_resolve_references().unlock()
  config.rounds = 2
  config.classifier.steps, config.finetune.steps = steps
  taken = []

  def fit_classifier(run, stage, model, options, levels, *, steps):
    named = next(n for n in ('classifier', 'finetune') if options is config[n])
    taken.append((stage, named, steps))
    assert levels == [0.5]
    return [*model, stage]

  monkeypatch.setattr(fitting, 'fit_classifier', fit_classifier)
  monkeypatch.setattr(fitting, 'new_classifier', lambda run: ['new'])
  monkeypatch.setattr(fitting, 'levels', lambda run, sigmas, shares: sigmas)
  fit_single = inspect.unwrap(fitting.fit_single)  # a run has much else
  found = fit_single(types.SimpleNamespace(config=config), 0.5)
  assert taken == stages
  assert found == ['new', *(stage for stage, *_ in stages)]
