"""Fixtures of trainings that a test repeats."""

import pytest

from tests.training import tiny


@pytest.fixture(autouse=True)
def one_device():
  """Trains on one device, unless a test says otherwise."""
  with tiny.one_device():
    yield


@pytest.fixture
def compiled_once(tmp_path_factory):
  """Programs that were compiled before are not compiled again."""
  with tiny.compiled_once(tmp_path_factory.getbasetemp()):
    yield
