"""Batches are those of the order, whoever decodes them, until it ends."""

import dataclasses
import itertools
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import unittest.mock
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from dualrs_jax import data
from dualrs_jax.data import loader, worker

ORDER = [
  loader.Request(np.array([3, 1, 4, 15, 92]), (0, 1)),
  loader.Request(np.array([6, 5, 35])),
  loader.Request(np.array([89]), (0, 1)),
  loader.Request(np.array([79, 3, 23, 84, 6]), (0, 2)),
]


@pytest.fixture(scope='module')
def source(imagenet):
  return imagenet('train')


def check(batches, source):
  batches = list(batches)
  assert len(batches) == len(ORDER)
  for batch, (positions, stream) in zip(batches, ORDER, strict=True):
    images, labels = source.gather(positions, stream=stream)
    assert isinstance(batch.images, jax.Array)
    assert np.array_equal(batch.images, images)
    assert np.array_equal(batch.labels, labels)


@pytest.mark.parametrize('ahead', [1, 3, 9])
def test_a_thread_reads_what_was_ordered(source, ahead):
  check(loader.batches(source, ORDER, ahead=ahead), source)


def test_workers_read_the_same_and_report_what_fails(source):
  """One start of the workers for all that needs them: it takes seconds."""
  beyond = loader.Request(np.array([3, 120]))
  batches = loader.batches(source, [*ORDER, beyond], workers=2, ahead=1)
  check(itertools.islice(batches, len(ORDER)), source)
  with pytest.raises(IndexError, match='out of bounds'):
    next(batches)


class Stubborn(ValueError):
  """An error that another process cannot make again."""

  def __init__(self, file, record):
    super().__init__(f'record {record} of {file} is damaged')


def test_an_error_that_cannot_be_sent_arrives_as_its_text(source, monkeypatch):
  def fail(*_):
    raise Stubborn('shard', 3)

  monkeypatch.setattr(type(source.images), '__getitem__', fail)
  task = worker.Task(0, slice(0, 1), np.array([0]), None)
  error = worker._fill(source.images, np.zeros((1, 1)), task)
  sent = pickle.loads(pickle.dumps(error))
  assert str(sent) == 'Stubborn: record 3 of shard is damaged'


def test_damage_that_a_worker_finds_arrives_as_its_sentence(tmp_path, source):
  files = source.images.prepared
  copies = [shutil.copy(path, tmp_path) for path in files.paths]
  images = dataclasses.replace(
    source.images,
    prepared=dataclasses.replace(files, paths=tuple(map(Path, copies))),
  )
  damaged = dataclasses.replace(source, images=images)
  for path in copies:
    Path(path).write_bytes(Path(path).read_bytes()[:-20_000])
  errors = []
  for workers in (0, 1):
    batches = loader.batches(
      damaged, [loader.Request(np.arange(120))], workers=workers
    )
    with pytest.raises(ValueError, match='is damaged: its index') as raised:
      list(batches)
    errors.append(str(raised.value))
  assert errors[0] == errors[1]
  assert str(tmp_path) in errors[0]


def test_a_killed_worker_is_reported_and_none_is_left(source, monkeypatch):
  pools = []
  monkeypatch.setattr(
    loader,
    'Pool',
    lambda *a, **k: pools.append(worker.Pool(*a, **k)) or pools[0],
  )
  endless = itertools.repeat(ORDER[0])
  batches = loader.batches(source, endless, workers=1)
  next(batches)
  [process] = pools[0]._processes
  process.kill()
  with pytest.raises(
    data.WorkerDied, match='data worker 0 ended with status -9'
  ):
    list(batches)
  assert process.poll() == -9


def test_a_signal_to_all_processes_is_the_owners_to_handle(source):
  with worker.Pool(source.images, workers=1, slots=1, batch_size=2) as pool:
    [process] = pool._processes
    pool.send(0, np.array([3, 1]), None)
    pool.receive(0, 2)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    pool.send(0, np.array([3, 1]), None)
    assert pool.receive(0, 2).any()
  assert process.poll() == -signal.SIGKILL


def test_workers_end_with_their_owner(drawings, tmp_path):
  """Killed as hard as can be, the owner leaves no process behind."""
  program = f"""
    import numpy as np
    from dualrs_jax import data
    from dualrs_jax.data import worker
    folder = {str(drawings / 'tfrecord')!r}
    source = data.load('imagenet', 'test', data_dir=folder)
    with worker.Pool(
      source.images, workers=1, slots=1, batch_size=2
    ) as pool:
      pool.send(0, np.array([0, 1]), None)
      pool.receive(0, 2)
      print(pool._processes[0].pid, flush=True)
      input()
  """
  with subprocess.Popen(
    [sys.executable, '-c', textwrap.dedent(program)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
  ) as owner:
    assert owner.stdout
    pid = int(owner.stdout.readline())
    os.kill(pid, 0)
    owner.kill()
  deadline = time.monotonic() + 30
  while time.monotonic() < deadline:
    try:
      with open(f'/proc/{pid}/stat') as stat:
        if stat.read().rpartition(')')[2].split()[0] == 'Z':
          return
    except FileNotFoundError:
      return
    time.sleep(0.05)
  os.kill(pid, signal.SIGKILL)
  pytest.fail('the worker lives on')


def test_leaving_early_stops_the_thread(source):
  started = threading.active_count()
  batches = loader.batches(source, itertools.cycle(ORDER))
  next(batches)
  batches.close()
  assert threading.active_count() == started


def test_order_is_consumed_as_needed(source):
  seen = itertools.count()
  order = (next(seen) and ORDER[1] or ORDER[0] for _ in itertools.count())
  batches = loader.batches(source, order, ahead=2)
  for _ in range(3):
    next(batches)
  batches.close()
  assert next(seen) <= 6


def test_images_in_memory_need_no_workers(drawings, monkeypatch):
  monkeypatch.setattr(loader, 'Pool', None)
  source = data.load('cifar10', 'test', data_dir=str(drawings / 'archive'))
  check(loader.batches(source, ORDER, workers=4), source)


def test_batches_are_spread_over_devices(source):
  mesh = jax.make_mesh((4,), ('data',), devices=jax.devices()[:4])
  sharding = NamedSharding(mesh, PartitionSpec('data'))
  order = [loader.Request(np.arange(8))]
  [batch] = loader.batches(source, order, sharding=sharding)
  assert batch.images.sharding == sharding
  assert {s.data.shape[0] for s in batch.images.addressable_shards} == {2}
  assert np.array_equal(batch.images, source.gather(np.arange(8))[0])


def test_what_reading_raises_arrives(source):
  batches = loader.batches(source, [ORDER[0], loader.Request(np.array([120]))])
  next(batches)
  with pytest.raises(IndexError, match='out of bounds'):
    next(batches)


@pytest.mark.parametrize(
  ('options', 'message'),
  [({'workers': -1}, 'workers must be'), ({'ahead': 0}, 'ahead must be')],
)
def test_bad_numbers_are_refused(source, options, message):
  with pytest.raises(ValueError, match=message):
    loader.batches(source, ORDER, **options)


def test_a_batch_larger_than_the_first_is_refused(source, monkeypatch):
  monkeypatch.setattr(loader, 'Pool', unittest.mock.MagicMock())
  batches = loader.batches(source, ORDER[2:], workers=1)
  with pytest.raises(ValueError, match='batch 1 has 5 images, more than the 1'):
    list(batches)
