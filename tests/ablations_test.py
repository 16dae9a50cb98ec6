"""The benchmarks that train networks in other ways, on a run of seconds."""

import functools

import numpy as np
import pytest

from benchmarks import architectures, estimator_ablations
from configs import cifar10
from tests.training import tiny

VARIANTS = estimator_ablations.VARIANTS


def test_every_variant_changes_fields_that_there_are():
  config = cifar10.get_config('small')
  for variant in VARIANTS.values():
    for field, changed in variant.options.items():
      *groups, last = field.split('.')
      group = functools.reduce(lambda part, name: part[name], groups, config)
      assert group[last] != changed, field
    assert variant.stage in ('classifier-0', 'classifier-1')


def test_experts_have_no_levels_but_their_own():
  assert estimator_ablations.possible(cifar10.get_config('small')) == [
    *VARIANTS
  ]
  names = estimator_ablations.possible(cifar10.get_config('routing'))
  assert [*VARIANTS][0] == names[0]
  assert set(VARIANTS) - set(names) == {'levels .5 1', 'levels .25 .35 .5 .7 1'}


def test_every_recipe_changes_fields_that_there_are():
  options = cifar10.get_config('small').classifier
  for candidate in architectures.CANDIDATES.values():
    for field, changed in candidate.recipe.items():
      assert options[field] != changed, field


@pytest.fixture
def ground(tmp_path_factory, tmp_path):
  config = tiny.get_config().copy_and_resolve_references().unlock()
  config.certify.radii = (0.0,)
  workdir = tiny.trained(tmp_path_factory.getbasetemp())
  with tiny.one_device():
    yield estimator_ablations.prepare(
      config, workdir, tmp_path, images=40, votes=30, steps=4
    )


@pytest.mark.slow
@pytest.mark.parametrize(
  'name', ['certificate', 'hard labels', '8 votes a target', 'levels .5 1']
)
def test_a_variant_is_trained_once_and_compared(ground, name):
  variant = VARIANTS[name]
  first = estimator_ablations.line(ground, name, variant)
  cells = first.strip('| ').split(' | ')
  assert cells[0] == name
  ratio, mean, best, certain, oracle, selected = cells[1:]
  assert 0 <= float(ratio) <= float(oracle) + 0.01
  assert mean == f'**{float(mean.strip("*")):.3f}**'
  assert float(certain) <= float(oracle)
  # The run's own levels are .25 and 1: they are the envelope of all variants.
  if not variant.sigmas:
    assert float(best) == 1
  assert sum(map(int, selected.split())) == pytest.approx(100, abs=1)
  [stage] = ground.output.glob('*/checkpoints/estimator-1')
  there = sorted((path, path.stat().st_mtime_ns) for path in stage.rglob('*'))
  again = estimator_ablations.line(ground, name, variant)
  assert again == first
  assert there == sorted(
    (path, path.stat().st_mtime_ns) for path in stage.rglob('*')
  )
  config, _ = estimator_ablations.train(ground, name, variant)
  assert tuple(config.sigmas) == (variant.sigmas or (0.25, 1.0))
  assert ground.config.estimator.steps != 4  # it is not changed


@pytest.mark.slow
def test_other_levels_have_votes_of_their_own(ground):
  own = ground.target_votes('classifier-0', 0.25)
  other = ground.target_votes('classifier-0', 0.5)
  assert own.shape == other.shape == (ground.config.targets.count, 2)
  assert not np.array_equal(own, other)
  folders = sorted(p.name for p in (ground.output / 'targets').iterdir())
  assert folders == ['classifier-0-1-0.5']  # those of the run are its own


@pytest.mark.slow
def test_architectures_are_trained_for_equal_times(tmp_path, monkeypatch):
  config = tiny.get_config()
  monkeypatch.setattr(architectures, '_TIMED', (2, 400))
  candidate = architectures.Candidate(tiny.SIZES, {'average': 0.5})
  monkeypatch.setattr(architectures, 'CANDIDATES', {'a tiny one': candidate})
  with tiny.one_device():
    found = architectures.measure(config, 'a tiny one', 1, tmp_path)
  assert found['steps'] >= 1
  assert np.shape(found['accuracy']) == (2,)
  assert 0.05 < np.mean(found['accuracy']) <= 1
  assert found['parameters'] > 1_000
  assert found['microseconds'] > 0
  trained = list(tmp_path.rglob('trained'))
  assert len(trained) == 1
  monkeypatch.setattr(architectures, 'train', None)
  assert architectures.measure(config, 'a tiny one', 1, tmp_path) == found


@pytest.mark.slow
def test_an_estimator_routes_between_experts(tmp_path_factory, tmp_path):
  trained = tiny.trained(tmp_path_factory.getbasetemp())
  config = tiny.get_config().copy_and_resolve_references().unlock()
  stages = 'classifier-0', 'single-0.5'
  config.model.classifier = {
    'experts': tuple(str(trained / 'checkpoints' / stage) for stage in stages)
  }
  config.certify.radii, config.baselines = (0.0,), ()
  config.classifier.steps = config.finetune.steps = 0
  with tiny.one_device():
    ground = estimator_ablations.prepare(
      config,
      tmp_path / 'routing',
      tmp_path / 'output',
      images=40,
      votes=30,
      steps=4,
    )
    row = estimator_ablations.line(
      ground, 'certificate', VARIANTS['certificate']
    )
    first, second = ground.classifier('classifier-0')
  assert row.startswith('| certificate | ')
  for expert, sigma in ((first, 0.25), (second, 1.0)):
    expected = ground.cast(expert, sigma)
    np.testing.assert_array_equal(
      ground.answers('classifier-0', sigma), expected
    )
  assert (ground.cast(first, 1.0) != ground.answers('classifier-0', 1.0)).any()
