"""Votes are added to rows: the same as if all had been cast at once."""

import contextlib
import itertools

import jax
import numpy as np
import pytest

from dualrs_jax.evaluation import certify_source, continuing, tsv
from dualrs_jax.runtime import preemption, shards
from dualrs_jax.runtime import settings as settings_lib
from dualrs_jax.runtime.processes import Place

OPEN = {'goal': 'full', 'radii': [], 'protocol': 'open'}
ALL = np.arange(12)


@pytest.fixture
def certify(estimator, classifier, source, settings, tmp_path):
  def run(directory, n, *, positions=ALL, **changes):
    return certify_source.certify_source(
      estimator,
      classifier,
      source,
      tmp_path / directory,
      settings=settings | OPEN | {'n': n} | changes.pop('settings', {}),
      seed=11,
      chunk_size=60,
      report_radii=(0.0,),
      devices=jax.local_devices()[:1],
      positions=positions,
      **changes,
    )

  return run


def timeless(rows):
  return sorted(row._replace(time=0.0) for row in rows)


def lines_of(folder):
  return (folder / certify_source.ROWS).read_text().splitlines()


def test_added_votes_are_those_that_follow(certify, tmp_path):
  first = certify('grown', 100)
  assert all(max(row.estimator_cast) <= 100 for row in first)
  grown = certify('grown', 400)
  votes = lambda rows: sum(row.estimator_cast[1] for row in rows)
  assert votes(grown) > votes(first)
  for old, new in zip(first, grown, strict=True):
    assert new == old or continuing.extends(
      new, old, OPEN | {'task': 'certify'}
    )
    assert new.time >= old.time
    assert new.radius >= old.radius - 1e-9 or new.predict == old.predict
  # What was asked for first made no difference to the votes themselves.
  before = {row.idx: row for row in grown}
  recorded = settings_lib.read(tmp_path / 'grown' / certify_source.SETTINGS)
  assert recorded['n'] == 400
  # Nothing is open.
  assert timeless(certify('grown', 400)) == timeless(grown)
  size = len(lines_of(tmp_path / 'grown'))
  # Rows have more votes than are asked for.
  assert timeless(certify('grown', 200)) == timeless(grown)
  assert len(lines_of(tmp_path / 'grown')) == size
  on_disk = tsv.read(tmp_path / 'grown' / certify_source.ROWS, recorded)
  assert timeless(on_disk) == timeless(before.values())
  again = certify('grown', 900)
  assert votes(again) > votes(grown)
  whole = certify('whole', 900)
  for one, other in zip(again, whole, strict=True):
    if one.classifier_cast == other.classifier_cast and (
      one.estimator_cast == other.estimator_cast
    ):
      assert one._replace(time=0.0) == other._replace(time=0.0)


def test_only_open_images_get_votes(certify, tmp_path):
  grid = {'settings': {'goal': 'radius', 'radii': [0.05]}}
  rows = certify('run', 150, **grid)
  decided = {row.idx for row in rows if row.predict != -1}
  assert 0 < len(decided) < 12
  old = len(lines_of(tmp_path / 'run'))
  again = certify('run', 2_000, **grid)
  assert decided < {row.idx for row in again if row.predict != -1}
  for before, after in zip(rows, again, strict=True):
    if before.idx in decided:
      assert timeless([before]) == timeless([after])
  added = lines_of(tmp_path / 'run')[old:]
  assert not {int(line.split('\t')[0]) for line in added} & decided


def test_killed_while_votes_are_added_it_goes_on(certify, tmp_path):
  for folder in ('whole', 'run'):
    certify(folder, 100)
  whole = certify('whole', 400)
  for patience in (3, 12):
    asked = itertools.count()
    stop = lambda asked=asked, patience=patience: next(asked) >= patience
    with contextlib.suppress(preemption.Preempted):
      certify('run', 400, preempted=stop)
    path = tmp_path / 'run' / certify_source.ROWS
    path.write_bytes(path.read_bytes() + b'100\t1\t')  # a torn line
  assert timeless(certify('run', 400)) == timeless(whole)


def test_several_processes_add_votes(certify, tmp_path):
  for folder in ('whole', 'run'):
    certify(folder, 100)
  whole = certify('whole', 400)
  for index in range(2):
    certify('run', 400, place=Place(index, 2))
  assert timeless(certify('run', 400)) == timeless(whole)
  assert not list((tmp_path / 'run').glob('rows-2*'))


def test_other_settings_than_n_are_compared(certify):
  certify('run', 100, positions=ALL[:2])
  for changed in (
    {'alpha': 0.02},
    {'n0': 30},
    {'goal': 'grid', 'radii': [0.1]},
  ):
    with pytest.raises(settings_lib.SettingsMismatch, match='run belongs'):
      certify('run', 100, positions=ALL[:2], settings=changed)


def test_without_open_bounds_an_image_has_one_row(certify, tmp_path):
  rows = certify('run', 100, positions=ALL[:2])
  recorded = settings_lib.read(tmp_path / 'run' / certify_source.SETTINGS)
  more = rows[0]._replace(
    estimator_cast=(20, 200), estimator_estimation=(90, 90, 20)
  )
  assert continuing.last_rows([rows[0], more], recorded, 'x') == [more]
  for wrong in (
    [more, rows[0]],  # votes cannot be taken back
    [rows[0], rows[0]],
    [rows[0], more._replace(label=rows[0].label + 1)],
    [rows[0], more._replace(estimator_selection=(0, 0, 20))],
  ):
    with pytest.raises(shards.CorruptShard, match='x, line 3'):
      continuing.last_rows(wrong, recorded, 'x')
  planned = {n: v for n, v in recorded.items() if n != 'protocol'}
  with pytest.raises(shards.CorruptShard, match='x, line 3'):
    continuing.last_rows([rows[0], more], planned, 'x')
