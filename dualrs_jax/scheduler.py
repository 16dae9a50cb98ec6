"""Many images under certification at once, the devices kept busy.

Each image is a coroutine that asks for votes. A step of the device casts one
fixed number of them (`vote_batches`). The host packs them, tallies their
classes, and wakes the images whose counts are complete, while the device works
on the next step. The rest of a step is votes ahead of their turn: they count
when the image asks for them, and not before. What a certification asks for and
why is no concern of this module.
"""

import collections
from collections.abc import (
  Callable,
  Generator,
  Iterable,
  Iterator,
  Mapping,
  Sequence,
)
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from dualrs_jax import classifiers, examples
from dualrs_jax import noise as noise_lib
from dualrs_jax.pursuit import Request, Votes
from dualrs_jax.vote_batches import Device, VoteBatch

#: Asks for votes, is sent their counts, returns a certificate.
Certification = Generator[Request, Int[np.ndarray, ' classes'], Any]


class Start(NamedTuple):
  """What the scheduler goes on from at an image.

  Attributes:
    certification: Asks for its votes.
    earlier: Votes that were cast before, by stage and split, and are not cast
      again.
  """

  certification: Certification
  earlier: Mapping[tuple[int, int], Votes]


#: In place of an estimator, where there is none: it is never asked.
NOBODY = classifiers.ignore_sigma(lambda images: jnp.zeros((len(images), 1)))


@runtime_checkable
class Looks(Protocol):
  """What the scheduler needs to know of a plan."""

  @property
  def selection_looks(self) -> tuple[int, ...]:
    """Numbers of selection votes that may be asked for."""
    ...

  @property
  def looks(self) -> tuple[int, ...]:
    """Numbers of estimation votes that may be asked for."""
    ...

  def sigma_of(self, stage: int) -> float:
    """The noise level of a stage."""
    ...


_NO_VOTES = Votes(0, np.int64(0))


class _Tally:
  """The votes of one image, stage and split, as they come in."""

  def __init__(
    self, looks: tuple[int, ...], width: int, earlier: Votes = _NO_VOTES
  ):
    """Goes on from the first votes, which were cast before."""
    self.looks = tuple(look for look in looks if look > earlier.cast)
    self.issued = earlier.cast
    self._received = earlier.cast
    self._counts = np.zeros((len(self.looks), width + 1), np.int64)
    self._counts[:1, :-1] += earlier.counts

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
    plan: Looks,
    device: Device,
    start: Start,
  ):
    self.index = index
    self.slot = slot
    self.certificate: Any = None
    self._plan, self._device = plan, device
    self._tallies: dict[tuple[int, int], _Tally] = {}
    self._decisions, self._earlier = start
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
      earlier = self._earlier.get((stage, split), _NO_VOTES)
      self._tallies[stage, split] = _Tally(looks, width, earlier)
    return self._tallies[stage, split]

  @property
  def missing(self) -> int:
    """How many votes the request still takes."""
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
    sigma = self._plan.sigma_of(stage)
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
  """Neighbouring votes of a batch: consecutive votes between two looks."""

  image: _Image
  tally: _Tally
  split: int
  sigma: float
  first: int
  count: int


def certify(
  begin: Callable[[int], Start],
  plan: Looks,
  device: Device,
  arrivals: Iterator[examples.Example],
  before_step: Callable[[], object],
) -> Iterator[tuple[int, Any]]:
  """The scheduler: admits images, casts steps, wakes images.

  Args:
    begin: Starts the certification of an image, by its dataset index.
    plan: What all images have in common.
    device: Casts the votes.
    arrivals: The images.
    before_step: Is called before each step.

  Returns:
    An iterator over dataset indices and what certifications return.
  """
  free = list(range(device.slots))[::-1]
  active: dict[int, _Image] = {}
  under_way: collections.deque = collections.deque()
  while True:
    while free and (example := next(arrivals, None)) is not None:
      index, pixels = example
      image = _Image(index, free[-1], plan, device, begin(index))
      if image.certificate is not None:  # its earlier votes are enough
        yield index, image.certificate
        continue
      device.store(free.pop(), pixels)
      active[image.slot] = image
    if not active:
      return
    while len(under_way) < device.steps_ahead:
      network, demand = _busiest(active.values(), device)
      # Results that are on their way may fill the step with needed votes.
      if demand < device.batch_sizes[network] and under_way:
        break
      before_step()
      segments = _pack(active.values(), network, device.batch_sizes[network])
      batch = _batch(segments, device.batch_sizes[network])
      under_way.append((segments, device.cast(network, batch)))
    segments, classes = under_way.popleft()
    for image in _deliver(segments, np.asarray(classes)):
      if active.get(image.slot) is image:  # not decided while it waited
        image.wake()
        if image.certificate is not None:
          del active[image.slot]
          free.append(image.slot)
          yield image.index, image.certificate


def _busiest(images: Iterable[_Image], device: Device) -> tuple[int, int]:
  """The network that most votes wait for, and how many these are."""
  demand = [0] * len(device.widths)
  for image in images:
    demand[image.network] += image.missing
  network = max(range(len(demand)), key=demand.__getitem__)
  return network, demand[network]


def _pack(images: Iterable[_Image], network: int, votes: int) -> list[_Segment]:
  """Fills a step: with votes that are asked for, then with those ahead."""
  here = [image for image in images if image.network == network]
  segments = []
  for looks_ahead in range(max(len(image.tally.looks) for image in here)):
    for image in here:
      while votes and (segment := image.issue(looks_ahead, votes)) is not None:
        segments.append(segment)
        votes -= segment.count
    if not votes:
      break
  return segments


def _batch(segments: Sequence[_Segment], votes: int) -> VoteBatch:
  """The votes of a step; nobody counts those that are left over."""
  counts = np.array([segment.count for segment in segments])
  counts[-1] += votes - counts.sum()

  def repeat(values, dtype):
    return np.repeat(np.array(values, dtype), counts)

  numbers = [
    segment.first + np.arange(n)
    for segment, n in zip(segments, counts, strict=True)
  ]
  return VoteBatch(
    slot=repeat([segment.image.slot for segment in segments], np.int32),
    index=repeat([segment.image.index for segment in segments], np.int32),
    split=repeat([segment.split for segment in segments], np.int32),
    vote=np.concatenate(numbers, dtype=np.int32),
    sigma=repeat([segment.sigma for segment in segments], np.float32),
  )


def _deliver(
  segments: Sequence[_Segment], classes: Int[np.ndarray, ' votes']
) -> list[_Image]:
  """Tallies the votes of a step; returns the images they belong to."""
  start = 0
  for segment in segments:
    segment.tally.add(classes[start : start + segment.count])
    start += segment.count
  return list({id(s.image): s.image for s in segments}.values())
