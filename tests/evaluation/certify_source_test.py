"""Certification to files: the rows of the images, wherever it was interrupted.

The rows are those of the certificates, in any order and by any number of runs.
"""

import dataclasses
import json
import pathlib
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dualrs_jax
from dualrs_jax import data
from dualrs_jax.evaluation import certify_source as module
from dualrs_jax.evaluation import memory, records, sampling, tsv, workers
from dualrs_jax.runtime import locks, preemption, shards
from dualrs_jax.runtime import settings as settings_lib
from dualrs_jax.runtime.processes import Place
from tests import programs
from tests.full_disk import full_disk
from tests.read_only import read_only

ALL = np.arange(12)

ADAPTIVE = {'goal': 'grid', 'radii': [0.0, 0.25]}
METHODS = {
  'fixed': {},
  'adaptive': ADAPTIVE,
  'lattice': ADAPTIVE | {'noise': 'lattice'},
}


@pytest.fixture
def certify(estimator, classifier, source, settings, tmp_path):
  """certify_source with defaults for everything but what a test changes."""

  def run(directory='run', positions=ALL, **changes):
    networks = {
      'estimator': changes.pop('estimator', estimator),
      'classifier': changes.pop('classifier', classifier),
    }
    arguments = {
      'settings': settings,
      'seed': 11,
      'chunk_size': 60,
      'report_radii': (0.0, 0.5),
      'devices': jax.local_devices()[:1],
      **{name: changes[name] for name in changes if name != 'source'},
    }
    return module.certify_source(
      *networks.values(),
      changes.get('source', source),
      tmp_path / directory,
      positions=positions,
      **arguments,
    )

  return run


def timeless(rows):
  return [row._replace(time=0.0) for row in rows]


def by_index(rows):
  """Adaptive runs write rows in the order in which images are decided."""
  return sorted(timeless(rows), key=lambda row: row.idx)


def written(directory):
  recorded = settings_lib.read(directory / module.SETTINGS)
  return tsv.read(directory / module.ROWS, recorded)


def test_rows_are_the_certificates_of_the_images(
  certify, estimator, classifier, source, settings, tmp_path
):
  rows = certify(positions=ALL[:3])
  for position, row in enumerate(rows):
    expected = dualrs_jax.certify_dual(
      estimator,
      classifier,
      data.to_unit(source.images[position]),
      jnp.asarray(settings['sigmas']),
      0.5,
      jax.random.fold_in(jax.random.key(11), source.indices[position]),
      n0=20,
      n=100,
      alpha=0.01,
      certificate=dualrs_jax.agreement,
      chunk_size=60,
    )
    assert row.idx == source.indices[position]
    assert row.label == source.labels[position]
    assert row.predict == expected.prediction
    assert 0 <= row.radius - expected.radius < 1e-6  # float32 rounds down
    level = int(expected.sigma_index)
    assert row.sigma == settings['sigmas'][level]
    np.testing.assert_array_equal(
      row.classifier_estimation[level],
      expected.classifier_counts.estimation[level],
    )
    assert row.time > 0
  assert timeless(written(tmp_path / 'run')) == timeless(rows)
  assert any(row.radius > 0 for row in rows)


@pytest.mark.parametrize('task', ['certify', 'predict'])
@pytest.mark.parametrize('smoothing', ['dual', 'single'])
def test_every_row_can_be_recomputed_from_the_files(
  certify, settings, tmp_path, task, smoothing
):
  settings |= {'task': task, 'smoothing': smoothing}
  if smoothing == 'single':
    settings |= {'sigmas': [0.25], 'estimator_sigma': None}
  rows = certify(**{'estimator': None} if smoothing == 'single' else {})
  recorded = settings_lib.read(tmp_path / 'run' / module.SETTINGS)
  on_disk = written(tmp_path / 'run')
  assert timeless(on_disk) == timeless(rows)
  for row in on_disk:
    assert records.recompute(row, recorded) == row
    stages = [row.classifier_estimation.get(row.sigma_index)]
    stages += [row.estimator_estimation] * (smoothing == 'dual')
    assert all(sum(votes) == 100 for votes in stages if votes is not None)
  assert len({row.predict for row in rows}) > 1


@pytest.mark.parametrize('method', METHODS)
def test_subset_order_and_interruption_do_not_show(
  certify, settings, tmp_path, method
):
  settings |= METHODS[method]
  whole = timeless(certify('whole'))
  certify('parts', positions=ALL[8:3:-2])
  parts = timeless(certify('parts'))
  assert parts == whole
  on_disk = written(tmp_path / 'parts')
  first = [row.idx for row in on_disk[:3]]
  if method == 'fixed':
    assert first == [108, 106, 104]
  assert sorted(first) == [104, 106, 108]
  assert by_index(on_disk) == by_index(whole) == whole
  before = (tmp_path / 'parts' / module.ROWS).read_bytes()
  assert timeless(certify('parts')) == whole  # nothing is left to do
  assert (tmp_path / 'parts' / module.ROWS).read_bytes() == before


@pytest.mark.parametrize(
  ('smoothing', 'method'),
  [('single', 'fixed'), ('dual', 'fixed'), ('dual', 'lattice')],
)
def test_rows_are_the_same_on_one_and_on_eight_devices(
  certify, settings, smoothing, method
):
  settings |= {'smoothing': smoothing, 'n': 400, **METHODS[method]}
  if smoothing == 'single':
    settings |= {'sigmas': [0.5]}
  assert jax.local_device_count() == 8
  one = certify('one', positions=ALL[:4], chunk_size=30)
  eight = certify('eight', positions=ALL[:4], chunk_size=30, devices=None)
  assert timeless(one) == timeless(eight)


def test_chunk_size_moves_no_vote_but_is_part_of_the_identity(
  certify, settings
):
  settings |= {'smoothing': 'single', 'sigmas': [0.5]}
  small = certify('small', positions=ALL[:3], chunk_size=7)
  assert timeless(small) == timeless(certify('large', positions=ALL[:3]))
  with pytest.raises(
    settings_lib.SettingsMismatch, match='chunk_size is 7 there and 60 here'
  ):
    certify('small')


def test_other_statistics_weights_or_seeds_are_refused(
  certify, classifier, settings, tmp_path
):
  certify(positions=ALL[:1])
  before = (tmp_path / 'run' / module.ROWS).read_bytes()
  other = jax.tree.map(lambda weights: weights + 1, classifier)
  for changes, message in (
    ({'settings': settings | {'alpha': 0.02}}, 'alpha is 0.01 there and 0.02'),
    ({'classifier': other}, 'weights.classifier is "'),
    ({'seed': 12}, 'seed is 11 there and 12 here'),
  ):
    with pytest.raises(settings_lib.SettingsMismatch, match=message):
      certify(**changes)
  assert (tmp_path / 'run' / module.ROWS).read_bytes() == before


def test_the_seed_is_on_the_disk_before_the_first_vote(
  certify, tmp_path, monkeypatch
):
  def spy(smoothed, examples, claimed, *_):
    recorded = json.loads((tmp_path / 'run' / module.SETTINGS).read_text())
    assert recorded['seed'] == claimed['seed'] == 11
    raise KeyboardInterrupt

  monkeypatch.setattr(sampling, 'cast', spy)
  with pytest.raises(KeyboardInterrupt):
    certify()


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'alpha': 1.5}, 'alpha'),
    ({'n': 6}, 'can never certify'),
    ({'certificate': 'paper', 'n': 7}, 'can never certify'),
    ({'n0': 0}, 'n0'),
    ({'sigmas': [0.25, 0.5, -1.0]}, 'sigmas must be positive'),
    ({'sigmas': [0.25, 0.5]}, 'chooses among 3 noise levels'),
    ({'task': 'predict', 'n': 7}, 'can never predict'),
  ],
)
def test_bad_statistics_are_refused_before_anything_is_written(
  certify, settings, tmp_path, changes, message
):
  with pytest.raises(ValueError, match=message):
    certify(settings=settings | changes)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('seed', [-1, 2**32])
def test_bad_seeds_are_refused(certify, tmp_path, seed):
  with pytest.raises(ValueError, match='seed must be in'):
    certify(seed=seed)
  assert not list(tmp_path.iterdir())


def batch_centred(network, images, sigma):
  """What batch normalisation in training mode does."""
  logits = network(images, sigma)
  return logits - logits.mean(axis=0, keepdims=True)


@pytest.mark.parametrize('role', ['estimator', 'classifier'])
def test_votes_that_depend_on_companions_are_refused(
  certify, estimator, tmp_path, role
):
  network = jax.tree_util.Partial(batch_centred, estimator)
  with pytest.raises(ValueError, match=f'^{role}: .*batch companions'):
    certify(**{role: network})
  assert not list(tmp_path.iterdir())


def test_a_torn_last_line_is_done_again(certify, tmp_path):
  rows = timeless(certify())
  path = tmp_path / 'run' / module.ROWS
  whole = path.read_bytes()
  path.write_bytes(whole[:-5])
  assert timeless(certify()) == rows
  assert timeless(written(path.parent)) == rows


def test_damage_in_the_middle_is_not_touched(certify, tmp_path):
  certify()
  path = tmp_path / 'run' / module.ROWS
  lines = path.read_text().splitlines()
  lines[4] = lines[4].replace('\t', ' ', 1)
  damaged = '\n'.join(lines) + '\n'
  path.write_text(damaged)
  with pytest.raises(shards.CorruptShard, match=r'rows\.tsv, line 5: '):
    certify()
  assert path.read_text() == damaged


def test_a_repeated_position_counts_once(certify, tmp_path):
  rows = certify(positions=np.array([3, 1, 3, 1]))
  assert [row.idx for row in rows] == [103, 101]
  assert timeless(written(tmp_path / 'run')) == timeless(rows)
  recorded = settings_lib.read(tmp_path / 'run' / module.SETTINGS)
  assert recorded['images'] == 2


def test_a_row_with_another_label_is_refused(certify, tmp_path):
  row = certify(positions=ALL[:1])[0]
  path = tmp_path / 'run' / module.ROWS
  other = row._replace(label=2 - row.label if row.label != 1 else 0)
  recorded = settings_lib.read(tmp_path / 'run' / module.SETTINGS)
  line = tsv.file_line(other, recorded)
  path.write_text(f'{tsv.file_header(recorded)}\n{line}\n')
  with pytest.raises(shards.CorruptShard, match='image 100 has label'):
    certify(positions=ALL[:1])


def test_settings_name_what_the_results_depend_on(certify, tmp_path):
  certify(positions=ALL[:2])
  recorded = settings_lib.read(tmp_path / 'run' / module.SETTINGS)
  assert recorded['versions']['jax'] == jax.__version__
  assert recorded['device_kind'] == jax.local_devices()[0].device_kind
  assert recorded['dtype'] == 'float32'
  assert recorded['images'] == 2
  assert {'git_revision', 'seed', 'chunk_size', 'num_classes'} <= set(recorded)


def test_what_is_said_of_the_compiler_is_not_compared(
  certify, tmp_path, caplog
):
  certify(positions=ALL[:2])
  path = tmp_path / 'run' / module.SETTINGS
  recorded = settings_lib.read(path)
  assert recorded['compiler']['wrong_rows'] == 0
  del recorded['compiler']  # as before it was recorded
  path.write_text(json.dumps(recorded))
  assert len(certify(positions=ALL[:3])) == 3
  assert 'compiler = not set' in caplog.text


@pytest.mark.parametrize('name', ['images', 'labels'])
def test_another_source_is_refused(certify, source, tmp_path, name):
  certify(positions=ALL[:1])
  changed = getattr(source, name).copy()
  changed[-1] = (changed[-1] + 1) % 3
  other = dataclasses.replace(source, **{name: changed})
  with pytest.raises(settings_lib.SettingsMismatch, match='source is "'):
    certify(positions=ALL[:1], source=other)


def test_the_bar_shows_running_certified_accuracy(certify, capsys):
  rows = certify(positions=ALL[:5])
  shown = capsys.readouterr().err
  share = np.mean([row.correct for row in rows])
  assert f'{share:.1%} at r=0' in shown
  assert 'at r=0.5' in shown


def test_only_the_first_process_draws(certify, capsys):
  certify(positions=ALL[:2], place=Place(1, 2))
  assert not capsys.readouterr().err
  certify(positions=ALL[:2], place=Place(0, 2))
  assert '2/2 [' in capsys.readouterr().err


@pytest.mark.parametrize('method', ['fixed', 'lattice'])
def test_rows_do_not_depend_on_who_shares_them(
  certify, settings, tmp_path, method
):
  settings |= METHODS[method]
  alone = timeless(certify('alone'))
  shared = [certify('shared', place=Place(k, 4)) for k in range(4)]
  assert [len(rows) for rows in shared] == [3, 6, 9, 12]
  assert timeless(shared[-1]) == alone
  certify('resumed', positions=ALL[:3])
  certify('resumed', place=Place(0, 2))
  before = rows_in_files(tmp_path / 'resumed')
  assert before == {'rows.tsv': 3, 'rows-0-of-2.tsv': 5}
  resumed = [certify('resumed', place=Place(k, 3)) for k in range(3)]
  assert timeless(resumed[-1]) == alone
  added = {'rows-0-of-3.tsv': 2, 'rows-1-of-3.tsv': 1, 'rows-2-of-3.tsv': 1}
  assert rows_in_files(tmp_path / 'resumed') == before | added
  for directory in (tmp_path / 'shared', tmp_path / 'resumed'):
    recorded = settings_lib.read(directory / module.SETTINGS)
    asked = range(100, 112)
    assert workers.merge(directory, recorded, asked, partly=False) == []
    assert timeless(written(directory)) == alone


def rows_in_files(directory):
  return {
    path.name: path.read_text().count('\n') - 1
    for path in directory.glob('rows*')
  }


def test_the_settings_say_what_was_asked_for_last(certify, tmp_path):
  for images in (3, 5, 2):
    certify(positions=ALL[:images])
    found = settings_lib.read(tmp_path / 'run' / module.SETTINGS)
    assert found['images'] == images
    assert len(found['asked'].split()) == images


def test_two_processes_cannot_take_one_place(certify, tmp_path, monkeypatch):
  monkeypatch.setattr(locks, 'PATIENCE_SECONDS', 0.2)
  certify(place=Place(0, 2))
  path = tmp_path / 'run' / 'rows-0-of-2.tsv'
  recorded = settings_lib.read(tmp_path / 'run' / module.SETTINGS)
  with (
    workers.open_own(tmp_path / 'run', recorded, Place(0, 2)),
    pytest.raises(locks.InUse, match=str(path)),
  ):
    certify(place=Place(0, 2), positions=ALL[:3])
  after = settings_lib.read(tmp_path / 'run' / module.SETTINGS)
  assert after == recorded, 'who was refused has asked for nothing'


def test_who_chose_a_chunk_size_later_takes_that_of_the_first(
  certify, settings, tmp_path, monkeypatch
):
  settings |= {'smoothing': 'single', 'sigmas': [0.5]}
  checked = []
  check = sampling.check_independence

  def spy(smoothed, *arguments):
    checked.append(smoothed.chunk_size)
    check(smoothed, *arguments)

  def choose(*_):
    certify(positions=ALL[:1], chunk_size=30)  # somebody is faster
    return 40

  monkeypatch.setattr(sampling, 'check_independence', spy)
  monkeypatch.setattr(memory, 'choose_chunk_size', choose)
  certify(positions=ALL[:2], chunk_size=0)
  recorded = settings_lib.read(tmp_path / 'run' / module.SETTINGS)
  assert recorded['chunk_size'] == 30
  assert checked == [30, 40, 30]


@pytest.mark.parametrize('method', ['fixed', 'lattice'])
def test_preempted_it_has_kept_what_was_decided(
  certify, settings, tmp_path, method
):
  settings |= METHODS[method]
  rows = tmp_path / 'run' / module.ROWS
  steps = []

  def preempted():
    steps.append(rows.read_text().count('\n') - 1)
    return steps[-1] >= 3

  with pytest.raises(
    preemption.Preempted, match=r'preempted with (\d+) of 12 images in '
  ) as error:
    certify(preempted=preempted)
  kept = timeless(written(tmp_path / 'run'))
  assert steps == sorted(steps)
  assert len(kept) == steps[-1] < 12
  assert f'with {len(kept)} of 12' in str(error.value)
  if method == 'fixed':
    assert steps == [0, 1, 2, 3]
  else:
    assert len(steps) > 12
  whole = timeless(certify())
  assert whole == timeless(certify('undisturbed'))
  assert timeless(written(tmp_path / 'run'))[: len(kept)] == kept


def test_a_full_disk_is_told_and_loses_nothing(certify, tmp_path):
  whole = timeless(certify('whole'))
  certify(positions=ALL[:1])
  path = tmp_path / 'run' / module.ROWS
  settings = (tmp_path / 'run' / module.SETTINGS).stat().st_size
  room = max(path.stat().st_size + 700, settings + 100)
  with full_disk(room), pytest.raises(OSError, match=str(path)):
    certify()
  kept = timeless(written(path.parent))
  assert 1 < len(kept) < 12
  assert kept == whole[: len(kept)]
  assert timeless(certify()) == whole


def test_a_folder_that_cannot_be_written_to_is_named(certify, tmp_path):
  certify(positions=ALL[:3])
  kept = timeless(written(tmp_path / 'run'))
  with (
    read_only(tmp_path / 'run'),
    pytest.raises(PermissionError, match=str(tmp_path / 'run')),
  ):
    certify()
  assert timeless(written(tmp_path / 'run')) == kept
  assert timeless(certify()) == timeless(certify('undisturbed'))


def test_a_clock_that_jumps_does_not_show(certify, monkeypatch):
  clock = iter(range(10**9, 0, -(10**5)))
  monkeypatch.setattr(time, 'time', lambda: float(next(clock)))
  rows = certify(positions=ALL[:3])
  assert all(0 < row.time < 1000 for row in rows)


KILLED = """
import pathlib, sys
import jax, numpy as np
sys.path.insert(0, {tests!r})
import conftest
from dualrs_jax.evaluation import certify_source

certify_source.certify_source(
  conftest.network(conftest.PATTERNS[3:]),
  conftest.network(conftest.PATTERNS[:3]),
  conftest.make_source({images}), pathlib.Path(sys.argv[1]),
  settings={settings!r}, seed=5, chunk_size={chunk_size},
  positions=np.arange({images}), report_radii=(0.0,))
"""


@pytest.mark.parametrize(
  ('method', 'n', 'images', 'chunk_size'),
  [('fixed', 10_000, 40, 1000), ('adaptive', 500, 100, 50)],
)
def test_killed_at_any_moment_it_goes_on_where_it_was(
  certify, source_of, settings, tmp_path, method, n, images, chunk_size
):
  settings |= {'n': n, **METHODS[method]}
  program = tmp_path / 'program.py'
  program.write_text(
    KILLED.format(
      tests=str(pathlib.Path(__file__).parent),
      settings=settings,
      images=images,
      chunk_size=chunk_size,
    )
  )
  directory = tmp_path / 'run'
  rows = directory / module.ROWS

  def lines():
    return rows.read_bytes().count(b'\n') if rows.exists() else 0

  killed = programs.Program(program, directory)
  killed.until(lambda: lines() >= 12)
  killed.send(signal.SIGKILL)
  assert killed.end().status == -signal.SIGKILL
  kept = rows.read_bytes()
  assert 12 <= lines() < images
  programs.check([programs.Program(program, directory).end()], [0])
  last_line = kept.rfind(b'\n') + 1
  assert rows.read_bytes().startswith(kept[:last_line])
  found = written(directory)
  undisturbed = certify(
    'undisturbed',
    source=source_of(images),
    positions=np.arange(images),
    seed=5,
    chunk_size=chunk_size,
  )
  assert by_index(found) == timeless(undisturbed)
  recorded = settings_lib.read(directory / module.SETTINGS)
  for row in found:
    assert records.recompute(row, recorded) == row
    if method == 'fixed':
      assert sum(row.estimator_estimation) == n
