import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from dualrs_jax import checkpoints, confidence, data, models, sharding
from dualrs_jax.evaluation import certify_dataset as module
from dualrs_jax.evaluation import (
  certify_source,
  merge_dataset,
  records,
  run_settings,
  warned,
)
from dualrs_jax.runtime import settings
from dualrs_jax.runtime.processes import Place

CNN = {
  'name': 'cnn',
  'channels': (4,),
  'kernels': (8,),
  'strides': (8,),
  'hidden': 8,
  'embedding': 4,
}


def make_config(**certify):
  config = ConfigDict(
    {
      'name': 'tiny',
      'data': {'name': 'digits', 'renderings': 1},
      'sigmas': (0.25, 1.0),
      'estimator_sigma': 0.5,
      'rounds': 1,
      'model': {
        'denoiser': {},
        'classifier': dict(CNN),
        'estimator': dict(CNN),
      },
      'classifier': {'steps': 1},
      'finetune': {'steps': 1},
      'certify': {
        'task': 'certify',
        'smoothing': 'dual',
        'protocol': 'fixed',
        'goal': 'grid',
        'tolerance': 0.0,
        'levels': (),
        'noise': 'auto',
        'certificate': 'agreement',
        'classifier': '',
        'estimator': '',
        'label': '',
        'split': 'test',
        'start': 3,
        'stride': 7,
        'count': 2,
        'n0': 10,
        'n': 50,
        'alpha': 0.01,
        'chunk_size': 60,
        'radii': (0.0, 0.5, 1.0),
        'spread': 'images',
        'seed': 4,
      },
    }
  )
  config.certify.update(certify)
  return config.lock()


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
  """Programs for eight devices take longer to compile than these tests."""
  mesh = sharding.votes_mesh(jax.local_devices()[:1])
  monkeypatch.setattr(sharding, 'votes_mesh', lambda devices: mesh)


@pytest.fixture(scope='session')
def workdir(tmp_path_factory):
  """Random networks, saved as training saves them."""
  directory = tmp_path_factory.mktemp('workdir')
  widths = {
    'classifier-0': 10,
    'classifier-1': 10,
    'estimator-1': 2,
    'single-1': 10,
  }
  for seed, (stage, width) in enumerate(widths.items()):
    model = models.create(
      **CNN, num_classes=width, image_shape=(32, 32, 1), seed=seed
    )
    with checkpoints.Saver(directory / 'checkpoints' / stage, keep=1) as saver:
      state = {checkpoints.MODEL: checkpoints.model_state(model)}
      saver.save(1, state, {})
  return directory


@pytest.fixture
def fresh(workdir, tmp_path):
  """The same networks in a directory without certifications."""
  (tmp_path / 'checkpoints').symlink_to(workdir / 'checkpoints')
  return tmp_path


def timeless(rows):
  return [row._replace(time=0.0) for row in rows]


def folder(workdir, label):
  return workdir / certify_source.FOLDER / label


def test_dual_certification_of_a_subset(fresh):
  rows = module.certify_dataset(make_config(), fresh)
  source = data.load('digits', 'test', renderings=1)
  assert [row.idx for row in rows] == source.indices[[3, 10]].tolist()
  assert [row.label for row in rows] == source.labels[[3, 10]].tolist()
  recorded = settings.read(
    folder(fresh, 'dual-agreement-fixed') / 'settings.json'
  )
  assert recorded['seed'] == 4
  assert recorded['stages'] == {
    'classifier': 'classifier-1',
    'estimator': 'estimator-1',
  }
  assert recorded['model']['estimator']['embedding'] == CNN['embedding']
  assert recorded['data'] == {'name': 'digits', 'renderings': 1}
  for row in rows:
    records.check(row, recorded)
  text = module.report_dataset(make_config(), fresh)
  assert text.startswith('dual-agreement-fixed\n  2 images of digits (test)')
  assert (
    folder(fresh, 'dual-agreement-fixed') / 'figures/examples.png'
  ).exists()
  more = module.certify_dataset(make_config(count=3), fresh)
  assert timeless(more[:2]) == timeless(rows)


def test_the_cap_of_the_estimator_is_what_its_unanimous_votes_give(caplog):
  config = make_config(n=10_000, alpha=0.001, certificate='paper')
  with config.unlocked():
    config.update(sigmas=(0.25, 1.0), estimator_sigma=0.5)
  [run] = module.prepare(config, Place()).runs
  cap = warned.radius_cap(config, run)
  assert cap == 0.5 * confidence.lower_z(10_000, 0.0005)[-1]
  assert cap == pytest.approx(3.1709 * 0.5, abs=1e-4)
  warned.warn_of_radius_cap(config, run)
  assert 'estimator_sigma 0.5 is below the largest of sigmas, 1' in caplog.text
  assert 'at most 1.585 (n = 10000)' in caplog.text


@pytest.mark.parametrize(
  ('estimator_sigma', 'radii', 'felt'),
  [
    (0.5, (0.0, 1.58), False),
    (0.5, (0.0, 1.59), True),
    (1.0, (9.0,), False),
  ],
)
def test_a_cap_beyond_the_radii_is_not_told(
  caplog, estimator_sigma, radii, felt
):
  config = make_config(
    n=10_000, alpha=0.001, certificate='paper', protocol='adaptive', radii=radii
  )
  with config.unlocked():
    config.update(sigmas=(0.25, 1.0), estimator_sigma=estimator_sigma)
  [run] = module.prepare(config, Place()).runs
  warned.warn_of_radius_cap(config, run)
  assert bool(caplog.text) == felt
  caplog.clear()
  with config.unlocked():
    config.sigmas = (1.0,)  # nothing is chosen
  [run] = module.prepare(config, Place()).runs
  warned.warn_of_radius_cap(config, run)
  assert not caplog.text


def test_the_cap_of_the_estimator_is_told_with_its_number(fresh, caplog):
  module.certify_dataset(make_config(count=1), fresh)
  assert 'keeps its choice is at most 0.6' in caplog.text
  caplog.clear()
  module.certify_dataset(make_config(count=1, smoothing='single'), fresh)
  assert not caplog.text


def test_adaptive_certification_of_a_subset(fresh):
  config = make_config(protocol='adaptive', n=200, radii=(0.0, 0.25))
  rows = module.certify_dataset(config, fresh)
  recorded = settings.read(folder(fresh, 'dual-agreement') / 'settings.json')
  assert (recorded['goal'], recorded['noise']) == ('grid', 'lattice')
  assert recorded['radii'] == [0.0, 0.25]
  assert 0 < recorded['noise_alpha'] < 1e-6
  for row in rows:
    records.check(row, recorded)
    assert row.radius in (0.0, 0.25)
  text = module.report_dataset(config, fresh)
  assert 'up to n = 200 votes to decide r = 0, 0.25' in text
  assert 'mean votes per image' in text
  figures = folder(fresh, 'dual-agreement') / 'figures'
  assert (figures / 'certified_accuracy.png').exists()
  assert not (figures / 'vote_probabilities.png').exists()
  full = make_config(
    protocol='adaptive', n=200, goal='full', smoothing='single'
  )
  assert len(module.certify_dataset(full, fresh)) == 4
  assert 'single-1-full' in module.report_dataset(full, fresh)


def test_plain_smoothing_at_every_sigma(fresh):
  config = make_config(smoothing='single', count=1)
  rows = module.certify_dataset(config, fresh)
  assert [row.sigma for row in rows] == [0.25, 1.0]
  text = module.report_dataset(config, fresh)
  assert 'single-0.25-fixed\n' in text
  assert 'single-1-fixed\n' in text


def test_predictions_without_radii(fresh):
  config = make_config(task='predict', smoothing='single', count=1)
  module.certify_dataset(config, fresh)
  path = folder(fresh, 'predict-single-1') / 'rows.tsv'
  assert path.read_text().startswith('idx\tlabel\tpredict\tcorrect\ttime\t')


def test_predictions_stop_and_are_checked_when_read(fresh):
  config = make_config(task='predict', protocol='adaptive', count=4)
  rows = module.certify_dataset(config, fresh)
  path = folder(fresh, 'predict-dual-agreement-adaptive') / 'rows.tsv'
  assert 'radius' not in path.read_text().split('\n')[0]
  assert {row.radius for row in rows} == {0.0}
  assert all(max(row.estimator_cast) > 0 for row in rows)
  again = module.certify_dataset(config, fresh)
  assert [row._replace(time=0.0) for row in again] == [
    row._replace(time=0.0) for row in rows
  ]
  assert 'to decide the class' in module.report_dataset(config, fresh)


def test_one_fresh_seed_serves_all_runs_of_a_directory(fresh):
  for changes in ({}, {'smoothing': 'single'}):
    config = make_config(seed=-1, count=1, **changes)
    module.certify_dataset(config, fresh)
  folders = list((fresh / certify_source.FOLDER).glob('*/settings.json'))
  assert len(folders) == 3
  seeds = {settings.read(path)['seed'] for path in folders}
  drawn = settings.read(fresh / certify_source.FOLDER / 'seed.json')
  assert seeds == {drawn['seed']}


@pytest.mark.parametrize(
  ('changes', 'labels', 'certificate'),
  [
    ({}, ['dual-agreement-fixed'], 'agreement'),
    ({'certificate': 'minimum'}, ['dual-minimum-fixed'], 'minimum'),
    ({'certificate': 'paper'}, ['dual-paper-fixed'], 'paper'),
    ({'protocol': 'paper'}, ['dual-paper-protocol'], 'paper'),
    ({'task': 'predict'}, ['predict-dual'], None),
    ({'smoothing': 'single'}, ['single-0.25-fixed', 'single-1-fixed'], None),
    (
      {'smoothing': 'single', 'task': 'predict'},
      ['predict-single-0.25', 'predict-single-1'],
      None,
    ),
    (
      {'smoothing': 'single', 'classifier': 'classifier-0'},
      ['single-0.25-fixed-of-classifier-0', 'single-1-fixed-of-classifier-0'],
      None,
    ),
    (
      {'smoothing': 'single', 'classifier': 'single-1'},
      ['single-1-fixed-of-single-1'],
      None,
    ),
    (
      {'smoothing': 'single', 'classifier': 'single-1-0'},
      ['single-1-fixed-of-single-1-0'],
      None,
    ),
    ({'split': 'validation'}, ['dual-agreement-fixed-validation'], 'agreement'),
    ({'classifier': 'classifier-1'}, ['dual-agreement-fixed'], 'agreement'),
    ({'protocol': 'adaptive'}, ['dual-agreement'], 'agreement'),
    (
      {'protocol': 'adaptive', 'goal': 'full', 'smoothing': 'single'},
      ['single-0.25-full', 'single-1-full'],
      None,
    ),
    (
      {'protocol': 'adaptive', 'goal': 'radius', 'radii': (0.5,)},
      ['dual-agreement-radius-0.5'],
      'agreement',
    ),
    ({'protocol': 'open'}, ['dual-agreement-open'], 'agreement'),
    (
      {'protocol': 'adaptive', 'task': 'predict'},
      ['predict-dual-agreement-adaptive'],
      'agreement',
    ),
    (
      {'protocol': 'adaptive', 'goal': 'full', 'tolerance': 0.02},
      ['dual-agreement-full-within-0.02'],
      'agreement',
    ),
    ({'label': 'again'}, ['again'], 'agreement'),
    (
      {'label': 'again', 'smoothing': 'single'},
      ['again-0.25', 'again-1'],
      None,
    ),
    (
      {'label': 'x', 'smoothing': 'single', 'classifier': 'single-1'},
      ['x-1-of-single-1'],
      None,
    ),
  ],
)
def test_labels_tell_runs_apart(changes, labels, certificate):
  config = make_config(**changes)
  runs = run_settings.runs(config)
  assert [run_settings.label(config, run) for run in runs] == labels
  assert {run['certificate'] for run in runs} == {certificate}


@pytest.mark.parametrize(
  'certificate', ['agreement', 'minimum', 'paper', 'fallback']
)
def test_the_protocol_of_the_paper_is_its_statistics_exactly(certificate):
  options = {'n0': 10, 'n': 50, 'alpha': 0.01, 'certificate': certificate}
  [run] = run_settings.runs(make_config(protocol='paper', **options))
  assert (run['n0'], run['n'], run['alpha']) == (100, 10_000, 0.001)
  assert run['certificate'] == 'paper'
  [fixed] = run_settings.runs(make_config(protocol='fixed', **options))
  assert {name: fixed[name] for name in options} == options
  [predicts] = run_settings.runs(make_config(protocol='paper', task='predict'))
  assert (predicts['n0'], predicts['n']) == (None, 10_000)


@pytest.mark.parametrize(
  ('options', 'expected'),
  [
    ({'start': 0, 'stride': 1, 'count': 0}, list(range(10))),
    ({'start': 0, 'stride': 1, 'count': 3}, [0, 1, 2]),
    ({'start': 1, 'stride': 4, 'count': 0}, [1, 5, 9]),
    ({'start': 1, 'stride': 4, 'count': 2}, [1, 5]),
    ({'start': 9, 'stride': 4, 'count': 5}, [9]),
  ],
)
def test_count_is_a_count_and_start_a_position(options, expected):
  np.testing.assert_array_equal(run_settings.subset(10, **options), expected)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'start': 10, 'stride': 1, 'count': 0}, 'leaves none of the 10 images'),
    ({'start': -1, 'stride': 1, 'count': 0}, 'must not be negative'),
    ({'start': 0, 'stride': 0, 'count': 0}, 'stride must be positive'),
    ({'start': 0, 'stride': 1, 'count': -5}, 'must not be negative'),
  ],
)
def test_bad_subsets_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    run_settings.subset(10, **options)


@pytest.mark.parametrize(
  ('changes', 'error', 'message'),
  [
    ({'task': 'certfy'}, ValueError, "did you mean 'certify'"),
    (
      {'smoothing': 'none'},
      ValueError,
      'smoothing must be one of dual, single',
    ),
    ({'certificate': 'papers'}, ValueError, "did you mean 'paper'"),
    ({'split': 'tests'}, ValueError, 'split must be one of'),
    ({'seed': -2}, ValueError, 'certify.seed must be -1'),
    ({'label': '../x'}, ValueError, 'certify.label must be the name'),
    (
      {'smoothing': 'single', 'classifier': 'single-0.3'},
      ValueError,
      "'single-0.3' was trained at a noise level that is not among sigmas",
    ),
    ({'label': '..'}, ValueError, 'certify.label must be the name'),
    ({'seed': 2**32}, ValueError, r'seed must be in \[0, 2\*\*32\)'),
    ({'noise': 'published'}, ValueError, 'and there is no denoiser'),
    ({'n0': 0}, ValueError, 'certify: n0 must be at least 1, not 0'),
    (
      {'protocol': 'adaptive', 'n0': 0},
      ValueError,
      'certify: n0 must be at least 1, not 0',
    ),
    (
      {'protocol': 'adaptive', 'n': 10, 'alpha': 0.001},
      ValueError,
      'certify: n = 10 votes can never certify at alpha = 0.001',
    ),
    (
      {'task': 'predict', 'n': 5},
      ValueError,
      'certify: n = 5 votes can never predict',
    ),
    (
      {'task': 'predict', 'n': 11, 'alpha': 0.001},
      ValueError,
      'certify: n = 11 votes can never predict at alpha = 0.001, of which a'
      ' bound has 0.0005',
    ),
    ({'start': 500}, ValueError, 'certify.start = 500 leaves none of the'),
    ({'alpha': 1.5}, ValueError, 'alpha'),
    ({'n': 6}, ValueError, 'can never certify'),
    ({'classifier': 'classifier-7'}, checkpoints.CheckpointError, 'no checkp'),
    (
      {'classifier': 'estimator-1'},
      checkpoints.CheckpointError,
      'another architecture',
    ),
  ],
)
def test_mistakes_are_told_and_leave_nothing(fresh, changes, error, message):
  with pytest.raises(error, match=message):
    module.certify_dataset(make_config(**changes), fresh)
  assert not list(fresh.glob('certify/*/'))


def test_a_directory_of_another_configuration_is_refused(fresh):
  config = make_config()
  recorded = {name: config.to_dict()[name] for name in ('sigmas', 'model')}
  settings.claim(fresh / 'settings.json', recorded | {'sigmas': (0.25, 0.5)})
  with pytest.raises(
    settings.SettingsMismatch,
    match=r'sigmas is \[0\.25, 0\.5\] there and \[0\.25, 1\.0\] here',
  ):
    module.certify_dataset(config, fresh)


def test_other_statistics_do_not_mix(fresh):
  module.certify_dataset(make_config(count=1), fresh)
  with pytest.raises(
    settings.SettingsMismatch,
    match='n is 50 there and 60 here; choose another --config.certify.label',
  ):
    module.certify_dataset(make_config(count=1, n=60), fresh)
  again = make_config(count=1, n=60, seed=5, label='again')
  [row] = module.certify_dataset(again, fresh)
  assert sum(row.estimator_estimation) == 60
  assert module.report_dataset(again, fresh).startswith('again\n')
  assert settings.read(folder(fresh, 'again') / 'settings.json')['seed'] == 5
  assert (
    settings.read(folder(fresh, 'dual-agreement-fixed/settings.json'))['n']
    == 50
  )


def test_votes_spread_over_the_processes_of_one_run_only(fresh):
  config = make_config(spread='votes')
  assert len(module.certify_dataset(config, fresh)) == 2
  with pytest.raises(ValueError, match='votes. takes processes of one run'):
    module.certify_dataset(config, fresh, Place(0, 2))


def test_a_merge_names_what_is_missing_by_label(fresh):
  config = make_config(smoothing='single', count=3)
  labels = ['single-0.25-fixed', 'single-1-fixed']
  images = [3, 10, 17]
  with pytest.raises(FileNotFoundError, match='no single-0.25-fixed or single'):
    merge_dataset.merge_dataset(config, fresh, partly=True)
  rows = module.certify_dataset(config, fresh, Place(1, 2))
  assert [row.idx for row in rows] == [10] * 2
  missing = dict.fromkeys(labels, [3, 17])
  assert merge_dataset.merge_dataset(config, fresh, partly=False) == missing
  assert not (folder(fresh, labels[0]) / 'rows.tsv').exists()
  rows = module.certify_dataset(config, fresh, Place(0, 2))
  assert [row.idx for row in rows] == images * 2
  missing = dict.fromkeys(labels, [])
  assert merge_dataset.merge_dataset(config, fresh, partly=False) == missing
  for name in labels:
    found = [path.name for path in folder(fresh, name).glob('rows*')]
    assert found == ['rows.tsv']
  with pytest.raises(settings.SettingsMismatch, match='n is 50 there and 70'):
    merge_dataset.merge_dataset(
      make_config(smoothing='single', n=70), fresh, partly=True
    )


def test_what_rows_need_is_not_made_anew_for_them(fresh):
  config = make_config(count=1, seed=-1)
  [row] = module.certify_dataset(config, fresh)
  run = folder(fresh, 'dual-agreement-fixed')
  (fresh / certify_source.FOLDER / 'seed.json').unlink()
  with pytest.raises(
    settings.SettingsMismatch, match='seed.json is gone.*choose another --conf'
  ):
    module.certify_dataset(config, fresh)
  seed = settings.read(run / 'settings.json')['seed']
  (run / 'settings.json').unlink()
  for merge in (True, False):
    with pytest.raises(
      settings.SettingsMismatch, match=r'rows without the settings\.json'
    ):
      merge_dataset.merge_dataset(config, fresh, partly=merge)
  with pytest.raises(
    settings.SettingsMismatch,
    match=r'rows without the settings\.json.*choose another --config.certify',
  ):
    module.certify_dataset(make_config(count=1, seed=seed ^ 1), fresh)
  assert not (run / 'settings.json').exists()
  again = module.certify_dataset(make_config(count=1, seed=seed), fresh)
  assert timeless(again) == timeless([row])


@pytest.mark.parametrize(
  ('meta', 'message'),
  [
    ({'stage': 'classifier-1'}, 'is that of classifier-1, not of estimator-1'),
    (
      {'settings': {'sigmas': [0.25, 0.5], 'seed': 1}},
      r'sigmas is \[0\.25, 0\.5\] there and \[0\.25, 1\.0\] here',
    ),
  ],
)
def test_a_checkpoint_of_something_else_is_refused(
  workdir, tmp_path, meta, message
):
  checkpoint = tmp_path / 'checkpoints' / 'classifier-1'
  checkpoint.parent.mkdir()
  checkpoint.symlink_to(workdir / 'checkpoints' / 'classifier-1')
  model = models.create(**CNN, num_classes=2, image_shape=(32, 32, 1), seed=2)
  with checkpoints.Saver(checkpoint.with_name('estimator-1'), keep=1) as saver:
    saver.save(1, {checkpoints.MODEL: checkpoints.model_state(model)}, meta)
  error = (settings.SettingsMismatch, checkpoints.CheckpointError)
  with pytest.raises(error, match=message):
    module.certify_dataset(make_config(), tmp_path)
  assert not (tmp_path / certify_source.FOLDER).exists()


def test_a_folder_that_cannot_be_written_to_is_an_error_of_the_system(fresh):
  (fresh / certify_source.FOLDER).symlink_to('/sys')
  with pytest.raises(OSError, match='/certify/dual-agreement-fixed'):
    module.certify_dataset(make_config(), fresh)


@pytest.mark.parametrize(
  ('protocol', 'noise', 'expected'),
  [
    ('paper', 'auto', 'gaussian'),
    ('paper', 'published', 'published'),
    ('fixed', 'auto', 'gaussian'),
    ('fixed', 'lattice', 'lattice'),
    ('adaptive', 'auto', 'lattice'),
    ('adaptive', 'gaussian', 'gaussian'),
  ],
)
def test_the_noise_that_is_asked_for(protocol, noise, expected):
  [run] = run_settings.runs(make_config(protocol=protocol, noise=noise))
  assert run['noise'] == expected
