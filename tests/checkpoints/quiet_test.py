"""What Orbax need not say is dropped, and nothing else."""

import logging
import sys

import pytest

from dualrs_jax.checkpoints import quiet


@pytest.fixture
def said(caplog):
  """What gets through of an error that nobody awaited, by where it was."""
  quiet.saving()

  def log(file, message='Future exception was never retrieved'):
    caplog.clear()
    try:
      exec(compile('raise OSError(28, "full")', file, 'exec'))
    except OSError:
      logging.getLogger('asyncio').error(message, exc_info=True)
    return caplog.text

  return log


def test_abandoned_errors_of_orbax_are_dropped_and_no_others(said):
  assert not said('site-packages/orbax/checkpoint/async_path.py')
  assert 'full' in said('site-packages/other/async_path.py')
  assert 'full' in said('site-packages/orbax/async_path.py', 'another message')


def test_late_ends_are_dropped_and_nothing_else(monkeypatch):
  heard = []
  monkeypatch.setattr(sys, 'unraisablehook', heard.append)
  quiet.saving()
  quiet.saving()  # once is enough

  class Unraisable:
    def __init__(self, error):
      self.exc_value = error

  for error in (
    RuntimeError('Event loop is closed'),
    RuntimeError('something else'),
    ValueError('Event loop is closed'),
  ):
    sys.unraisablehook(Unraisable(error))
  assert [type(one.exc_value) for one in heard] == [RuntimeError, ValueError]
  assert str(heard[0].exc_value) == 'something else'
