"""How training and certification scale over CPU devices, and what a step costs.

  python -m benchmarks.scaling --output benchmarks/results/scaling-NAME.md

Each row is a process of its own, with so many virtual devices on as many cores,
as far as there are any: more devices than cores cannot be much faster. Training
is that of a ResNet-20 on noisy images; certification casts the votes of
`certify_images`, 256 in a step that the devices share. The last column is a
step that computes next to nothing, of images of one pixel: what the host does
for every step, the choice of a batch, dispatch, metrics and progress included.
"""

import argparse
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import dualrs_jax
from benchmarks import machine
from dualrs_jax import data, folders, models, sharding
from dualrs_jax.training import classifier, feed, fit, rhythm, state

SHAPE = (32, 32, 3)
BATCH, STEPS, VOTES = 64, 24, 2000


class Nothing(nnx.Module):
  """A network whose work is nothing beside that of the host."""

  def __init__(self):
    self.weight = nnx.Param(jnp.zeros(10))

  def __call__(self, images, sigma):
    return images.mean((1, 2, 3))[:, None] * self.weight[...]


def source(shape=SHAPE):
  rng = np.random.default_rng(0)
  images = rng.integers(256, size=(512, *shape), dtype=np.uint8)
  labels = rng.integers(10, size=512).astype(np.int32)
  return data.Source(images, labels, np.arange(512), 10)


def network(num_classes=10):
  return models.create(
    'cifar_resnet', num_classes=num_classes, image_shape=SHAPE, seed=0, depth=20
  )


def train(model, steps, images):
  """Seconds of each step after the first ones."""
  optimizer = state.make_optimizer(
    name='sgd',
    steps=steps,
    learning_rate=0.01,
    weight_decay=0.0,
    schedule='cosine',
    warmup_steps=0,
    gradient_clip=0.0,
  )
  moments = []

  def preempted():
    moments.append(time.perf_counter())
    return False

  with tempfile.TemporaryDirectory() as folder:
    fit.fit(
      model,
      classifier.make_loss(copies=2, divergence_per_sigma=0.0, entropy=0.0),
      feed.Feed(images, images.labels),
      classifier.Levels(jnp.asarray([0.5]), jnp.ones(1)),
      stage='classifier-0',
      steps=steps,
      batch_size=BATCH,
      accumulate=1,
      optimizer=optimizer,
      decay=0.0,
      seed=0,
      workdir=pathlib.Path(folder),
      settings={},
      rhythm=rhythm.Rhythm(steps, steps, steps, 1),
      evaluate=lambda model: {},
      mesh=sharding.data_mesh(BATCH),
      preempted=preempted,
    )
  # Steps are started ahead: the whole time counts, not that of single ones.
  return (moments[-2] - moments[3]) / (len(moments) - 5)


def certify():
  """Votes a second of adaptive certification to the full radius."""
  estimator, net = map(models.inference_view, (network(2), network()))
  images = source().images[np.arange(4)]
  examples = [(n, np.asarray(data.to_unit(x))) for n, x in enumerate(images)]

  def run(n):
    found = dualrs_jax.certify_images(
      estimator,
      net,
      examples,
      (0.25, 0.5),
      0.5,
      jax.random.key(0),
      goal='full',
      n0=100,
      n=n,
      alpha=0.001,
      certificate=dualrs_jax.minimum,
      chunk_size=256 // jax.device_count(),
    )
    cast = 0
    for _, answer in found:
      stages = answer.estimator_cast, answer.classifier_cast
      cast += sum(int(np.sum(x)) for stage in stages for x in stage)
    return cast

  run(200)
  begin = time.perf_counter()
  cast = run(VOTES)
  return cast / (time.perf_counter() - begin)


def measure():
  """What one process prints: its step, its votes, and the host's part."""
  logging.disable(logging.WARNING)
  # Before JAX starts its threads; one device alone would use all cores.
  devices = int(os.environ['JAX_NUM_CPU_DEVICES'])
  os.sched_setaffinity(0, range(min(devices, os.cpu_count() or 1)))
  found = {
    'step': train(network(), STEPS, source()),
    'votes': certify(),
    'host': train(Nothing(), 400, source((1, 1, 1))),
  }
  print(json.dumps(found))


def measured(devices):
  """Runs `measure` on so many devices."""
  done = subprocess.run(
    [sys.executable, '-m', 'benchmarks.scaling', '--measure'],
    env=os.environ
    | {
      'JAX_PLATFORMS': 'cpu',
      'JAX_NUM_CPU_DEVICES': f'{devices}',
    },
    check=True,
    capture_output=True,
    text=True,
  )
  return json.loads(done.stdout.splitlines()[-1])


def report(rows, load):
  one = rows[1]
  lines = [
    '# Scaling over the devices of a CPU',
    '',
    '`python -m benchmarks.scaling`',
    '',
    f'{machine.in_short()} Load before the run {load:.1f}. One core for each'
    ' device, as far as there are any.',
    '',
    f'| devices | training, ms per step of {BATCH} images | times one device'
    ' | certification, votes/s | times one device | host, ms per step |',
    '|--:|--:|--:|--:|--:|--:|',
  ]
  for devices, row in rows.items():
    lines.append(
      f'| {devices} | {1e3 * row["step"]:.0f} | {one["step"] / row["step"]:.2f}'
      f' | {row["votes"]:.0f} | {row["votes"] / one["votes"]:.2f}'
      f' | {1e3 * row["host"]:.2f} |'
    )
  return '\n'.join(lines) + '\n'


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--measure', action='store_true', help=argparse.SUPPRESS)
  parser.add_argument('--devices', type=int, nargs='+', default=[1, 2, 4])
  parser.add_argument('--output', type=folders.expand)
  options = parser.parse_args()
  if options.measure:
    measure()
    return
  load = os.getloadavg()[0]
  text = report({n: measured(n) for n in options.devices}, load)
  print(text)
  if options.output:
    options.output.write_text(text)


if __name__ == '__main__':
  main()
