"""Metrics: every step once, in both formats, whatever happened before."""

import sys

import pytest
from tensorboardX.proto import event_pb2

from dualrs_jax.training import recorder
from tests.full_disk import full_disk


def events(directory):
  """(step, name, value) of the event files of a stage."""
  found = []
  for path in sorted(directory.glob('events.*')):
    content = path.read_bytes()
    while content:
      length = int.from_bytes(content[:8], 'little')
      event = event_pb2.Event.FromString(content[12 : 12 + length])
      content = content[12 + length + 4 :]
      found += [
        (event.step, v.tag, v.simple_value) for v in event.summary.value
      ]
  return found


def steps(directory, stage):
  rows = recorder.read(directory / recorder.LINES)
  return [row['step'] for row in rows if row['stage'] == stage]


def test_both_formats(tmp_path):
  with recorder.Recorder(tmp_path, 'a', after_step=0) as record:
    record.write(10, {'loss': 0.5, 'part/x': 2.0})
  assert recorder.read(tmp_path / recorder.LINES) == [
    {'stage': 'a', 'step': 10, 'loss': 0.5, 'part/x': 2.0}
  ]
  assert events(tmp_path / 'a') == [(10, 'loss', 0.5), (10, 'part/x', 2.0)]


def test_without_tensorboard_the_lines_remain(tmp_path, monkeypatch, caplog):
  monkeypatch.setitem(sys.modules, 'tensorboardX', None)
  with recorder.Recorder(tmp_path, 'a', after_step=0) as record:
    record.write(10, {'loss': 0.5})
  assert steps(tmp_path, 'a') == [10]
  assert 'need the package tensorboardX' in caplog.text
  assert not [*(tmp_path / 'a').iterdir()]


def test_resuming_drops_what_came_after(tmp_path):
  with recorder.Recorder(tmp_path, 'a', after_step=0) as record:
    for step in (10, 20, 30):
      record.write(step, {'loss': float(step)})
  with recorder.Recorder(tmp_path, 'b', after_step=0) as record:
    record.write(10, {'loss': -1.0})
  (written,) = (tmp_path / 'a').iterdir()
  written.rename(written.with_name('events.of.an.earlier.process'))
  with recorder.Recorder(tmp_path, 'a', after_step=20) as record:
    record.write(30, {'loss': 31.0})
  assert steps(tmp_path, 'a') == [10, 20, 30]
  assert steps(tmp_path, 'b') == [10]
  losses = [(step, value) for step, _, value in events(tmp_path / 'a')]
  assert losses == [(10, 10), (20, 20), (30, 31)]


def test_a_line_that_the_system_takes_in_parts_is_whole(tmp_path, monkeypatch):
  with recorder.Recorder(tmp_path, 'a', after_step=0) as record:
    file = record._file

    class Hesitant:
      close = file.close

      def write(self, content):
        return file.write(content[:7])

    monkeypatch.setattr(record, '_file', Hesitant())
    record.write(1, {'loss': 0.5})
  assert steps(tmp_path, 'a') == [1]


@pytest.mark.parametrize('largest', [300, 3000])
def test_a_full_disk_is_told_with_the_place_and_never_waited_for(
  tmp_path, largest
):
  def fill():
    with recorder.Recorder(tmp_path, 'a', after_step=0) as record:
      for step in range(1000):
        record.write(step, {'loss': 1.0, 'other': 2.0})

  with full_disk(largest), pytest.raises(OSError, match='too large') as error:
    fill()
  assert error.value.filename.startswith(str(tmp_path))
  with recorder.Recorder(tmp_path, 'a', after_step=2) as record:
    record.write(3, {'loss': 3.0})
  assert steps(tmp_path, 'a') == [0, 1, 2, 3]


@pytest.mark.parametrize(
  'tail',
  [
    b'{"stage": "a", "st',
    b'{"stage": "a"}\n',
    b'7',
    b'{"stage": "\xff", "step": 1}\n',
    b'{"stage": "a", "step": "x"}\n',
    b'{"stage": "a", "step": 1, "loss": "x"}\n',
    b'{"stage": ["a"], "step": 1}\n',
    b'[' * 100_000 + b'\n',
  ],
  ids=range(8),
)
def test_a_torn_line_is_dropped(tmp_path, tail):
  with recorder.Recorder(tmp_path, 'a', after_step=0) as record:
    record.write(10, {'loss': 1.0})
  with (tmp_path / recorder.LINES).open('ab') as file:
    file.write(tail)
  with recorder.Recorder(tmp_path, 'a', after_step=10) as record:
    record.write(20, {'loss': 2.0})
  assert steps(tmp_path, 'a') == [10, 20]


def test_a_line_is_written_at_once(tmp_path):
  record = recorder.Recorder(tmp_path, 'a', after_step=0)
  record.write(10, {'loss': 1.0})
  assert steps(tmp_path, 'a') == [10]
  record.close()
