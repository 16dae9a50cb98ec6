"""A configuration that trains every stage in seconds, and its results."""

import contextlib
import functools
import pathlib
from collections.abc import Collection, Iterator
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from jax.experimental.compilation_cache import compilation_cache

from configs import digits
from dualrs_jax import checkpoints, models, sharding
from dualrs_jax.training import loop, recorder

SIZES = {
  'name': 'cnn',
  'channels': (),
  'kernels': (),
  'strides': (),
  'hidden': 8,
  'embedding': 4,
}


def get_config() -> Any:
  """All stages, on one rendering of each digit."""
  config = digits.get_config().copy_and_resolve_references().unlock()
  config.name = 'tiny'
  config.data.renderings = 1
  config.sigmas = (0.25, 1.0)
  config.baselines = (0.5,)
  config.model = {'denoiser': {}, 'classifier': SIZES, 'estimator': SIZES}
  config.classifier.shares = ()
  for stage, steps in (('classifier', 60), ('estimator', 40), ('finetune', 40)):
    config[stage].steps = steps
    config[stage].batch_size = 32
    config[stage].warmup_steps = 5
  config.estimator.copies = 2
  config.targets.count = 200
  config.targets.votes = 10
  config.targets.shard_size = 20
  config.checkpoint.every_steps = 20
  config.checkpoint.evaluate_steps = 20
  config.checkpoint.metrics_steps = 10
  config.certify.count = 3
  config.certify.n = 50
  config.certify.n0 = 10
  config.certify.chunk_size = 60
  return config.lock()


#: Stages by name, with the number of logits of their networks.
STAGES = {
  'classifier-0': 10,
  'estimator-1': 2,
  'classifier-1': 10,
  'single-0.5-0': 10,
  'single-0.5': 10,
}


@functools.cache
def trained(session: pathlib.Path) -> pathlib.Path:
  """Where an undisturbed training left everything; trained once a session.

  Args:
    session: a folder of the test session.
  """
  with compiled_once(session), one_device():
    loop.train(get_config(), session / 'tiny')
  return session / 'tiny'


@contextlib.contextmanager
def one_device() -> Iterator[None]:
  """Trains on one device: eight virtual ones take longer to compile."""
  original = sharding.data_mesh

  def mesh(rows, devices=None):
    return original(rows, devices or jax.devices()[:1])

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sharding, 'data_mesh', mesh)
    yield


def compilation_cache_of(session: pathlib.Path) -> pathlib.Path:
  """A folder for compiled programs, shared by all trainings of a session."""
  return session / 'compiled'


@contextlib.contextmanager
def compiled_once(session: pathlib.Path) -> Iterator[None]:
  """Programs that were compiled in it before are not compiled again."""
  options = {
    'jax_compilation_cache_dir': str(compilation_cache_of(session)),
    'jax_persistent_cache_min_compile_time_secs': 0.1,
  }
  before = {name: getattr(jax.config, name) for name in options}
  for name, value in options.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()
  yield
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


def weights(workdir: pathlib.Path, stage: str, classes: int) -> dict[str, Any]:
  """The weights that a stage left, as plain arrays."""
  sizes = {**SIZES}
  model = models.create(
    sizes.pop('name'),
    num_classes=classes,
    image_shape=(32, 32, 1),
    seed=9,
    **sizes,
  )
  model = checkpoints.load_model(workdir / 'checkpoints' / stage, model)
  return jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model, nnx.Param)))


def assert_same_weights(
  workdir: pathlib.Path, other: pathlib.Path, stages: Collection[str]
) -> None:
  """Asserts bitwise the same weights of some stages."""
  for stage in stages:
    jax.tree.map(
      np.testing.assert_array_equal,
      weights(workdir, stage, STAGES[stage]),
      weights(other, stage, STAGES[stage]),
    )


def assert_same_run(
  workdir: pathlib.Path, other: pathlib.Path, stages: Collection[str]
) -> None:
  """Asserts bitwise the same weights and metrics of some stages."""
  assert_same_weights(workdir, other, stages)
  rows, expected = (
    [
      row
      for row in recorder.read(folder / 'metrics' / recorder.LINES)
      if row['stage'] in stages
    ]
    for folder in (workdir, other)
  )
  assert rows == expected
