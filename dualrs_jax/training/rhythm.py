"""How often a stage reports and saves, and the calls that its steps make."""

from collections.abc import Iterator
from typing import NamedTuple

import jax

#: Steps in one call of the device. On a CPU it is one: the gradient of a
#: convolution inside a loop was measured to take 22 times as long there.
_STEPS_PER_CALL = {'cpu': 1}
_STEPS_PER_CALL_ELSEWHERE = 50


class Rhythm(NamedTuple):
  """How often a stage reports and saves. It does not change the weights.

  Attributes:
    metrics_steps: metrics are means over that many steps.
    checkpoint_steps: steps between checkpoints.
    evaluate_steps: steps between evaluations; the last step has one.
    keep: how many checkpoints stay.
  """

  metrics_steps: int
  checkpoint_steps: int
  evaluate_steps: int
  keep: int


def pieces(
  start: int, steps: int, rhythm: Rhythm, steps_per_call: int | None = None
) -> Iterator[tuple[int, int]]:
  """Cuts the steps to go into calls that end where something is reported.

  Args:
    start: steps that are done.
    steps: length of the stage.
    rhythm: when something is reported.
    steps_per_call: the longest call; None for what suits the device.
  """
  platform = jax.local_devices()[0].platform
  length = _STEPS_PER_CALL.get(platform, _STEPS_PER_CALL_ELSEWHERE)
  length = min(length, steps_per_call or length)
  every = (length, *rhythm[:3])
  while start < steps:
    last = min(steps, *((start // e + 1) * e for e in every))
    yield start, last
    start = last
