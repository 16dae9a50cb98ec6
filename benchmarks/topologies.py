"""One run on one, two and four processes: the same weights, the same rows.

  python -m benchmarks.topologies --output benchmarks/results/topologies-NAME.md

Trains a small configuration on several numbers of processes over loopback and
of CPU devices in each, and compares the weights with those of one process and
one device, from which they may differ by the order of float32 sums, and with
those of one process and as many devices in all. Then it certifies what
one process trained, adaptively and with a fixed number of votes: by processes
that share the images, and by processes that share the votes on each image.
Rows must be those of one process bit for bit.
"""

import argparse
import pathlib
import shutil
import tempfile
import time
from typing import Any

import jax
import numpy as np
from flax import nnx

from benchmarks import machine, runs
from dualrs_jax import checkpoints, folders, networks

#: Processes, and devices of each.
TRAINED = ((1, 2), (2, 1), (1, 4), (2, 2), (4, 1))
#: How the processes of a certification share it, how many, devices of each.
CERTIFIED = (
  ('images', 2, 1),
  ('images', 4, 1),
  ('images', 1, 4),
  ('votes', 2, 1),
  ('votes', 4, 1),
  ('votes', 2, 2),
)
#: Of weights, to compare with: what topologies differ by at most.
CHANGE = 1e-5
PROTOCOLS = ('adaptive', 'fixed')


def trained(config, workdir, processes, devices):
  """Trains, and certifies as train.py does; returns the seconds it took."""
  begin = time.monotonic()
  flags = runs.coordinated(processes)
  runs.run('train.py', config, workdir, flags, devices=devices)
  return time.monotonic() - begin


def new_model(config, stage):
  """A network of the architecture of a stage."""
  config = runs.load_config(config)
  role = 'estimator' if 'estimator' in stage else 'classifier'
  return networks.create(
    config.model[role].to_dict(),
    num_classes=len(config.sigmas) if role == 'estimator' else 10,
    image_shape=(config.data.canvas, config.data.canvas, 1),
    seed=0,
  )


def arrays(config, workdir):
  """By stage, the weights that it ended in."""
  found = {}
  for stage in sorted((workdir / 'checkpoints').iterdir()):
    model = new_model(config, stage.name)
    state = checkpoints.model_state(checkpoints.load_model(stage, model))
    found[stage.name] = list(map(np.asarray, jax.tree.leaves(state)))
  return found


def votes(workdir):
  """All counts of the radius targets."""
  paths = sorted(workdir.glob('targets/*/*.npz'))
  return np.concatenate([np.load(path)['counts'] for path in paths])


def compared(config, workdir, one):
  """Largest differences of weights by stage, and the targets that differ."""
  own, differences = arrays(config, workdir), []
  for stage, expected in arrays(config, one).items():
    pairs = zip(own[stage], expected, strict=True)
    differences.append(max(float(np.abs(x - y).max()) for x, y in pairs))
  differing = int(np.abs(votes(workdir) - votes(one)).sum())
  return differences, differing


def disturbed(config, one, workdir):
  """One process again, the weights of its first stage changed by a little."""
  shutil.copytree(one, workdir)
  first = workdir / 'checkpoints' / 'classifier-0'
  model = checkpoints.load_model(first, new_model(config, first.name))
  steps = checkpoints.steps(first)[0]
  for name in ('checkpoints', 'targets', 'certify'):
    shutil.rmtree(workdir / name)
  rng = np.random.default_rng(0)
  graph, parameters = nnx.split(model)
  parameters = jax.tree.map(
    lambda x: x + np.float32(rng.uniform(-CHANGE, CHANGE, x.shape)), parameters
  )
  model = nnx.merge(graph, parameters)
  with checkpoints.Saver(first, keep=1) as saver:
    state = {checkpoints.MODEL: checkpoints.model_state(model)}
    saver.save(steps, state, {'steps': steps})
  return trained(config, workdir, 1, 1)


def certified(config, folder, source, spread, processes, devices):
  """Rows of all protocols, by the networks of another folder."""
  workdir = folder / f'certified-{spread}-{processes}-{devices}'
  workdir.mkdir()
  shutil.copytree(source / 'checkpoints', workdir / 'checkpoints')
  flags = runs.apart if spread == 'images' else runs.coordinated
  for protocol in PROTOCOLS:
    runs.run(
      *('certify.py', config, workdir, flags(processes)),
      devices=devices,
      options=[
        f'--config.certify.protocol={protocol}',
        f'--config.certify.spread={spread}',
      ],
    )
  return runs.rows(workdir)


def report(stages, training, certification):
  """The result as Markdown."""
  lines = [
    '# One run on several processes and devices',
    '',
    '`python -m benchmarks.topologies`',
    '',
    machine.in_short(),
    '',
    'Training, 300 steps for each stage, against one process with one device:'
    ' the largest difference of any weight, and of all'
    ' votes for the radius targets how many differ. Other orders of float32'
    ' sums begin as roundings; where one decides a tie, of a vote or of the'
    ' level at which an image is trained, later stages can differ by more. To'
    ' compare with, the last row: one process, each weight of its classifier-0'
    f' changed by at most {CHANGE}. The last column but one is against one'
    ' process with as many devices in all, of any weight in any stage. All'
    ' processes share the cores.',
    '',
    f'| processes | devices of each | {" | ".join(stages)} | votes'
    ' | same devices, one process | seconds |',
    '|--:|--:|' + '--:|' * (len(stages) + 3),
  ]
  for topology, found in training:
    differences, differing, cast, alike, seconds = found
    shown = ' | '.join(f'{x:.1e}' for x in differences)
    lines.append(
      f'| {" | ".join(map(str, topology))} | {shown} | {differing} of {cast:,}'
      f' | {"" if alike is None else f"{alike:.1e}"} | {seconds:.0f} |'
    )
  lines += [
    '',
    'Certification, 60 images, against one process with one device: rows that'
    ' differ in any column but `time`.',
    '',
    f'| shared | processes | devices of each | {" | ".join(PROTOCOLS)} |',
    '|---|--:|--:|--:|--:|',
  ]
  for topology, differing in certification:
    shown = ' | '.join(f'{x} of {y}' for x, y in differing)
    lines.append(f'| {" | ".join(map(str, topology))} | {shown} |')
  return '\n'.join(lines) + '\n'


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--output', type=folders.expand)
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    config = runs.write_config(folder)
    one = folder / 'trained-1-1'
    seconds = trained(config, one, 1, 1)
    cast = votes(one).size * runs.load_config(config).targets.votes
    stages = list(arrays(config, one))
    nothing = [0.0] * len(stages)
    training: list[Any] = [((1, 1), (nothing, 0, cast, None, seconds))]
    for processes, devices in TRAINED:
      workdir = folder / f'trained-{processes}-{devices}'
      seconds = trained(config, workdir, processes, devices)
      alike = None
      if processes > 1:
        other = folder / f'trained-1-{processes * devices}'
        alike = max(compared(config, workdir, other)[0])
      comparison = compared(config, workdir, one)
      training.append(
        ((processes, devices), (*comparison, cast, alike, seconds))
      )
      print(*training[-1], flush=True)
    workdir = folder / 'disturbed'
    seconds = disturbed(config, one, workdir)
    comparison = compared(config, workdir, one)
    training.append((('1, changed', 1), (*comparison, cast, None, seconds)))
    print(*training[-1], flush=True)
    expected = certified(config, folder, one, 'images', 1, 1)
    certification = []
    for topology in CERTIFIED:
      found = certified(config, folder, one, *topology)
      differing = [
        (sum(x != y for x, y in zip(found[k], rows, strict=True)), len(rows))
        for k, rows in expected.items()
      ]
      certification.append((topology, differing))
      print(*certification[-1], flush=True)
    text = report(stages, training, certification)
  print(text)
  if options.output:
    options.output.write_text(text)


if __name__ == '__main__':
  main()
