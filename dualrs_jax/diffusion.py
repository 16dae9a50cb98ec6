"""Diffusion schedules: at which step of the process the noise is sigma.

References:
  Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models,
  https://arxiv.org/abs/2006.11239 (the linear schedule).
  Nichol and Dhariwal (2021), Improved denoising diffusion probabilistic
  models, https://arxiv.org/abs/2102.09672 (the cosine schedule).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

#: Timesteps are given to the network in these units, for any number of steps.
_NETWORK_STEPS = 1000


def cosine_alphas(steps: int) -> Float[np.ndarray, ' steps']:
  """The cosine schedule; CIFAR-10's published model has 4000 steps.

  Args:
    steps: Number of diffusion steps.

  Returns:
    The share of the image's variance that is left at each step, float64,
    decreasing (alpha-bar in the literature).
  """
  times = (np.arange(steps + 1) / steps + 0.008) / 1.008
  left = np.cos(times * np.pi / 2) ** 2
  return np.cumprod(1 - np.minimum(1 - left[1:] / left[:-1], 0.999))


def linear_alphas(steps: int) -> Float[np.ndarray, ' steps']:
  """The linear schedule; ImageNet's published model has 1000 steps.

  Args:
    steps: Number of diffusion steps.

  Returns:
    As `cosine_alphas`.
  """
  scale = 1000 / steps
  return np.cumprod(1 - np.linspace(scale * 1e-4, scale * 0.02, steps))


_ALPHAS = {'cosine': cosine_alphas, 'linear': linear_alphas}


def deviations(
  alphas: Float[np.ndarray, ' steps'],
) -> Float[np.ndarray, ' steps']:
  """The noise at each step relative to the image, float64, increasing.

  The image lies in [-1, 1], so this is twice the sigma of pixel units.
  """
  return np.sqrt(1 - alphas) / np.sqrt(alphas)


def timestep(
  alphas: Float[np.ndarray, ' steps'], sigma: float | np.ndarray
) -> Int[np.ndarray, '...']:
  """The step whose noise is sigma, computed in float64.

  Args:
    alphas: A schedule.
    sigma: Noise levels in pixel units, any shape.

  Returns:
    The first step, counted from 0 but never 0 itself, whose noise is not
    below sigma.

  Raises:
    ValueError: If a sigma is not positive, or above the schedule's last step.

  Example:
    >>> int(timestep(cosine_alphas(4000), 0.25))
    1158
  """
  levels = deviations(alphas)
  sigma = np.asarray(sigma, np.float64)
  check_within(sigma, levels[-1])
  return np.asarray(np.maximum(np.searchsorted(levels, 2 * sigma), 1))


def check_within(sigma: np.ndarray, last: Any) -> None:
  """Raises ValueError unless a schedule that ends there has these levels.

  Args:
    sigma: Noise levels in pixel units.
    last: The last of `deviations`.
  """
  if not ((sigma > 0) & (2 * sigma <= last)).all():
    largest = np.floor(float(last) / 2 * 10_000) / 10_000
    raise ValueError(
      f'sigma must be positive and at most {largest}, where the diffusion'
      f' schedule ends, not {sigma}.'
    )


class Schedule(NamedTuple):
  """A diffusion schedule on the device, a pytree of two tables.

  Attributes:
    signal: By what the clean image, in [-1, 1], is multiplied at each step.
    deviation: The noise at each step relative to the image, increasing.
  """

  signal: Float[Array, ' steps']
  deviation: Float[Array, ' steps']

  @classmethod
  def of(cls, alphas: Float[np.ndarray, ' steps']) -> 'Schedule':
    """The float32 tables of a float64 schedule."""
    return cls(
      jnp.asarray(np.sqrt(alphas), jnp.float32),
      jnp.asarray(deviations(alphas), jnp.float32),
    )

  @classmethod
  def named(cls, name: str, steps: int) -> 'Schedule':
    """The schedule of a published model: 'cosine' or 'linear'.

    Raises:
      ValueError: If there is no schedule of this name.
    """
    if name not in _ALPHAS:
      raise ValueError(f'schedule must be one of {[*_ALPHAS]}, not {name!r}')
    return cls.of(_ALPHAS[name](steps))

  def at(self, sigma: Float[Array, ' *batch']) -> 'Position':
    """Where in the process the noise is sigma, see `timestep`.

    Both sides of the comparison are float32: against a float64 table, the
    schedule's own levels would land beside themselves.

    Args:
      sigma: Noise levels in pixel units. One above the schedule's last step,
        or a NaN, has NaN instead of a signal and a deviation, so that it
        cannot certify.
    """
    step = jnp.searchsorted(self.deviation, 2 * sigma, method='compare_all')
    step = jnp.maximum(step, 1)
    pick = lambda t: t.at[step].get(mode='fill', fill_value=jnp.nan)
    return Position(step, pick(self.signal), pick(self.deviation))

  def network_time(
    self, step: Int[Array, ' *batch']
  ) -> Float[Array, ' *batch']:
    """The step in the units in which a network is told it."""
    return step.astype(jnp.float32) * (_NETWORK_STEPS / self.signal.size)


class Position(NamedTuple):
  """A step of a diffusion process.

  Attributes:
    step: Its number, from 0.
    signal: `Schedule.signal` at this step.
    deviation: `Schedule.deviation` at this step.
  """

  step: Int[Array, ' *batch']
  signal: Float[Array, ' *batch']
  deviation: Float[Array, ' *batch']
