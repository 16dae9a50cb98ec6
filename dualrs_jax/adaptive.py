"""Adaptive certification of many images: votes where they are needed.

Each image is a coroutine that asks for votes (`decisions`). A step of the
device casts one fixed number of them (`lanes`). The host packs lanes, tallies
their classes, and wakes the images whose counts are complete, while the device
works on the next step. Lanes left over cast votes ahead of their turn: they
count when the image asks for them, and not before.
"""

import collections
import itertools
import types
from collections.abc import (
  Callable,
  Generator,
  Iterable,
  Iterator,
  Mapping,
  Sequence,
)
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dualrs_jax import (
  decisions,
  dual,
  lookups,
  plans,
  sharding,
  validation,
  voting,
)
from dualrs_jax import noise as noise_lib
from dualrs_jax.base import AdaptiveCertificate, Classifier
from dualrs_jax.composition import CompositionRule
from dualrs_jax.decisions import ESTIMATOR, Request
from dualrs_jax.lanes import Device, Lanes
from dualrs_jax.plans import Plan

Example = tuple[int, Float[Array | np.ndarray, '*image']]

_NOTHING: Mapping[int, AdaptiveCertificate] = types.MappingProxyType({})


def certify_images(
  estimator: Classifier | None,
  classifier: Classifier | Sequence[Classifier],
  examples: Iterable[Example],
  sigmas: Float[np.ndarray, 'levels'] | Sequence[float],
  estimator_sigma: float | None,
  key: PRNGKeyArray,
  *,
  goal: str,
  radii: Sequence[float] = (),
  n0: int,
  n: int,
  alpha: float,
  certificate: CompositionRule,
  chunk_size: int,
  bounds: lookups.Kind = lookups.planned,
  begun: Mapping[int, AdaptiveCertificate] = _NOTHING,
  tolerance: float = 0.0,
  noise: Any = noise_lib.gaussian,
  mesh: Mesh | None = None,
  before_step: Callable[[], object] = lambda: None,
) -> Iterator[tuple[int, AdaptiveCertificate]]:
  """Certifies images with as few votes as their goals take.

  Guarantee: for each image, with probability at least 1 - alpha over the
  noise, its certificate abstains, or G returns `prediction` at every point
  whose l2 distance to the image is below `radius`. It follows from the votes
  of this image at its own looks: neighbours, `chunk_size` and devices do not
  matter, up to the rounding of kernels between batch shapes.

  Args:
    estimator: The variance estimator h; None with a single noise level.
    classifier: The classifier f, or one expert per level as a sequence.
    examples: Pairs of a dataset index and an image in [0, 1]. They are drawn
      as they are needed; of a long data set only few are in memory.
    sigmas: The K noise levels, in pixel units.
    estimator_sigma: The noise level of the estimator; None without one.
    key: The key of the run, `jax.random.key(seed)`: each image has its own,
      see `noise.image_key`.
    goal: 'radius' decides whether the one radius of `radii` is certified,
      'grid' which of `radii` are, 'full' the radius that n votes give.
    radii: In increasing order, in pixel units; none with the goal 'full'.
    n0: The largest number of selection votes of a stage.
    n: The largest number of estimation votes of a stage.
    alpha: Failure probability for each image.
    certificate: The composition rule: `paper`, `minimum` or `agreement`.
    chunk_size: Lanes per device and step.
    bounds: `planned` for the tightest bounds, which end at n, or `open_ended`
      for bounds to which votes can be added later, however often and for any
      reason (docs/sequential.md, section 8).
    begun: With `open_ended`, certificates of some of the images by dataset
      index, from calls that differ in n, goal, radii or tolerance at most.
      Their votes are kept, and only those that they lack are cast.
    tolerance: With the goal 'full', stop where what n votes are likely to add
      is below this share of the radius.
    noise: The sampler of noisy images.
    mesh: Spreads the lanes over its devices; all local ones by default. Over
      devices of several processes, all of them make the same call, on the
      same examples, and all get all certificates.
    before_step: Is called before each step of the devices. What it raises ends
      the iteration.

  Returns:
    An iterator over dataset indices and certificates, in the order in which
    the images are decided.

  Raises:
    ValueError: If an argument is invalid; at once, or, if it is an image, when
      its turn comes.
  """
  n0, n = validation.as_votes('n0', n0), validation.as_votes('n', n)
  chunk_size = validation.as_votes('chunk_size', chunk_size)
  alpha = validation.as_alpha(alpha)
  sigmas = validation.as_array(sigmas, 'sigmas')
  validation.check_chunk_size(chunk_size)
  validation.check_key(key)
  if estimator is not None and estimator_sigma is None:
    raise ValueError('An estimator needs its noise level, estimator_sigma.')
  alone = estimator_sigma is None
  validation.check_levels(sigmas, 1.0 if alone else estimator_sigma)
  if estimator is None and len(sigmas) > 1:
    raise ValueError(
      f'A choice among {len(sigmas)} noise levels takes an estimator; without'
      ' one, sigmas holds a single level.'
    )
  level = sigmas[0] if alone else estimator_sigma
  plan = plans.plan(
    np.asarray(sigmas).tolist(),
    level,
    goal=goal,
    radii=radii,
    n0=n0,
    n=n,
    alpha=alpha,
    certificate=certificate,
    bounds=bounds,
    tolerance=tolerance,
  )
  if begun and not plan.grows:
    raise ValueError(
      'No votes can be added where bounds end at n; begin with'
      ' bounds=dualrs_jax.open_ended.'
    )
  arrivals = _checked(examples, plan, noise)
  first = next(arrivals, None)
  if first is None:
    return iter(())
  networks = _networks(estimator, classifier, first[1], sigmas, key, chunk_size)
  if mesh is None:
    mesh = sharding.votes_mesh()
  device = Device(networks, first[1], key, noise, mesh, chunk_size)
  arrivals = itertools.chain([first], arrivals)
  return _certify(plan, device, arrivals, begun, before_step)


def _checked(
  examples: Iterable[Example], plan: Plan, noise: Any
) -> Generator[Example]:
  """Refuses what is no example; copies images, as a caller may reuse memory."""
  levels = np.asarray([*plan.sigmas, plan.estimator_sigma], np.float32)
  shape = None
  for index, image in examples:
    validation.check_whole('A dataset index', index)
    if not 0 <= index < 2**31:
      raise ValueError(f'A dataset index is in [0, 2**31), unlike {index}.')
    image = validation.as_array(image, 'The image')
    validation.check_image(image)
    voting.check_noise(noise, image, levels)
    image = np.array(image, np.float32)
    if shape not in (None, image.shape):
      raise ValueError(
        f'The images of a run have one shape, but {image.shape} at index'
        f' {index} follows {shape}.'
      )
    shape = image.shape
    yield int(index), image


def _networks(estimator, classifier, image, sigmas, key, chunk_size):
  """The network of each stage and its width, the estimator's first."""
  if estimator is None:
    estimator = voting.ignore_sigma(lambda images: jnp.zeros((len(images), 1)))
  experts = dual.checked_experts(
    estimator, classifier, image, sigmas, key, chunk_size
  )
  networks = [voting.as_pytree(estimator), *experts]
  widths = [voting.num_classes(n, image, batch=chunk_size) for n in networks]
  validation.check_classes(widths[-1])
  return list(zip(networks, widths, strict=True))


class _Tally:
  """The votes of one image, stage and split, as they come in."""

  def __init__(
    self,
    looks: tuple[int, ...],
    width: int,
    cast: int = 0,
    counts: Int[np.ndarray, ' classes'] | int = 0,
  ):
    """Goes on from the first votes that were cast, and their counts."""
    self.looks = tuple(look for look in looks if look > cast)
    self.issued = cast
    self._received = cast
    self._counts = np.zeros((len(self.looks), width + 1), np.int64)
    self._counts[:1, :-1] += counts

  def add(self, classes: Int[np.ndarray, ' votes']) -> None:
    """Takes the next votes, which lie between two looks."""
    look = np.searchsorted(self.looks, self._received, side='right')
    self._counts[look] += np.bincount(classes, minlength=self._counts.shape[1])
    self._received += len(classes)

  def counts(self, votes: int) -> Int[np.ndarray, ' classes'] | None:
    """The valid votes per class among the first ones; None if some lack."""
    if self._received < votes:
      return None
    return self._counts[: self.looks.index(votes) + 1, :-1].sum(axis=0)


class _Image:
  """One image under certification."""

  def __init__(
    self,
    index: int,
    slot: int,
    plan: Plan,
    device: Device,
    begun: AdaptiveCertificate | None,
  ):
    self.index = index
    self.slot = slot
    self.certificate: AdaptiveCertificate | None = None
    self._plan, self._device = plan, device
    self._tallies: dict[tuple[int, int], _Tally] = {}
    self._begun = begun
    self._decisions = decisions.certification(plan, begun)
    self.request: Request
    self._go_on(None)

  @property
  def network(self) -> int:
    """The network whose votes the image waits for."""
    return self._device.network(self.request.stage)

  @property
  def tally(self) -> _Tally:
    """The votes that the image waits for."""
    stage, split, _ = self.request
    if (stage, split) not in self._tallies:
      looks = self._plan.looks
      if split == noise_lib.SELECTION:
        looks = self._plan.selection_looks
      width = self._device.widths[self.network]
      cast, counts = self._earlier(stage, split)
      self._tallies[stage, split] = _Tally(looks, width, cast, counts)
    return self._tallies[stage, split]

  def _earlier(self, stage: int, split: int):
    """How many votes there were before, and their counts."""
    if self._begun is None:
      return 0, 0
    if stage == ESTIMATOR:
      cast, counts = self._begun.estimator_cast, self._begun.estimator_counts
      return int(cast[split]), np.asarray(counts[split])
    cast, counts = self._begun.classifier_cast, self._begun.classifier_counts
    levels = np.asarray(cast[split])
    return int(levels[stage]), np.asarray(counts[split])[stage]

  @property
  def missing(self) -> int:
    """How many lanes the request still takes."""
    return max(0, self.request.votes - self.tally.issued)

  def issue(self, looks_ahead: int, room: int) -> '_Segment | None':
    """Takes out votes of the present stage that are still to be cast.

    Args:
      looks_ahead: How many looks beyond what is asked for they may reach.
      room: How many votes there may be.
    """
    tally, (stage, split, votes) = self.tally, self.request
    asked = tally.looks.index(votes)
    end = tally.looks[min(asked + looks_ahead, len(tally.looks) - 1)]
    first = tally.issued
    if first >= end:
      return None
    look = next(look for look in tally.looks if look > first)
    tally.issued = min(look, first + room)
    sigma = self._plan.estimator_sigma
    if stage != ESTIMATOR:
      sigma = self._plan.sigmas[stage]
    return _Segment(self, tally, split, sigma, first, tally.issued - first)

  def wake(self) -> None:
    """Goes on as far as the votes that are in allow."""
    while self.certificate is None:
      counts = self.tally.counts(self.request.votes)
      if counts is None:
        return
      self._go_on(counts)

  def _go_on(self, counts: Int[np.ndarray, ' classes'] | None) -> None:
    try:
      self.request = self._decisions.send(counts)  # pyright: ignore
    except StopIteration as stop:
      self.certificate = stop.value


class _Segment(NamedTuple):
  """Neighbouring lanes of a step: consecutive votes between two looks."""

  image: _Image
  tally: _Tally
  split: int
  sigma: float
  first: int
  count: int


def _certify(
  plan: Plan,
  device: Device,
  arrivals: Iterator[Example],
  begun: Mapping[int, AdaptiveCertificate],
  before_step: Callable[[], object],
) -> Iterator[tuple[int, AdaptiveCertificate]]:
  """The scheduler: admits images, casts steps, wakes images."""
  free = list(range(device.slots))[::-1]
  active: dict[int, _Image] = {}
  under_way: collections.deque = collections.deque()
  while True:
    while free and (example := next(arrivals, None)) is not None:
      index, pixels = example
      image = _Image(index, free[-1], plan, device, begun.get(index))
      if image.certificate is not None:  # what was begun is enough
        yield index, image.certificate
        continue
      device.store(free.pop(), pixels)
      active[image.slot] = image
    if not active:
      return
    while len(under_way) < device.steps_ahead:
      network, demand = _busiest(active.values(), device)
      # Results that are on their way may fill the step with needed votes.
      if demand < device.lanes and under_way:
        break
      before_step()
      segments = _pack(active.values(), network, device.lanes)
      lanes = _lanes(segments, device.lanes)
      under_way.append((segments, device.cast(network, lanes)))
    segments, classes = under_way.popleft()
    for image in _deliver(segments, np.asarray(classes)):
      if active.get(image.slot) is image:  # not decided while it waited
        image.wake()
        if image.certificate is not None:
          del active[image.slot]
          free.append(image.slot)
          yield image.index, image.certificate


def _busiest(images: Iterable[_Image], device: Device) -> tuple[int, int]:
  """The network that most lanes wait for, and how many these are."""
  demand = [0] * len(device.widths)
  for image in images:
    demand[image.network] += image.missing
  network = max(range(len(demand)), key=demand.__getitem__)
  return network, demand[network]


def _pack(images: Iterable[_Image], network: int, lanes: int) -> list[_Segment]:
  """Fills a step: with votes that are asked for, then with those ahead."""
  here = [image for image in images if image.network == network]
  segments = []
  for looks_ahead in range(max(len(image.tally.looks) for image in here)):
    for image in here:
      while lanes and (segment := image.issue(looks_ahead, lanes)) is not None:
        segments.append(segment)
        lanes -= segment.count
    if not lanes:
      break
  return segments


def _lanes(segments: Sequence[_Segment], lanes: int) -> Lanes:
  """The lanes of a step; those left over cast votes that nobody counts."""
  counts = np.array([segment.count for segment in segments])
  counts[-1] += lanes - counts.sum()

  def repeat(values, dtype):
    return np.repeat(np.array(values, dtype), counts)

  votes = [
    segment.first + np.arange(n)
    for segment, n in zip(segments, counts, strict=True)
  ]
  return Lanes(
    slot=repeat([segment.image.slot for segment in segments], np.int32),
    index=repeat([segment.image.index for segment in segments], np.int32),
    split=repeat([segment.split for segment in segments], np.int32),
    vote=np.concatenate(votes, dtype=np.int32),
    sigma=repeat([segment.sigma for segment in segments], np.float32),
  )


def _deliver(
  segments: Sequence[_Segment], classes: Int[np.ndarray, ' lanes']
) -> list[_Image]:
  """Tallies the votes of a step; returns the images they belong to."""
  start = 0
  for segment in segments:
    segment.tally.add(classes[start : start + segment.count])
    start += segment.count
  return list({id(s.image): s.image for s in segments}.values())
