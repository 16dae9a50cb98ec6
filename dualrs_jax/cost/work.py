"""The work of a stage: passes through networks, and where they are spread."""

from collections.abc import Mapping
from typing import NamedTuple

from dualrs_jax.cost.sizes import Network

#: A backward pass computes two products for each of the forward pass: the
#: gradients of the weights and of the input.
BACKWARD = 2


class Work(NamedTuple):
  """The work of one stage.

  Attributes:
    stage: Its name.
    kind: 'training', 'targets', 'fixed' or 'adaptive'.
    forward: Forward passes of images through each network, by role.
    backward: Backward passes, by role.
    tasks: What hosts do independently of each other: images of a
      certification, shards of targets; 1 for training.
    pieces: Into what a task is divided among devices: votes on an image,
      images of a shard, images of a step in training.
  """

  stage: str
  kind: str
  forward: Mapping[str, float | int]
  backward: Mapping[str, float | int]
  tasks: int
  pieces: float | int

  def multiply_adds(self, networks: Mapping[str, Network]) -> float | int:
    """Multiplications of the whole stage."""
    return sum(
      networks[role].multiply_adds * passes
      for role, passes in self.passes().items()
    )

  def passes(self) -> dict[str, float | int]:
    """Passes through each network, in forward passes of equal cost."""
    return {
      role: passes + BACKWARD * self.backward.get(role, 0)
      for role, passes in self.forward.items()
    }
