"""How many noisy copies at a time the memory of a device holds.

Nothing is estimated from the sizes of networks: the programs that cast the
votes are compiled for the device, for which shapes suffice, and the compiler
says how much memory each of them works in. Weights, buffers of images and the
check of batch independence are counted beside that.
"""

import functools
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, SingleDeviceSharding
from jaxtyping import Float

from dualrs_jax import compilers, sharding, vote_batches
from dualrs_jax.evaluation import sampling, smoothed_networks
from dualrs_jax.evaluation.smoothed_networks import SmoothedNetworks

logger = logging.getLogger(__name__)

#: No device is faster with more copies at a time; a CPU has caches to think of.
_MOST, _MOST_ON_CPU = 1024, 128

#: Of what the allocator of an accelerator owns; the rest is for fragments.
_SHARE = 0.8

#: Of the main memory, where a device does not say how much it has: a CPU, on
#: which two steps may run at once, with scratch that the compiler is not told.
_SHARE_OF_MAIN = 0.4

#: Images in a batch that the check of batch independence holds, per copy.
_CHECKED = 2

#: Versions of the buffer of images: the present one, one for each of two
#: steps under way, and one that is being made.
_BUFFERS = 4


def choose_chunk_size(
  smoothed: SmoothedNetworks,
  example: Float[np.ndarray, '*image'],
  settings: Mapping[str, Any],
) -> int:
  """The chunk size that the devices of a smoothed have the memory for.

  Args:
    smoothed: With what votes are cast; its networks are on its devices already,
      and its `chunk_size` is not looked at.
    example: An image of the run.
    settings: Those of the run, see `sampling.cast`.

  Returns:
    Noisy copies per device and forward pass: a power of two, or as many as an
    image takes votes.

  Raises:
    ValueError: If the memory does not even hold one copy at a time.
  """
  devices = smoothed.mesh.local_devices
  most = _MOST_ON_CPU if devices[0].platform == 'cpu' else _MOST
  if settings['goal'] is None:
    most = min(most, (settings['n0'] or 0) + settings['n'])
  need = functools.partial(needed, smoothed, example, settings)
  found = available(devices, _weights(smoothed))
  chunk_size = largest_chunk(need, memory=found, most=most)
  logger.info(
    'chunk_size = %d is chosen for the %d bytes that may be used on %s',
    chunk_size,
    found,
    devices[0].device_kind,
  )
  return chunk_size


def available(devices: Sequence[Any], counted: int) -> int:
  """Bytes that a run may use on each of some devices.

  Four fifths of what the allocator of an accelerator owns, less what is in use
  already. A CPU does not say how much it has: its devices share two fifths of
  the machine's memory.

  Args:
    devices: The local devices of the run.
    counted: Bytes that are in use on each device already and belong to the
      run.
  """
  found = []
  for device in devices:
    memory = device.memory_stats() or {}
    if 'bytes_limit' in memory:
      others = max(0, memory.get('bytes_in_use', 0) - counted)
      found.append(int(_SHARE * memory['bytes_limit']) - others)
    else:
      pages = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
      found.append(int(_SHARE_OF_MAIN * pages) // len(devices))
  return min(found)


def largest_chunk(
  need: Callable[[int], int | float], *, memory: int, most: int
) -> int:
  """The largest chunk size within memory, with few looks at what it needs.

  What is needed is nearly affine in the size. Two small sizes say where to
  look; only a size that was looked at is returned.

  Args:
    need: Bytes that a chunk size takes on each device, see `needed`.
    memory: Bytes that may be used there, all weights included.
    most: The largest chunk size that is of interest.

  Returns:
    1, 2, 4, ... or `most`.

  Raises:
    ValueError: If not even one copy at a time fits.
  """
  need = functools.cache(need)
  sizes = [2**power for power in range((most - 1).bit_length())] + [most]
  low, high = sizes[1:3] if len(sizes) > 2 else (sizes[0], sizes[-1])
  slope = (need(high) - need(low)) / max(1, high - low)
  expected = {size: need(low) + slope * (size - low) for size in sizes}
  expected |= {low: need(low), high: need(high)}
  hoped = max((s for s in sizes if expected[s] <= memory), default=1)
  for size in reversed(sizes):
    if size <= hoped and need(size) <= memory:
      return size
  raise ValueError(
    'Not even one noisy copy at a time fits on the device: casting a vote takes'
    f' {need(1):,} bytes with all weights, and {max(0, memory):,} may be used;'
    ' use a device with more memory, or set chunk_size = 1 to try all the same.'
  )


def needed(
  smoothed: SmoothedNetworks,
  example: Float[np.ndarray, '*image'],
  settings: Mapping[str, Any],
  chunk_size: int,
) -> int | float:
  """Bytes that casting votes takes on each device, all weights included.

  Args:
    smoothed: With what; of its networks and its noise, shapes are enough
      (`jax.ShapeDtypeStruct`). Its `chunk_size` is not looked at.
    example: An image of the run.
    settings: Those of the run, see `sampling.cast`.
    chunk_size: Noisy copies per device and forward pass.

  Returns:
    The weights of all networks, each shared array once; what the largest of
    the programs works in; and images. Infinite where a compiler refuses for
    lack of memory, at more than one copy at a time.
  """
  smoothed = smoothed._replace(chunk_size=chunk_size)
  images = _images(smoothed.mesh, settings, chunk_size)
  try:
    with compilers.guarded():  # nothing runs
      programs = _programs(smoothed, example, settings)
    options = compilers.options(smoothed.mesh.local_devices[0])
    working = max(_working(program, options) for program in programs)
  except jax.errors.JaxRuntimeError as error:
    if chunk_size > 1 and 'RESOURCE_EXHAUSTED' in str(error):
      return math.inf
    raise
  return _weights(smoothed) + working + images * 4 * example.size


def check_images(
  mesh: Mesh, pixels: int, settings: Mapping[str, Any], chunk_size: int
) -> None:
  """Raises ValueError where not even the images of a chunk fit.

  A chunk of a single copy is always let through.

  Args:
    mesh: The devices that cast the votes.
    pixels: Of an image, its channels included.
    settings: Those of the run.
    chunk_size: Noisy copies per device and forward pass.
  """
  if chunk_size == 1:  # whoever asks for it tries all the same
    return
  least = 4 * pixels * _images(mesh, settings, chunk_size)
  memory = max(0, available(mesh.local_devices, 0))
  if least > memory:
    raise ValueError(
      f'chunk_size = {chunk_size} takes {least:,} bytes on each device for'
      f' images alone, and {memory:,} may be used; choose a smaller one, or 0,'
      ' which lets the memory decide'
    )


def _images(mesh: Mesh, settings: Mapping[str, Any], chunk_size: int) -> int:
  """How many images are on a device, in a check or waiting for votes."""
  checked = _CHECKED * chunk_size if chunk_size > 1 else 0
  if settings['goal'] is None:
    return checked
  return checked + _BUFFERS * _slots(mesh, chunk_size)


def _slots(mesh: Mesh, chunk_size: int) -> int:
  """How many images the buffer of adaptive certification holds, at most."""
  return vote_batches.slots(chunk_size * sharding.votes_devices(mesh))


def _programs(
  smoothed: SmoothedNetworks,
  example: Float[np.ndarray, '*image'],
  settings: Mapping[str, Any],
) -> list[jax.stages.Lowered]:
  """The programs that cast votes on one of the devices, to be compiled."""
  device = smoothed.mesh.local_devices[0]
  there = SingleDeviceSharding(device)

  def shapes(tree):
    return jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=there),
      tree,
    )

  estimator, classifier, sampler, image, key = shapes(
    (*smoothed[:3], example, jax.eval_shape(lambda: jax.random.key(0)))
  )
  if settings['goal'] is None:
    alone = sharding.votes_mesh([device])

    def fixed(estimator, classifier, sampler, image, key):
      here = SmoothedNetworks(
        estimator, classifier, sampler, smoothed.chunk_size, alone
      )
      return sampling.cast_fixed(here, settings, image, key)

    arguments = estimator, classifier, sampler, image, key
    return [jax.jit(fixed).lower(*arguments)]
  images = np.broadcast_to(
    example, (_slots(smoothed.mesh, smoothed.chunk_size), *example.shape)
  )
  whole = np.zeros(smoothed.chunk_size, np.int32)
  sigma = np.zeros(smoothed.chunk_size, np.float32)
  step = vote_batches.VoteBatch(whole, whole, whole, whole, sigma)
  images, step = shapes((images, step))
  networks = [
    *smoothed_networks.experts(classifier),
    *([] if estimator is None else [estimator]),
  ]
  programs = [
    jax.jit(vote_batches.cast_batch).lower(network, images, key, sampler, step)
    for network in networks
  ]
  # Experts of one architecture are one program.
  return [*{program.as_text(): program for program in programs}.values()]


def _working(lowered: Any, options: Mapping[str, str]) -> int:
  """Bytes of a program on its device, its arguments aside."""
  compiled = lowered.compile(compiler_options=dict(options) or None)
  memory = compiled.memory_analysis()
  if memory is None:
    raise ValueError(
      'The compiler of this device does not say how much memory a program'
      ' takes; choose chunk_size yourself.'
    )
  return (
    memory.temp_size_in_bytes
    + memory.output_size_in_bytes
    + memory.generated_code_size_in_bytes
  )


def _weights(smoothed: SmoothedNetworks) -> int:
  """Bytes of networks and noise on each device; a shared array counts once."""
  leaves = jax.tree.leaves(
    (smoothed.estimator, smoothed.classifier, smoothed.noise)
  )
  shared = {id(leaf): leaf for leaf in leaves}
  return sum(leaf.size * leaf.dtype.itemsize for leaf in shared.values())
