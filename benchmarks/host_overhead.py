"""What it costs to certify a PyTorch network as it comes, vote by vote.

    python -m benchmarks.host_overhead

The same network, in batches of the same size, in turns:

* `network`: a bare PyTorch loop over one batch of noisy images that was drawn
  before: nothing but forward passes and the counting of classes;
* `loop`: the same, as Cohen et al. (2019) write it, which draws its noise;
* `host`: `certify` with the module in a `host_classifier`: noise that is a
  function of the vote, copies, checks and the certificate;
* `rest`: the same with a function that answers at once: what the host adds.

Times are of the processor, all threads together, so that a busy machine does
not count; where PyTorch computes on an accelerator, of the clock.
"""

import argparse
import functools
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

import dualrs_jax as drs
from benchmarks import machine, torch_networks
from dualrs_jax import models

SIGMA = 0.25
CLASSES = 10


def digits_network() -> nn.Module:
  """About the network of configs/digits.py."""
  return nn.Sequential(
    nn.Conv2d(1, 32, 7, stride=4, padding=3),
    nn.ReLU(),
    nn.Conv2d(32, 64, 3, stride=2, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(64 * 16, 128),
    nn.ReLU(),
    nn.Linear(128, CLASSES),
  )


#: A network and the channels of its images of 32 x 32 pixels, by name.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
  'digits CNN': (digits_network, 1),
  'CIFAR ResNet-20': (lambda: _resnet(20), 3),
  'CIFAR ResNet-110': (lambda: _resnet(110), 3),
}


def _resnet(depth: int) -> nn.Module:
  sizes = {'num_classes': CLASSES, 'image_shape': (32, 32, 3), 'depth': depth}
  return torch_networks.cifar_resnet(**sizes)


def measure(
  name: str, *, batch: int, batches: int, rounds: int, place: str
) -> dict[str, list[float]]:
  """Seconds per vote of each loop, of each round.

  Args:
    name: Of the network, in `NETWORKS`.
    batch: Images in a batch.
    batches: In a round.
    rounds: How many of them, after one that is not counted.
    place: The device of PyTorch.
  """
  make, channels = NETWORKS[name]
  torch.manual_seed(0)
  network = make().eval().to(place)
  image = np.full((32, 32, channels), 0.5, np.float32)
  mine = drs.host_classifier(models.torch_function(network), CLASSES)
  there = torch.full((channels, 32, 32), 0.5, device=place)
  drawn = there + SIGMA * torch.randn(batch, channels, 32, 32, device=place)
  clock = time.process_time if place == 'cpu' else time.perf_counter

  def bare(draws: bool) -> None:
    counts = torch.zeros(CLASSES, dtype=torch.long, device=place)
    with torch.inference_mode():
      for _ in range(batches):
        noisy = there + SIGMA * torch.randn_like(drawn) if draws else drawn
        found = network(noisy).argmax(dim=1)
        counts += torch.bincount(found, minlength=CLASSES)
    assert int(counts.sum()) == batch * batches

  answers = np.zeros((batch, CLASSES), np.float32)
  idle = drs.host_classifier(lambda images: answers[: len(images)], CLASSES)

  def host(number: int, classifier=mine) -> None:
    found = drs.certify(
      *(classifier, image, SIGMA, drs.image_key(jax.random.key(0), number)),
      n0=batch,
      n=batch * (batches - 1),
      alpha=0.001,
      chunk_size=batch,
    )
    votes = int(found.counts.selection.sum() + found.counts.estimation.sum())
    assert votes == batch * batches

  kinds = ('network', 'loop', 'host', 'rest')
  seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
  for number in range(-1, rounds):
    for kind, run in (
      ('network', functools.partial(bare, False)),
      ('loop', functools.partial(bare, True)),
      ('host', functools.partial(host, number + 1)),
      ('rest', functools.partial(host, number + 1, idle)),
    ):
      before = clock()
      run()
      if number >= 0:
        seconds[kind].append((clock() - before) / (batch * batches))
  return seconds


def report(names: Sequence[str], rows: Sequence[dict[str, list[float]]]) -> str:
  """A table in Markdown, with the ratios of rounds side by side."""
  lines = [
    '| network | network alone | with its noise | host | host without it'
    ' | alone / host | with noise / host |',
    '|---|---|---|---|---|---|---|',
  ]
  for name, seconds in zip(names, rows, strict=True):
    times = [1e6 * statistics.median(each) for each in seconds.values()]
    alone, loop = (
      statistics.median(
        bare / host
        for bare, host in zip(seconds[kind], seconds['host'], strict=True)
      )
      for kind in ('network', 'loop')
    )
    cells = ' | '.join(f'{each:,.1f}' for each in times)
    lines.append(f'| {name} | {cells} | {alone:.3f} | {loop:.3f} |')
  return '\n'.join(lines)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--networks', nargs='*', default=[*NETWORKS])
  parser.add_argument('--batch', type=int, default=128)
  parser.add_argument('--batches', type=int, default=8)
  parser.add_argument('--rounds', type=int, default=11)
  parser.add_argument('--place', default='cpu', help='Of PyTorch.')
  parser.add_argument('--output', type=pathlib.Path)
  options = parser.parse_args()
  rows = [
    measure(
      name,
      batch=options.batch,
      batches=options.batches,
      rounds=options.rounds,
      place=options.place,
    )
    for name in options.networks
  ]
  text = '\n'.join(
    [
      '# What certifying a PyTorch network as it comes costs',
      '',
      'Microseconds per vote, float32, in batches of'
      f' {options.batch}; medians of {options.rounds} rounds in turns, of'
      f' {options.batches} batches each. Ratios are of the same round.'
      ' `benchmarks/host_overhead.py` says what the columns are.',
      '',
      f'Machine: {machine.processor()}, {machine.cores()} core(s),'
      f' {machine.devices()}; PyTorch {torch.__version__} on {options.place},'
      f' {torch.get_num_threads()} thread(s).',
      '',
      report(options.networks, rows),
      *machine.block(),
    ]
  )
  print(text)
  if options.output:
    options.output.write_text(text)


if __name__ == '__main__':
  main()
