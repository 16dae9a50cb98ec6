"""Classifiers of other architectures and recipes, trained equally long.

  python -m benchmarks.architectures --config configs/cifar10.py:small \
    --output runs/architectures --seconds 360

Each of `CANDIDATES` is trained by the recipe of the configuration, or as it
says, for as many steps as the seconds allow, compilation apart: two short
trainings that differ in their number of steps are timed first, after one that
compiles. The table has the accuracy on validation images under the noise of
each level, one noisy copy an image, the size, and what a vote costs; `--only`
names some. An interrupted benchmark goes on where it was.
"""

import json
import pathlib
import shutil
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from flax import nnx
from ml_collections import ConfigDict, config_flags

from benchmarks import machine
from dualrs_jax import networks
from dualrs_jax.training import claim, fitting, recipe
from dualrs_jax.training import classifier as classifier_stage
from dualrs_jax.training import run as run_lib

#: Steps of the trainings that are timed.
_TIMED = (20, 80)

#: The network of `configs/cifar10.py:small`.
_SMALL = {
  'name': 'conditional_resnet',
  'patch': 2,
  'widths': (32, 64, 128),
  'blocks': (1, 1, 1),
}


class Candidate(NamedTuple):
  """What is trained.

  Attributes:
    network: The description of the classifier.
    recipe: Fields of `config.classifier` that differ.
  """

  network: Mapping[str, Any]
  recipe: Mapping[str, Any] = {}


CANDIDATES = {
  'patches of 2, widths 32 64 128': Candidate(_SMALL),
  'patches of 4, two blocks of 96': Candidate(
    _SMALL | {'patch': 4, 'widths': (96,), 'blocks': (2,)}
  ),
  'patches of 2, widths 64 128': Candidate(
    _SMALL | {'widths': (64, 128), 'blocks': (1, 1)}
  ),
  'CIFAR ResNet-20': Candidate({'name': 'cifar_resnet', 'depth': 20}),
  'the first, no augmentation': Candidate(_SMALL, {'augmented': False}),
  'the first, no weight average': Candidate(_SMALL, {'average': 0.0}),
  'the first, consistency of two copies': Candidate(
    _SMALL, {'copies': 2, 'divergence_per_sigma': 10.0, 'entropy': 0.1}
  ),
}


def prepare(config: Any, name: str, steps: int, folder: pathlib.Path) -> Any:
  """A run of the configuration with that classifier and so many steps."""
  config = config.copy_and_resolve_references().unlock()
  candidate = CANDIDATES[name]
  config.model.classifier = ConfigDict(dict(candidate.network))
  config.classifier.update(candidate.recipe)
  config.classifier.steps = steps
  config.classifier.warmup_steps = min(
    config.classifier.warmup_steps, steps // 2
  )
  claimed = claim.claim(recipe.identity(config), folder)
  images = run_lib.load_sources(config)
  return run_lib.load(config, folder, claimed, images, lambda: False)


def train(run: Any) -> tuple[nnx.Module, float]:
  """The classifier after its first stage, and the seconds that took."""
  start = time.perf_counter()
  config = run.config
  shares = classifier_stage.level_shares(
    config.classifier.shares, config.sigmas
  )
  found = fitting.fit_classifier(
    run,
    'classifier-0',
    fitting.new_classifier(run),
    config.classifier,
    fitting.levels(run, config.sigmas, shares),
  )
  return found, time.perf_counter() - start


def microseconds(network: Any, shape: tuple[int, ...], *, batch: int) -> float:
  """What a vote takes without its noise, the least of five rounds."""
  forward = jax.jit(lambda network, *inputs: network(*inputs))
  inputs = jnp.zeros((batch, *shape)), jnp.full(batch, 0.5)
  jax.block_until_ready(forward(network, *inputs))
  spent = []
  for _ in range(5):
    start = time.perf_counter()
    jax.block_until_ready(forward(network, *inputs))
    spent.append(time.perf_counter() - start)
  return 1e6 * min(spent) / batch


def steps_within(
  config: Any, name: str, seconds: int, folder: pathlib.Path
) -> int:
  """The steps that a candidate takes in so many seconds; timed once."""
  path = folder / 'steps.json'
  if not path.exists():
    spent = []
    # The first is for compilation, which a cache may do for the others.
    for steps in (_TIMED[0], *_TIMED):
      timed = folder / f'timed-{steps}'
      shutil.rmtree(timed, ignore_errors=True)  # of one that was interrupted
      spent.append(train(prepare(config, name, steps, timed))[1])
    one = (spent[2] - spent[1]) / (_TIMED[1] - _TIMED[0])
    if one <= 0:
      raise SystemExit(
        f'{name}: {_TIMED[1]} steps took no longer than {_TIMED[0]}; other'
        ' programs disturb the timing. The same command times them again.'
      )
    path.write_text(json.dumps(int(seconds / one)))
  return json.loads(path.read_text())


def measure(
  config: Any, name: str, seconds: int, output: pathlib.Path
) -> dict[str, Any]:
  """Trains a candidate; what there is to say of it."""
  folder = output / str(seconds) / name.replace(' ', '-').replace(',', '')
  path = folder / 'found.json'
  if path.exists():
    return json.loads(path.read_text())
  steps = steps_within(config, name, seconds, folder)
  run = prepare(config, name, steps, folder / 'trained')
  network = networks.inference_view(train(run)[0])
  accuracies = classifier_stage.noisy_accuracy(
    network,
    run.validation,
    jnp.asarray(config.sigmas, jnp.float32),
    jax.random.key(0),
    batch_size=run_lib.images_per_pass(config.classifier),
  )
  found = {
    'steps': steps,
    'accuracy': np.asarray(accuracies).tolist(),
    'parameters': sum(
      leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param))
    ),
    'microseconds': microseconds(network, run.train.image_shape, batch=500),
  }
  path.write_text(json.dumps(found))
  return found


def compare(
  config: Any, names: Iterable[str], seconds: int, output: pathlib.Path
) -> None:
  """Prints the table, row by row."""
  levels = ' | '.join(f'sigma {sigma:g}' for sigma in config.sigmas)
  head = f'| classifier | parameters | us a vote | steps | {levels} |'
  print(head, '|---' * (head.count('|') - 1) + '|', sep='\n')
  for name in names:
    found = measure(config, name, seconds, output)
    shares = ' | '.join(f'{100 * a:.1f}' for a in found['accuracy'])
    print(
      f'| {name} | {found["parameters"]:,} | {found["microseconds"]:.0f} |'
      f' {found["steps"]:,} | {shares} |',
      flush=True,
    )
  print(f'\n{seconds} seconds each. Machine: {machine.in_short()}')


def run():
  config = config_flags.DEFINE_config_file('config', None, 'Configuration.')
  output = flags.DEFINE_string(
    'output', 'runs/architectures', 'Folder of the trainings.'
  )
  seconds = flags.DEFINE_integer('seconds', 360, 'Of each training.')
  only = flags.DEFINE_multi_enum(
    'only', [*CANDIDATES], [*CANDIDATES], 'Which candidates.'
  )
  app.run(
    lambda argv: compare(
      config.value, only.value, seconds.value, pathlib.Path(output.value)
    )
  )


if __name__ == '__main__':
  run()
